package agent

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Install copies the program source to target, executable for everybody, and reads the copy back before it takes its
// name: a file system that is full or broken fails here and not in the middle of a job. What was at target before is
// replaced.
func Install(source, target string) error {
	return install(source, target, (*os.File).Sync)
}

func install(source, target string, settle func(*os.File) error) error {
	if err := replace(source, target, settle); err != nil {
		return fmt.Errorf("installing the agent as %s: %w", target, err)
	}
	return nil
}

func replace(source, target string, settle func(*os.File) error) (err error) {
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	dst, err := os.CreateTemp(filepath.Dir(target), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(dst.Name()))
		}
	}()
	written := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, written), src)
	if err := errors.Join(err, dst.Chmod(0o755), settle(dst), dst.Close()); err != nil {
		return err
	}
	read, err := hashOf(dst.Name())
	if err != nil {
		return err
	}
	if !bytes.Equal(read, written.Sum(nil)) {
		return errors.New("the copy differs from what was written")
	}
	return os.Rename(dst.Name(), target)
}

// What passes between HandOver and TakeOver.
const (
	takenName    = ".taken" // in the folder of the copy
	handOverLook = 5 * time.Millisecond
	// takerEnds is how long the process that has taken over may need to end, before its container does.
	takerEnds = 500 * time.Millisecond
)

// HandOver copies the program source to target, as Install does, but for a volume that ends with its pod: nothing waits for
// the disk. It returns when somebody has taken the copy over, and has had the time to end: the two are processes of one
// container, and this one is its first.
func HandOver(source, target string) error {
	if err := install(source, target, func(*os.File) error { return nil }); err != nil {
		return err
	}
	taken := filepath.Join(filepath.Dir(target), takenName)
	if err := appears(taken); err != nil {
		return fmt.Errorf("waiting until the agent is taken over: %w", err)
	}
	time.Sleep(takerEnds)
	if err := os.Remove(taken); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the agent was taken over: %w", err)
	}
	return nil
}

// TakeOver waits until the agent is installed at target, and tells HandOver so. It waits for as long as its container lives.
func TakeOver(target string) error {
	err := appears(target)
	if err == nil {
		err = os.WriteFile(filepath.Join(filepath.Dir(target), takenName), nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("taking the agent over: %w", err)
	}
	return nil
}

// appears returns when there is a file of this name.
func appears(name string) error {
	for {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		time.Sleep(handOverLook)
	}
}

func hashOf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
