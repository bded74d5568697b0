// Package memfd makes files that exist in memory only.
package memfd

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// number of memfd_create(2), which package syscall does not name.
func number() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 319
	case "arm":
		return 385
	default: // arm64 and the other architectures of the generic table
		return 279
	}
}

// inMemory gives a file in memory with this content, at its start. It is passed on to programs that are started.
func inMemory(name string, content []byte) (*os.File, error) {
	cname, err := syscall.BytePtrFromString(name)
	if err != nil {
		return nil, fmt.Errorf("naming a file in memory: %w", err)
	}
	fd, _, errno := syscall.Syscall(number(), uintptr(unsafe.Pointer(cname)), 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("making a file in memory: %w", errno)
	}
	f := os.NewFile(fd, name)
	if _, err := f.Write(content); err != nil {
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewinding a file in memory: %w", err)
	}
	return f, nil
}

// AsStdin makes content the standard input of this process, for a program that is about to replace it.
func AsStdin(content []byte) error {
	in, err := inMemory("stdin", content)
	if err != nil {
		return err
	}
	if err := syscall.Dup3(int(in.Fd()), 0, 0); err != nil {
		return fmt.Errorf("passing standard input on: %w", err)
	}
	return nil
}
