package ocicli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// forgetNetwork takes a network that is gone out of what rootless Podman's name server serves: Podman leaves it there when it
// could not publish a port (see checkHostPorts; somebody may have taken it since). What is served is a file of the network's name
// beside the server's pid (netavark's aardvark-dns, below the runRoot of the user's Podman); on SIGHUP the server reads these
// again, and ends if there are none. A Podman of root, or one with another runRoot, has no such file there.
func (d *Driver) forgetNetwork(network string) error {
	if !d.diff.leaksFailedPorts || filepath.Base(network) != network {
		return nil
	}
	dir := filepath.Join(runtimeDir(d.env), "containers/networks/aardvark-dns")
	err := os.Remove(filepath.Join(dir, network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = wakeNameServer(dir)
	}
	if err != nil {
		return fmt.Errorf("taking the network %s out of Podman's name server: %w", network, err)
	}
	return nil
}

// wakeNameServer has the server read its files again. One that is gone does not need to.
func wakeNameServer(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "aardvark.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("there is no number of a process in aardvark.pid: %q", text)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || string(bytes.TrimSpace(name)) != "aardvark-dns" {
		return nil // the file is older than the process
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("telling process %d: %w", pid, err)
	}
	return nil
}
