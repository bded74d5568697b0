package agent

import (
	"os"
	"syscall"
	"unsafe"
)

// pending is the number of bytes that can be read from a pipe at once (FIONREAD of ioctl_pipe(2)).
func pending(f *os.File) int {
	var n int32
	conn, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	err = conn.Control(func(fd uintptr) {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n))); e != 0 {
			n = 0
		}
	})
	if err != nil {
		return 0
	}
	return int(n)
}
