package kube

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// ports maps the ports of a container to those by which they are reached: themselves. All containers of a pod have one
// address, and nothing is published on the node.
func ports(mappings []string) map[string]string {
	all := map[string]string{}
	for _, text := range mappings {
		p, err := createopts.ParsePort(text)
		if err != nil {
			continue // the handler has checked them
		}
		for n := int(p.Container.First); n <= int(p.Container.Last); n++ {
			all[strconv.Itoa(n)] = strconv.Itoa(n)
		}
	}
	return all
}

// portNotes tell of mappings that ask for another port than the container's, and of services that want the same port.
func portNotes(members []*member) []string {
	var notes []string
	taken := map[string]string{} // by port: whose it is
	for _, m := range members {
		for _, text := range m.spec.Ports {
			p, err := createopts.ParsePort(text)
			if err == nil && p.Host.First != 0 && p.Host != p.Container {
				notes = append(notes, fmt.Sprintf("%s: the port %s is reached as port %d, not %d: nothing is published on the node",
					m.spec.Title, text, p.Container.First, p.Host.First))
			}
		}
		for _, port := range listens(m) {
			if other := taken[port]; other != "" {
				notes = append(notes, fmt.Sprintf("%s and %s both use port %s, and share one network: let one of them listen on another port", other, m.spec.Title, port))
			}
			taken[port] = m.spec.Title
		}
	}
	return notes
}

// listens are the ports on which a service listens, as its image and its mappings say.
func listens(m *member) []string {
	if m.role != serviceRole {
		return nil
	}
	var all []string
	if m.image != nil {
		all = slices.Clone(m.image.Ports)
	}
	for _, text := range m.spec.Ports {
		if p, err := createopts.ParsePort(text); err == nil && p.Container.First == p.Container.Last {
			port := fmt.Sprintf("%d/%s", p.Container.First, firstOf(p.Protocol, "tcp"))
			if !slices.Contains(all, port) {
				all = append(all, port)
			}
		}
	}
	return all
}
