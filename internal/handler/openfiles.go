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
//
// Processes of earlier steps may change the folders meanwhile: no link is followed, wherever it is put.
func openFolders(rec *jobrecord.Record, workspace string) error {
	if err := openDir(rec.Work, ".", 0o111); err != nil {
		return err
	}
	for _, dir := range []string{"_temp", "_temp/_runner_file_commands", "_temp/_github_home", "_tool"} {
		if err := openDir(rec.Work, dir, 0o777); err != nil {
			return err
		}
	}
	for _, dir := range []string{"_actions", "_temp/_github_workflow"} {
		if err := openClosed(rec.Work, dir); err != nil {
			return err
		}
	}
	host, ok := scriptstep.HostPath(rec.Container.Mounts, workspace)
	rel, below := safefs.Rel(rec.Work, host)
	if !ok || !below || rel == "." {
		return nil
	}
	if above := path.Dir(rel); above != "." {
		if err := openDir(rec.Work, above, 0o777); err != nil {
			return err
		}
	}
	return openTree(rec.Work, rel, 0o666)
}

// openDir adds permission bits to a folder, but not to what is in it. What is not a folder, or behind a link, is left
// alone.
func openDir(work, rel string, bits fs.FileMode) error {
	dir, err := safefs.OpenDir(work, rel)
	if err == nil {
		err = errors.Join(widen(dir, bits), dir.Close())
	}
	if err != nil && !notThere(err) {
		return fmt.Errorf("opening %s for the container's user: %w", rel, err)
	}
	return nil
}

// openTree adds permission bits to a folder and all that is in it.
func openTree(work, rel string, bits fs.FileMode) error {
	dir, err := safefs.OpenDir(work, rel)
	if err == nil {
		err = errors.Join(widenTree(dir, bits, 0), dir.Close())
	}
	if err != nil && !notThere(err) {
		return fmt.Errorf("opening %s for the container's user: %w", rel, err)
	}
	return nil
}

// openClosed lets everybody read a tree whose top or whose first entry is closed. Other trees are not walked: there
// may be a hundred thousand files in them.
func openClosed(work, rel string) error {
	dir, err := safefs.OpenDir(work, rel)
	if notThere(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s for the container's user: %w", rel, err)
	}
	names, err := namesIn(dir)
	closed := isClosed(work, rel) || len(names) > 0 && isClosed(work, path.Join(rel, names[0]))
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("opening %s for the container's user: %w", rel, err)
	}
	if !closed {
		return nil
	}
	return openTree(work, rel, 0o444)
}

// isClosed says that other users cannot read a file or folder.
func isClosed(work, rel string) bool {
	f, err := safefs.OpenPath(work, rel)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode().Perm()&0o004 == 0
}

// deepest is where a tree is not followed any more. Every level takes a file handle, and no one's sources lie so deep.
const deepest = 200

// widenTree widens an opened folder and all that is in it.
func widenTree(dir *os.File, bits fs.FileMode, depth int) error {
	if err := widen(dir, bits); err != nil || depth > deepest {
		return err
	}
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		entry, err := safefs.OpenPath(safefs.Opened(dir), name)
		if notThere(err) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := entry.Stat()
		switch {
		case err != nil:
		case info.IsDir():
			err = widenTree(entry, bits, depth+1)
		case info.Mode().IsRegular():
			err = widen(entry, bits)
		}
		if err := errors.Join(err, entry.Close()); err != nil {
			return err
		}
	}
	return nil
}

// namesIn lists a folder that was opened as a handle only. One of another user that cannot be read has no names.
func namesIn(dir *os.File) ([]string, error) {
	readable, err := os.Open(safefs.Opened(dir))
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := readable.Readdirnames(-1)
	return names, errors.Join(err, readable.Close())
}

// widen adds permission bits to an opened file, and those to run it or enter it if anybody can.
func widen(f *os.File, bits fs.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode().Perm() | bits
	if info.IsDir() || mode&0o111 != 0 {
		mode |= 0o111
	}
	if mode == info.Mode().Perm() {
		return nil
	}
	return mayFail(info, os.Chmod(safefs.Opened(f), mode|info.Mode()&(fs.ModeSticky|fs.ModeSetgid)))
}

// notThere says that there is no such file, or a link or something else where a folder should be.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}

// mayFail forgives that a file of another user cannot be opened: an earlier container's, most likely this user's.
func mayFail(info fs.FileInfo, err error) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if errors.Is(err, fs.ErrPermission) && ok && int(st.Uid) != os.Geteuid() {
		return nil
	}
	return err
}
