package tree

import (
	"encoding/binary"
	"errors"
	"strings"
	"syscall"
	"unsafe"
)

// What package syscall does not name, of openat2(2), fstatat(2) and unlinkat(2).
const (
	sysOpenat2        = 437
	resolveNoLinks    = 0x04 | 0x02 // RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
	resolveBeneath    = 0x08
	atSymlinkNoFollow = 0x100
	atRemoveDir       = 0x200
	oPath             = 0x200000
)

const openFolder = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC

// again repeats a system call that a signal has interrupted.
func again(call func() syscall.Errno) error {
	for {
		switch errno := call(); errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

// openBelow opens path below the folder root. No component is followed that is a link, also not the last one; none leads
// out of root. The call does not block on a FIFO.
func openBelow(root int, path string, flags int) (int, error) {
	flags |= syscall.O_NOFOLLOW | syscall.O_CLOEXEC | syscall.O_NONBLOCK
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	how := [3]uint64{uint64(flags), 0, resolveNoLinks | resolveBeneath}
	var fd uintptr
	err = again(func() (errno syscall.Errno) {
		fd, _, errno = syscall.Syscall6(sysOpenat2, uintptr(root), uintptr(unsafe.Pointer(name)),
			uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
		return errno
	})
	switch {
	case err == nil:
		return int(fd), nil
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EAGAIN):
		return openSteps(root, path, flags) // a kernel or a filter of system calls that does not know it
	}
	return -1, err
}

// openSteps is openBelow, component by component.
func openSteps(root int, path string, flags int) (int, error) {
	dir, own := root, false
	release := func() {
		if own {
			syscall.Close(dir)
		}
	}
	defer func() { release() }()
	for {
		part, rest, more := strings.Cut(path, "/")
		if part == ".." || part == "" {
			return -1, syscall.EINVAL
		}
		if !more {
			return openAt(dir, part, flags)
		}
		next, err := openAt(dir, part, oPath|openFolder)
		if err != nil {
			return -1, err
		}
		release()
		dir, own, path = next, true, rest
	}
}

// openAt opens a name in a folder. It must be one name, without a slash.
func openAt(dir int, name string, flags int) (int, error) {
	for {
		fd, err := syscall.Openat(dir, name, flags|syscall.O_NOFOLLOW|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0o600)
		if !errors.Is(err, syscall.EINTR) {
			return fd, err
		}
	}
}

// lstatAt tells what a name in a folder stands for; a link itself, not what it leads to.
func lstatAt(dir int, name string, st *syscall.Stat_t) error {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return again(func() syscall.Errno {
		_, _, errno := syscall.Syscall6(sysFstatat, uintptr(dir), uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(st)), atSymlinkNoFollow, 0, 0)
		return errno
	})
}

func unlinkAt(dir int, name string, flags int) error {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return again(func() syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_UNLINKAT, uintptr(dir), uintptr(unsafe.Pointer(p)), uintptr(flags))
		return errno
	})
}

func symlinkAt(target string, dir int, name string) error {
	to, err := syscall.BytePtrFromString(target)
	if err != nil {
		return err
	}
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return again(func() syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_SYMLINKAT, uintptr(unsafe.Pointer(to)), uintptr(dir), uintptr(unsafe.Pointer(p)))
		return errno
	})
}

// readLinkAt gives where a link leads to.
func readLinkAt(dir int, name string) (string, error) {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return "", err
	}
	buf := make([]byte, maxTarget+1)
	var n uintptr
	err = again(func() (errno syscall.Errno) {
		n, _, errno = syscall.Syscall6(syscall.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(p)),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
		return errno
	})
	if err == nil && n > maxTarget {
		err = syscall.ENAMETOOLONG
	}
	return string(buf[:n]), err
}

// setTimes sets the time at which an open file was changed last, in nanoseconds.
func setTimes(fd int, mtime int64) error {
	ts := [2]syscall.Timespec{syscall.NsecToTimespec(mtime), syscall.NsecToTimespec(mtime)}
	return again(func() syscall.Errno {
		_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		return errno
	})
}

// listNames calls f for every name in an opened folder, in the folder's own order. The bytes are only good during the
// call.
func listNames(fd int, buf []byte, f func(name []byte)) error {
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for left := buf[:n]; len(left) >= direntName; {
			size := int(binary.NativeEndian.Uint16(left[direntSize:]))
			if size < direntName || size > len(left) {
				return syscall.EIO
			}
			name := left[direntName:size]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if s := string(name); s != "." && s != ".." {
				f(name)
			}
			left = left[size:]
		}
	}
}

// Offsets in struct linux_dirent64 of getdents64(2).
const (
	direntSize = 16
	direntName = 19
)
