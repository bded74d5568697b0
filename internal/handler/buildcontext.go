package handler

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// longestDockerfile is more than any is long.
const longestDockerfile = 1 << 20

// openContext opens the folder of a Dockerfile. Below the work folder, where jobs can write, no link leads to it: it
// could be any folder of the host, whose files would come into the image. Links in it may stay in it.
func openContext(work, dockerfile string) (*os.Root, error) {
	dir := filepath.Dir(dockerfile)
	rel, below := safefs.Rel(work, dir)
	if work == "" || !below || rel == "." {
		return os.OpenRoot(dir)
	}
	base := work
	if first, rest, deeper := strings.Cut(rel, "/"); deeper && (first == "_actions" || first == "_tool") {
		base, rel = filepath.Join(work, first), rest // may be a link of the administrator's; in job containers it is a mount
	}
	handle, err := safefs.OpenDir(base, rel)
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		return nil, verdict.New(verdict.Workflow, "a step of this or of an earlier job has put the link there",
			"refused to build from %s: a symbolic link is in its place, or above it", dir)
	}
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	return os.OpenRoot(safefs.Opened(handle))
}

// openRegular opens a regular file, and never waits for a FIFO.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: safefs.ErrKind}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func dockerfileText(root *os.Root, name string) (string, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, longestDockerfile))
	return string(text), errors.Join(err, f.Close())
}

// contextHash is the hash of a folder's content: names, kinds, permission bits, link targets and bytes, and which
// of the files is the Dockerfile.
func contextHash(root *os.Root, dockerfile string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", dockerfile)
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %v\n", name, info.Mode())
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := root.Readlink(name)
			fmt.Fprintf(sum, "%q\n", target)
			return err
		case d.Type().IsRegular():
			fmt.Fprintf(sum, "%d\n", info.Size())
			return copyFrom(sum, root, name)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func copyFrom(w io.Writer, root *os.Root, name string) error {
	f, err := openRegular(root, name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// copyContext copies a folder to a new one, with modes and links. Sockets and the like stay behind, as they do when
// engines send a context.
func copyContext(to string, root *os.Root) error {
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		switch {
		case d.IsDir():
			return os.MkdirAll(path, 0o700)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := root.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(target, path)
		case d.Type().IsRegular():
			return copyFile(path, root, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return copyFolderModes(to, root)
}

func copyFile(path string, root *os.Root, name string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = copyFrom(f, root, name)
	if info, statErr := root.Lstat(name); err == nil && statErr == nil {
		err = f.Chmod(info.Mode() &^ fs.ModeType)
	}
	return errors.Join(err, f.Close())
}

// copyFolderModes comes last: into a folder that cannot be written nothing could have been copied.
func copyFolderModes(to string, root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(to, name), info.Mode()&^fs.ModeType|0o700)
	})
}
