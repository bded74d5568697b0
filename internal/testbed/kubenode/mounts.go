package kubenode

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownMounts covers, in the mount namespace of the calling thread, the places outside the node's directory that its
// programs insist on, so that nodes of one machine share none of them and nothing is left there.
func (n *Node) ownMounts() error {
	for _, place := range []string{
		"/var/log/containers", // the kubelet removes links of containers that it does not know
		"/var/lib/kubelet",    // sockets of device plugins
		"/var/lib/cni",        // results of plugins
		"/run/containerd",     // sockets of shims
	} {
		own := filepath.Join(n.Dir, "own", place)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", own, err)
		}
		if err := os.MkdirAll(place, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", place, err)
		}
		if err := cover(place, own); err != nil {
			return err
		}
	}
	return n.ownSettings()
}

// ownSettings shows the kubelet kernel settings that already are what it wants: it changes none of the machine's.
func (n *Node) ownSettings() error {
	for name, wanted := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		place := filepath.Join("/proc/sys", name)
		own := filepath.Join(n.Dir, "own", place)
		if _, err := os.Stat(place); err != nil {
			continue // a kernel without it
		}
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return fmt.Errorf("making %s: %w", own, err)
		}
		if err := os.WriteFile(own, []byte(wanted+"\n"), 0o644); err != nil {
			return fmt.Errorf("making %s: %w", own, err)
		}
		if err := cover(place, own); err != nil {
			return err
		}
	}
	return nil
}

func cover(place, by string) error {
	if err := unix.Mount(by, place, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("covering %s: %w", place, err)
	}
	return nil
}
