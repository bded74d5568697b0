package ocicli

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// checkHostPorts finds a host port that is taken before the engine does, where the engine does harm: rootless Podman
// 4.3 leaves the name server of a container that it could not publish running in a network namespace that is gone,
// and then no name resolves in any later job (its netavark is never told to take the network down). Ports of an
// engine on another machine cannot be asked for. What is not found here is mended afterwards: see forgetNetwork.
func (d *Driver) checkHostPorts(spec engine.JobSpec) error {
	if !d.diff.leaksFailedPorts || hasVariable(d.env, "CONTAINER_HOST") || hasVariable(d.env, "CONTAINER_CONNECTION") {
		return nil
	}
	containers := spec.Services
	if spec.Container != nil {
		containers = append([]engine.ContainerSpec{*spec.Container}, containers...)
	}
	for _, c := range containers {
		for _, text := range c.Ports {
			if err := portIsFree(text); err != nil {
				taken := portTaken.consequence()
				return verdict.New(taken.whose, taken.hint, "starting %s (%s): port %s: %w: %w", c.Title, c.Image, text, taken.cause, err)
			}
		}
	}
	return nil
}

// portIsFree tries to listen. Only a port that is taken is an error; what else is wrong with it the engine tells.
func portIsFree(text string) error {
	p, err := createopts.ParsePort(text)
	if err != nil || p.Host.First == 0 || p.Host.First != p.Host.Last {
		return nil // the engine chooses
	}
	address := netip.AddrPortFrom(netip.IPv4Unspecified(), p.Host.First)
	if p.HostIP.IsValid() {
		address = netip.AddrPortFrom(p.HostIP, p.Host.First)
	}
	switch p.Protocol {
	case "tcp":
		var l net.Listener
		if l, err = net.Listen("tcp", address.String()); err == nil {
			err = l.Close()
		}
	case "udp":
		var c net.PacketConn
		if c, err = net.ListenPacket("udp", address.String()); err == nil {
			err = c.Close()
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil
}

func hasVariable(env []string, name string) bool { return lookup(env, name) != "" }
