package handler

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// openFolders lets a container's user that is not the runner write what every step must be able to write: the
// workspace with all that is in it, the home folder, the folders of _temp and the tool cache; and read the actions and
// the event, which are closed where the runner's umask is. File commands are opened step by step
// (scriptstep.OpenFiles).
func openFolders(rec *jobrecord.Record, workspace string) error {
	root, err := os.OpenRoot(rec.Work)
	if err != nil {
		return fmt.Errorf("opening the work folder: %w", err)
	}
	defer root.Close()
	if err := openDir(root, ".", 0o711); err != nil {
		return err
	}
	for _, dir := range []string{"_temp", "_temp/_runner_file_commands", "_temp/_github_home", "_tool"} {
		if err := openDir(root, dir, 0o777); err != nil {
			return err
		}
	}
	for _, dir := range []string{"_actions", "_temp/_github_workflow"} {
		if err := openClosed(root, dir); err != nil {
			return err
		}
	}
	host, ok := scriptstep.HostPath(rec.Container.Mounts, workspace)
	rel, below := safefs.Rel(rec.Work, host)
	if !ok || !below || rel == "." {
		return nil
	}
	if above := path.Dir(rel); above != "." {
		if err := openDir(root, above, 0o777); err != nil {
			return err
		}
	}
	return openTree(root, rel, 0o666)
}

// openClosed lets everybody read a tree whose top or whose first entry is closed. Other trees are not walked: there may
// be a hundred thousand files in them.
func openClosed(root *os.Root, dir string) error {
	closed := func(name string) bool {
		info, err := root.Lstat(name)
		return err == nil && info.Mode().Perm()&0o004 == 0
	}
	if !closed(dir) {
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil || len(entries) == 0 || !closed(path.Join(dir, entries[0].Name())) {
			return nil // not there, or open
		}
	}
	return openTree(root, dir, 0o444)
}

func openDir(root *os.Root, dir string, bits fs.FileMode) error {
	info, err := root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err == nil {
		err = mayFail(info, root.Chmod(dir, info.Mode().Perm()|bits))
	}
	if err != nil {
		return fmt.Errorf("opening %s for the container's user: %w", dir, err)
	}
	return nil
}

// openTree adds permission bits to a tree, and for folders and programs that to enter or execute; links are left alone.
func openTree(root *os.Root, dir string, bits fs.FileMode) error {
	err := fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return nil // gone, or a link, socket, device
		}
		mode := info.Mode().Perm() | bits
		if d.IsDir() || mode&0o111 != 0 {
			mode |= 0o111
		}
		if mode == info.Mode().Perm() {
			return nil
		}
		return mayFail(info, root.Chmod(name, mode))
	})
	if err != nil {
		return fmt.Errorf("opening %s for the container's user: %w", dir, err)
	}
	return nil
}

// mayFail forgives that a file of another user cannot be opened: an earlier container's, most likely this user's.
func mayFail(info fs.FileInfo, err error) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if errors.Is(err, fs.ErrPermission) && ok && int(st.Uid) != os.Geteuid() {
		return nil
	}
	return err
}
