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
// workspace with all that is in it, the home folder, and the folders of _temp. File commands are opened step by
// step (scriptstep.OpenFiles).
func openFolders(rec *jobrecord.Record, workspace string) error {
	root, err := os.OpenRoot(rec.Work)
	if err != nil {
		return fmt.Errorf("opening the work folder: %w", err)
	}
	defer root.Close()
	for _, dir := range []string{"_temp", "_temp/_runner_file_commands", "_temp/_github_home"} {
		if err := openDir(root, dir); err != nil {
			return err
		}
	}
	host, ok := scriptstep.HostPath(rec.Container.Mounts, workspace)
	rel, below := safefs.Rel(rec.Work, host)
	if !ok || !below || rel == "." {
		return nil
	}
	if above := path.Dir(rel); above != "." {
		if err := openDir(root, above); err != nil {
			return err
		}
	}
	return openTree(root, rel)
}

func openDir(root *os.Root, dir string) error {
	info, err := root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err == nil {
		err = mayFail(info, root.Chmod(dir, info.Mode().Perm()|0o777))
	}
	if err != nil {
		return fmt.Errorf("opening %s for the container's user: %w", dir, err)
	}
	return nil
}

// openTree adds read and write permission for everybody to a tree; links are left alone.
func openTree(root *os.Root, dir string) error {
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
		mode := info.Mode().Perm() | 0o666
		if d.IsDir() || mode&0o111 != 0 {
			mode |= 0o111
		}
		if mode == info.Mode().Perm() {
			return nil
		}
		return mayFail(info, root.Chmod(name, mode))
	})
	if err != nil {
		return fmt.Errorf("opening the workspace for the container's user: %w", err)
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
