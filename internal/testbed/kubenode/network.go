package kubenode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// makeNetwork makes the pods' bridge, which has the node's address.
func (n *Node) makeNetwork(ctx context.Context) error {
	if _, err := net.InterfaceByName(bridge); err == nil {
		return fmt.Errorf("another node runs in this network (its bridge %s is there): end it, or have `testbed run` start this one in a network of its own", bridge)
	}
	before, err := os.ReadFile(forwarding)
	if err == nil {
		err = os.WriteFile(filepath.Join(n.Dir, "ip_forward"), before, 0o644)
	}
	if err == nil {
		err = os.WriteFile(forwarding, []byte("1"), 0)
	}
	if err != nil {
		return fmt.Errorf("letting pods reach each other: %w", err)
	}
	for _, command := range []string{
		"ip link add " + bridge + " type bridge",
		"ip address add " + Address + "/" + podNetBits + " dev " + bridge,
		"ip link set " + bridge + " up",
		// Addresses of Services are rewritten on the way out, but only what has a route gets that far.
		"ip route add " + serviceNet + " dev " + bridge,
		// Where dockerd has run, nothing is forwarded that it does not know.
		"iptables -w -I FORWARD -i " + bridge + " -j ACCEPT",
		"iptables -w -I FORWARD -o " + bridge + " -j ACCEPT",
	} {
		if _, err := output(ctx, "", strings.Fields(command)...); err != nil {
			return fmt.Errorf("making the pods' network: %w", err)
		}
	}
	return nil
}

// dropNetwork takes away what makeNetwork and kube-proxy have made. What is not there is fine.
func (n *Node) dropNetwork(ctx context.Context) error {
	var errs []error
	if before, err := os.ReadFile(filepath.Join(n.Dir, "ip_forward")); err == nil {
		errs = append(errs, os.WriteFile(forwarding, before, 0))
	} else {
		return nil // none was made
	}
	for _, command := range []string{
		"iptables -w -D FORWARD -i " + bridge + " -j ACCEPT",
		"iptables -w -D FORWARD -o " + bridge + " -j ACCEPT",
		"nft delete table ip kube-proxy",
		"nft delete table ip6 kube-proxy",
	} {
		_, _ = output(ctx, "", strings.Fields(command)...)
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		_, err := output(ctx, "", "ip", "link", "delete", bridge)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
