package agent

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Install copies the program source to target, executable for everybody, and reads the copy back before it takes its
// name: a file system that is full or broken fails here and not in the middle of a job. What was at target before is
// replaced.
func Install(source, target string) error {
	if err := install(source, target); err != nil {
		return fmt.Errorf("installing the agent as %s: %w", target, err)
	}
	return nil
}

func install(source, target string) (err error) {
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
	if err := errors.Join(err, dst.Chmod(0o755), dst.Sync(), dst.Close()); err != nil {
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
