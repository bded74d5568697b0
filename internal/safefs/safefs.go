// Package safefs opens files below a trusted folder without following any symbolic link on the way.
//
// Everything below the runner's _work folder can be written by jobs, also while the hook works there. A path
// that is checked first and opened later can be swapped in between; here every component is opened relative to
// the one before, with O_NOFOLLOW. Linux only; standard library only.
package safefs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// oPath is O_PATH, which package syscall does not name.
const oPath = 0x200000

// ErrKind: what lies there is neither a regular file nor a folder.
var ErrKind = errors.New("not a regular file or folder")

// Rel says what path is below base: "." for base itself. ok is false if path does not lie below it.
func Rel(base, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(filepath.Clean(base), filepath.Clean(path))
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return rel, true
}

// RealPath follows the links of a path. Of one that does not exist it follows those of the nearest folder that does; ""
// if that cannot be looked at.
func RealPath(path string) string {
	for dir, rest := path, ""; ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest)
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// OpenFile opens rel below base. Base itself is trusted and may contain links; a link in rel gives ELOOP (as last
// component) or ENOTDIR (before). Flags and perm are those of os.OpenFile; the call never blocks on a FIFO.
func OpenFile(base, rel string, flag int, perm fs.FileMode) (*os.File, error) {
	fd, err := openAt(base, rel, flag|syscall.O_NONBLOCK, uint32(perm.Perm()))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(base, rel), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(base, rel)), nil
}

// OpenDir opens the folder rel below base as a handle for dialling or stat, not for reading.
func OpenDir(base, rel string) (*os.File, error) {
	return OpenFile(base, rel, oPath|syscall.O_DIRECTORY, 0)
}

// OpenPath opens rel below base, of whatever kind, as a handle for stat, chmod through /proc/self/fd and dialling. A
// link is opened itself, not followed.
func OpenPath(base, rel string) (*os.File, error) {
	return OpenFile(base, rel, oPath, 0)
}

// Opened is a path of what an opened file stands for, whatever lies at its name by now.
func Opened(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// Chmod sets the permission bits of a regular file or folder below base; links and special files are refused.
func Chmod(base, rel string, perm fs.FileMode) error {
	f, err := OpenFile(base, rel, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return fmt.Errorf("changing the mode of %s: %w", f.Name(), ErrKind)
	}
	return f.Chmod(perm)
}

func openAt(base, rel string, flag int, perm uint32) (int, error) {
	if !filepath.IsLocal(rel) {
		return -1, syscall.EINVAL
	}
	dir, err := syscall.Open(base, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { syscall.Close(dir) }()
	parts := strings.Split(filepath.Clean(rel), "/")
	for _, part := range parts[:len(parts)-1] {
		next, err := syscall.Openat(dir, part, oPath|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		syscall.Close(dir)
		dir = next
	}
	return syscall.Openat(dir, parts[len(parts)-1], flag|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, perm)
}
