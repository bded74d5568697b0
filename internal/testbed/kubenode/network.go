package kubenode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// makeNetwork makes the pods' bridge, which has the node's address.
func (n *Node) makeNetwork(ctx context.Context) error {
	if _, err := net.InterfaceByName(bridge); err == nil {
		return fmt.Errorf("another node runs in this network (its bridge %s is there): end it, or have `testbed run` start this one in a network of its own", bridge)
	}
	if err := n.noteNetwork(); err != nil {
		return err
	}
	if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
		return fmt.Errorf("letting pods reach each other: %w", err)
	}
	for _, command := range []string{
		// With an address of its own: else a bridge takes the lowest of its members', another one as pods come and go, and
		// connections to the node hang until the pods ask for it again.
		"ip link add " + bridge + " address 02:67:6e:74:72:79 type bridge",
		"ip address add " + Address + "/" + podNetBits + " dev " + bridge,
		"ip link set " + bridge + " up",
		// Addresses of Services are rewritten on the way out, but only what has a route gets that far.
		"ip route add " + serviceNet + " dev " + bridge,
		// Where dockerd has run, nothing is forwarded that it does not know.
		"iptables -w -I FORWARD -i " + bridge + " -j ACCEPT",
		"iptables -w -I FORWARD -o " + bridge + " -j ACCEPT",
	} {
		if err := n.run(ctx, strings.Fields(command)...); err != nil {
			return fmt.Errorf("making the pods' network: %w", err)
		}
	}
	return nil
}

// network is the one that a node's bridge was made in.
type network struct {
	Namespace  string // see daemon.Network
	Forwarding string // the setting as it was
}

func (n *Node) noteNetwork() error {
	before, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("reading the network's settings: %w", err)
	}
	space, err := daemon.Network()
	if err != nil {
		return err
	}
	text, err := json.Marshal(network{space, string(before)})
	if err != nil {
		return fmt.Errorf("noting the network: %w", err)
	}
	return n.write("network.json", string(text))
}

// dropNetwork takes away what makeNetwork and kube-proxy have made. What is not there is fine. A network that this
// process is not in goes with the node's processes, and another node may have the same names here.
func (n *Node) dropNetwork(ctx context.Context) error {
	text, err := os.ReadFile(n.path("network.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var made network
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		return fmt.Errorf("finding the node's network: %w", err)
	}
	space, err := daemon.Network()
	if err != nil || space != made.Namespace {
		return err
	}
	errs := []error{os.WriteFile(forwarding, []byte(made.Forwarding), 0)}
	for _, command := range []string{
		"iptables -w -D FORWARD -i " + bridge + " -j ACCEPT",
		"iptables -w -D FORWARD -o " + bridge + " -j ACCEPT",
		"nft delete table ip kube-proxy",
		"nft delete table ip6 kube-proxy",
	} {
		_ = n.run(ctx, strings.Fields(command)...)
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		errs = append(errs, n.run(ctx, "ip", "link", "delete", bridge))
	}
	return errors.Join(errs...)
}
