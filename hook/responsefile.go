package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ResponseFileError says why the response file cannot be used.
type ResponseFileError struct {
	Path    string
	Problem string
	// Err is the cause; nil if the file could be opened, but is of the wrong kind.
	Err error
}

func (e *ResponseFileError) Error() string {
	return fmt.Sprintf("response file %s: %s", e.Path, e.Problem)
}

func (e *ResponseFileError) Unwrap() error { return e.Err }

// Denied says that the file, or the system it lies on, cannot be written by this user at all.
func (e *ResponseFileError) Denied() bool {
	return errors.Is(e.Err, fs.ErrPermission) || errors.Is(e.Err, syscall.EROFS)
}

// responseFile is the file at path; there is none if path is "". It is opened anew for every use, because a step may
// have put something else there.
type responseFile struct {
	path string
	open func(path string, flag int, perm os.FileMode) (*os.File, error)
}

func newResponseFile(in *Input, open func(string, int, os.FileMode) (*os.File, error)) (responseFile, error) {
	if in.ResponseFile == "" && in.Command == PrepareJob {
		return responseFile{}, &InputError{
			Field:   "responseFile",
			Problem: "responseFile is empty, and prepare_job has to answer",
			Hint:    "give the path of a file in an existing folder",
		}
	}
	if open == nil {
		open = os.OpenFile
	}
	return responseFile{path: in.ResponseFile, open: open}, nil
}

// check reports whether the file can be written. It makes a file where there is none, but no folder, and leaves the
// content of one that is there.
func (f responseFile) check() error {
	if f.path == "" {
		return nil
	}
	file, err := f.acquire()
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return f.problem(err)
	}
	return nil
}

// write makes text the whole content of the file. A folder that is gone by then says nothing as well as an empty file:
// steps delete all of RUNNER_TEMP, and the runner takes a missing file for an empty one.
func (f responseFile) write(text []byte) error {
	if f.path == "" {
		return nil
	}
	file, err := f.acquire()
	if errors.Is(err, fs.ErrNotExist) && len(text) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	err = file.Truncate(0)
	if err == nil && len(text) > 0 {
		_, err = file.Write(text)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return f.problem(err)
	}
	return nil
}

// acquire opens the file, which must be a regular one with no other name: a second one could be that of a file
// the job cannot write to itself.
func (f responseFile) acquire() (*os.File, error) {
	const flags = os.O_WRONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	file, err := f.open(f.path, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = f.open(f.path, flags|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return nil, f.problem(err)
	}
	if err := f.inspect(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (f responseFile) inspect(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return f.problem(err)
	}
	if !info.Mode().IsRegular() {
		return &ResponseFileError{Path: f.path, Problem: "is not a regular file"}
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
		return &ResponseFileError{Path: f.path, Problem: "has more than one hard link"}
	}
	return nil
}

// problem puts the system's answer in words.
func (f responseFile) problem(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ELOOP):
		text = "is a symbolic link, or below one"
	case errors.Is(err, syscall.EISDIR):
		text = "is a directory"
	case errors.Is(err, syscall.ENXIO):
		text = "is not a regular file"
	case errors.Is(err, fs.ErrNotExist):
		text = "its directory does not exist"
	case errors.Is(err, syscall.ENOTDIR):
		text = "its directory is none, or is a symbolic link"
	case errors.Is(err, syscall.EROFS):
		text = "cannot be written: its file system is read-only"
	case errors.Is(err, syscall.ENOSPC):
		text = "cannot be written: the disk is full"
	case errors.Is(err, fs.ErrPermission):
		text = "cannot be written by this user: permission denied"
	}
	return &ResponseFileError{Path: f.path, Problem: text, Err: err}
}
