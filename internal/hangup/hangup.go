// Package hangup notices that nobody can read any more what this process writes: the runner has died. Standard
// library only: the step path links it.
package hangup

import (
	"os"
	"syscall"
	"unsafe"
)

// The events of ppoll(2) that come unasked.
const (
	pollErr  = 0x8  // the reader of a pipe has closed it
	pollHup  = 0x10 // a terminal or socket is gone
	pollNval = 0x20 // fd is not open
)

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// Wait returns true once fd has lost its reader, and false if that cannot be known. For a file it waits for ever. It
// keeps a thread busy with waiting, not a processor.
func Wait(fd int) bool {
	for {
		p := pollFD{fd: int32(fd)}
		_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, 0, 0, 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno != 0 || p.revents&pollNval != 0:
			return false
		case p.revents&(pollErr|pollHup) != 0:
			return true
		}
	}
}

// Terminate sends this process a SIGTERM once fd has lost its reader: the last word that a runner would have had. A
// step that prints nothing would go on otherwise.
func Terminate(fd int) {
	if Wait(fd) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // never fails for oneself
	}
}
