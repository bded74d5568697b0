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
	for _, dir := range []string{"_temp", "_temp/_runner_file_commands", "_temp/_github_home"} {
		if err := openDir(rec.Work, dir); err != nil {
			return err
		}
	}
	host, ok := scriptstep.HostPath(rec.Container.Mounts, workspace)
	rel, below := safefs.Rel(rec.Work, host)
	if !ok || !below || rel == "." {
		return nil
	}
	if above := path.Dir(rel); above != "." {
		if err := openDir(rec.Work, above); err != nil {
			return err
		}
	}
	return openTree(rec.Work, rel)
}

// openDir opens a folder, but not what is in it. What is not a folder, or behind a link, is left alone.
func openDir(work, rel string) error {
	dir, err := safefs.OpenDir(work, rel)
	if err == nil {
		err = errors.Join(widen(dir), dir.Close())
	}
	if err != nil && !notThere(err) {
		return fmt.Errorf("opening %s for the container's user: %w", rel, err)
	}
	return nil
}

// openTree adds read and write permission for everybody to a tree.
func openTree(work, rel string) error {
	dir, err := safefs.OpenDir(work, rel)
	if err == nil {
		err = errors.Join(widenTree(dir, 0), dir.Close())
	}
	if err != nil && !notThere(err) {
		return fmt.Errorf("opening the workspace for the container's user: %w", err)
	}
	return nil
}

// deepest is where a tree is not followed any more. Every level takes a file handle, and no one's sources lie so deep.
const deepest = 200

// widenTree widens an opened folder and all that is in it.
func widenTree(dir *os.File, depth int) error {
	if err := widen(dir); err != nil || depth > deepest {
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
			err = widenTree(entry, depth+1)
		case info.Mode().IsRegular():
			err = widen(entry)
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

// widen lets everybody read and write an opened file, and run it or enter it if anybody can.
func widen(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := info.Mode().Perm() | 0o666
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
