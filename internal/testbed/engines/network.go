package engines

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// podmanState is where every Podman of root keeps the process of its name server: one that finds another's thinks that
// its own is running, and no name is found in its networks.
const podmanState = "/run/containers"

// Isolate runs this program again, with the given arguments, in a network namespace of its own in which only
// loopback is there. Engines that start in it disturb no other engine of the machine (Docker daemons flush each
// other's firewall chains, all want the bridge docker0, Podmans the bridge podman0), and their bridges and firewall
// rules end with it, as do their mounts. Isolate returns only with an error. Root only.
func Isolate(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	runtime.LockOSThread() // the namespace belongs to the thread; exec makes it the only one
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering namespaces of its own: %w", err)
	}
	if err := ownMounts(); err != nil {
		return err
	}
	if err := setUp("lo", true); err != nil {
		return err
	}
	return fmt.Errorf("running %s again: %w", self, unix.Exec(self, append([]string{self}, args...), os.Environ()))
}

// ownMounts lets no mount out, and hides what Podmans of the machine have noted. Rootless Podman wants a root that is
// shared with somebody.
func ownMounts() error {
	for _, propagation := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("keeping mounts in: %w", err)
		}
	}
	if err := os.MkdirAll(podmanState, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", podmanState, err)
	}
	if err := unix.Mount("tmpfs", podmanState, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("covering %s: %w", podmanState, err)
	}
	return nil
}

// takeBridge returns the bridge of the bed's Docker: docker0, unless another daemon of the machine has it.
func takeBridge() (string, error) {
	const usual = "docker0"
	if _, err := net.InterfaceByName(usual); err != nil {
		return usual, nil
	}
	own := fmt.Sprintf("gtb%d", os.Getpid())
	return own, bridgeRequest(unix.SIOCBRADDBR, own)
}

// dropBridge deletes a bridge; one that is gone is fine.
func dropBridge(name string) error {
	if _, err := net.InterfaceByName(name); name == "" || err != nil {
		return nil
	}
	if err := setUp(name, false); err != nil {
		return err
	}
	return bridgeRequest(unix.SIOCBRDELBR, name)
}

func bridgeRequest(request uintptr, name string) error {
	text := make([]byte, unix.IFNAMSIZ)
	copy(text, name)
	if err := ioctl(request, unsafe.Pointer(&text[0])); err != nil {
		return fmt.Errorf("changing the bridge %s: %w", name, err)
	}
	return nil
}

// setUp brings a network interface up or down.
func setUp(name string, up bool) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("changing the interface %s: %w", name, err)
	}
	if up {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	}
	if err := ioctl(unix.SIOCSIFFLAGS, unsafe.Pointer(request)); err != nil {
		return fmt.Errorf("changing the interface %s: %w", name, err)
	}
	return nil
}

func ioctl(request uintptr, argument unsafe.Pointer) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
