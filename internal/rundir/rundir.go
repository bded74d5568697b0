// Package rundir is the folder of one `gantry run`. Who makes it holds a lock on it for life, which ends with the
// process however that ends. So what a killed run has left can be told from what is in use.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// prefix is that of the folders' names.
const prefix = "gantry-run-"

// lockName is the file in the folder that is locked. It is no name of a job.
const lockName = ".lock"

// young is how long a folder without a lock may be one that is only being made.
const young = time.Minute

// Dir is a folder that this process has locked.
type Dir struct {
	Path    string
	Created time.Time
	lock    *os.File
}

// Make makes a folder below parent.
func Make(parent string) (*Dir, error) {
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, fmt.Errorf("making a folder for the run: %w", err)
	}
	d, err := Open(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return d, nil
}

// ErrInUse says that somebody else has the lock.
var ErrInUse = errors.New("the folder is in use")

// Open locks a folder that is there.
func Open(path string) (*Dir, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of a run: %w", err)
	}
	info, err := lock.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), lock.Close())
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), lock.Close())
	}
	return &Dir{path, info.ModTime(), lock}, nil
}

// Release gives the lock up, and leaves the folder as it is.
func (d *Dir) Release() error { return d.lock.Close() }

// Remove removes the folder, also where a step has made folders that nobody may write to. What cannot be removed is the
// error; the lock goes in any case.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.Path)
	if err != nil {
		d.makeWritable()
		err = os.RemoveAll(d.Path)
	}
	if err := errors.Join(err, d.lock.Close()); err != nil {
		return fmt.Errorf("removing the folder of a run: %w", err)
	}
	return nil
}

// makeWritable does what it can; whether that helped shows when the folder is removed. No link is followed out of it.
func (d *Dir) makeWritable() {
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && err == nil {
			_ = root.Chmod(path, 0o700) // its entries are read after this
		}
		return nil
	})
}

// Abandoned gives the folders of user uid below parent whose process is gone, locked: each is to be removed by the
// caller. now is the time.
func Abandoned(parent string, uid int, now time.Time) ([]*Dir, error) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("looking for folders of runs: %w", err)
	}
	var all []*Dir
	for _, entry := range entries {
		path := filepath.Join(parent, entry.Name())
		if !strings.HasPrefix(entry.Name(), prefix) || !judged(path, uid, now) {
			continue
		}
		if d, err := Open(path); err == nil { // else it is in use, or gone, or cannot be removed either
			all = append(all, d)
		}
	}
	return all, nil
}

// judged says whether the folder is one of ours and old enough to look at. Anybody can make one where they lie.
func judged(path string, uid int, now time.Time) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != uid {
		return false
	}
	_, err = os.Lstat(filepath.Join(path, lockName))
	return err == nil || errors.Is(err, fs.ErrNotExist) && now.Sub(info.ModTime()) > young
}
