// Package ownership finds and mends files that containers left to other users in the runner's work folder.
// Links are never followed, and what else is mounted in the folder is left alone. Standard library only: the agent
// restores from inside a container.
package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// mayWrite asks access(2) for what it takes to make and remove files in a folder: W_OK and X_OK.
const mayWrite = 2 | 1

// errFound ends a walk at the first hit.
var errFound = errors.New("found")

// Foreign says whether anything below dir belongs to another user than uid. A folder that cannot be read counts:
// somebody else closed it. dir itself counts only if this process cannot write there: the top of a volume in Kubernetes
// belongs to root, and is open to the runner's user.
func Foreign(dir string, uid int) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir) // the work folder itself may be a link of the administrator's
	if err != nil {
		return false, fmt.Errorf("looking for files of other users: %w", err)
	}
	strange, err := strangers(dir)
	if err != nil {
		return false, err
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, path)
		switch {
		case relErr == nil && strange[rel]:
			return skip(d)
		case errors.Is(err, fs.ErrPermission):
			return errFound
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && int(st.Uid) != uid && (rel != "." || syscall.Access(dir, mayWrite) != nil) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for files of other users below %s: %w", dir, err)
	}
	return false, nil
}

// skip leaves out an entry with all that is in it.
func skip(d fs.DirEntry) error {
	if d != nil && d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// Restore gives everything below dir that belongs to another user than uid to uid and gid, and returns how much
// that was. It goes on after an error and returns them all. The caller must be root.
func Restore(dir string, uid, gid int) (int, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("opening %s: %w", dir, err)
	}
	defer root.Close()
	strange, err := strangers(dir)
	if err != nil {
		return 0, err
	}
	n := 0
	var all []error
	walkErr := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if strange[path] {
			return skip(d)
		}
		if err != nil {
			all = append(all, err)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) == uid {
			return nil
		}
		if err := root.Lchown(path, uid, gid); err != nil {
			all = append(all, err)
			return nil
		}
		n++
		return nil
	})
	return n, errors.Join(append(all, walkErr)...)
}
