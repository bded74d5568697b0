package engines

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Isolate runs this program again, with the given arguments, in a network namespace of its own in which only
// loopback is there. Engines that start in it disturb no other engine of the machine (Docker daemons flush each
// other's firewall chains, all want the bridge docker0, Podmans the bridge podman0), and their bridges and firewall
// rules end with it. Isolate returns only with an error. Root only.
func Isolate(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	runtime.LockOSThread() // the namespace belongs to the thread; exec makes it the only one
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	if err := setUp("lo", true); err != nil {
		return err
	}
	return fmt.Errorf("running %s again: %w", self, unix.Exec(self, append([]string{self}, args...), os.Environ()))
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
