package ociclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Containers lists all containers. Each is inspected once.
func (c *Client) Containers(ctx context.Context) ([]*conformance.Container, error) {
	out, err := c.run(ctx, "ps", "--all", "--quiet", "--no-trunc")
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(string(out))
	c.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return c.seen[id] != nil })
	c.mu.Unlock()
	if err := c.look(ctx, fresh); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*conformance.Container
	for _, id := range ids {
		if known := c.seen[id]; known != nil {
			found = append(found, known)
		}
	}
	return found, nil
}

// look inspects containers and remembers them.
func (c *Client) look(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	// It fails if one of them is gone, and still tells of the others.
	out, failed := c.try(ctx, append([]string{"container", "inspect"}, ids...)...)
	var inspected []inspection
	if err := json.Unmarshal(out, &inspected); err != nil {
		if failed != nil {
			return c.lookOneByOne(ctx, ids, failed)
		}
		return fmt.Errorf("reading what %s inspect says: %w", c.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]*conformance.Container{}
	}
	for _, i := range inspected {
		// A container that is only just made has no networks yet: it is looked at again.
		if found := i.container(); i.State.Status != "created" && i.State.Status != "configured" || len(i.networks()) > 0 {
			c.seen[i.ID] = found
		}
	}
	return nil
}

func (c *Client) lookOneByOne(ctx context.Context, ids []string, failed error) error {
	if len(ids) == 1 {
		if ended(ctx, failed) {
			return nil // it is gone
		}
		return failed
	}
	for _, id := range ids {
		if err := c.look(ctx, []string{id}); err != nil {
			return err
		}
	}
	return nil
}

// inspection is the part of `container inspect` that both engines have.
type inspection struct {
	ID    string `json:"Id"`
	State struct {
		Status  string
		Running bool
		Health  *struct{ Status string }
	}
	Config struct {
		Image  string
		Labels map[string]string
		Env    []string
	}
	HostConfig struct{ Memory int64 }
	Mounts     []struct {
		Type, Name, Source, Destination string
		RW                              bool
	}
	NetworkSettings struct {
		Networks map[string]any
		Ports    map[string][]struct{ HostIP, HostPort string }
	}
}

func (i *inspection) networks() []string {
	var names []string
	for name := range i.NetworkSettings.Networks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (i *inspection) container() *conformance.Container {
	found := &conformance.Container{ID: i.ID, Labels: i.Config.Labels, Env: i.Config.Env}
	for _, m := range i.mounts() {
		if m.Volume != "" {
			found.Volumes = append(found.Volumes, m.Volume)
		} else {
			found.Sources = append(found.Sources, m.Source)
		}
	}
	found.Networks = slices.DeleteFunc(i.networks(), standardNetwork)
	return found
}

// standardNetwork says whether a network is the engine's own.
func standardNetwork(name string) bool {
	return slices.Contains([]string{"bridge", "host", "none", "podman", "slirp4netns", "pasta"}, name)
}

func (i *inspection) mounts() []conformance.Mount {
	var mounts []conformance.Mount
	for _, m := range i.Mounts {
		mount := conformance.Mount{Target: m.Destination, ReadOnly: !m.RW}
		if m.Type == "volume" {
			mount.Volume = m.Name
		} else {
			mount.Source = m.Source
		}
		mounts = append(mounts, mount)
	}
	return mounts
}

func (i *inspection) facts() *conformance.Facts {
	facts := &conformance.Facts{
		Running: i.State.Running, Image: i.Config.Image, Labels: i.Config.Labels, Env: i.Config.Env, Networks: i.networks(),
		Memory: i.HostConfig.Memory, Mounts: i.mounts(),
	}
	if i.State.Health != nil {
		facts.Health = i.State.Health.Status
	}
	for inner, outer := range i.NetworkSettings.Ports {
		for _, o := range outer {
			facts.Ports = append(facts.Ports, fmt.Sprintf("%s %s:%s", inner, o.HostIP, o.HostPort))
		}
	}
	slices.Sort(facts.Ports)
	return facts
}

// Inspect is `container inspect`.
func (c *Client) Inspect(ctx context.Context, id string) (*conformance.Facts, error) {
	out, err := c.run(ctx, "container", "inspect", id)
	if err != nil {
		return nil, err
	}
	var all []inspection
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		return nil, fmt.Errorf("reading what %s inspect says of %s: %w", c.Name, id, errors.Join(err, errors.New("not one object")))
	}
	facts := all[0].facts()
	facts.All = string(out)
	return facts, nil
}

// Networks lists all networks.
func (c *Client) Networks(ctx context.Context) ([]conformance.Network, error) {
	out, err := c.run(ctx, "network", "ls", "--format", "{{.Name}}\t{{.Labels}}")
	if err != nil {
		return nil, err
	}
	var found []conformance.Network
	for line := range strings.Lines(string(out)) {
		name, labels, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		n := conformance.Network{Name: name, Labels: map[string]string{}}
		for pair := range strings.SplitSeq(labels, ",") {
			key, value, _ := strings.Cut(pair, "=")
			n.Labels[key] = value
		}
		found = append(found, n)
	}
	return found, nil
}

// Exists asks for one object.
func (c *Client) Exists(ctx context.Context, kind, name string) (bool, error) {
	_, err := c.try(ctx, kind, "inspect", name)
	if ended(ctx, err) {
		return false, nil
	}
	return err == nil, err
}
