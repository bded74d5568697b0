package conformance

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
)

// owned tells one runner's containers, networks and volumes from everything else on an engine, whatever labels the
// hook uses. A container belongs to the runner if its environment has the runner's token, which the suite puts into
// every request, if it mounts something of the runner's folder, if it is in one of the runner's networks, or if it has
// a label that no container but the runner's ever had. On an engine that serves no other runner all that comes is its own.
type owned struct {
	engine Observer
	labels *labels
	token  string
	root   string

	// before are the containers that were there when the runner came, on an engine that it has for itself; otherwise nil.
	before map[string]bool

	mu         sync.Mutex
	containers map[string]bool
	networks   map[string]bool
	volumes    map[string]bool
}

// now looks at the engine.
func (o *owned) now(ctx context.Context) (Inventory, error) {
	containers, err := o.engine.Containers(ctx)
	if err != nil {
		return Inventory{}, err
	}
	networks, err := o.engine.Networks(ctx)
	if err != nil {
		return Inventory{}, err
	}
	var have Inventory
	o.mu.Lock()
	have.Containers = o.claim(containers)
	for _, n := range networks {
		if o.networks[n.Name] || o.labelled(n.Labels) {
			o.networks[n.Name] = true
			have.Networks = append(have.Networks, n.Name)
		}
	}
	volumes := slices.Sorted(maps.Keys(o.volumes))
	o.mu.Unlock()
	for _, v := range volumes {
		there, err := o.engine.Exists(ctx, "volume", v)
		if err != nil {
			return have, err
		}
		if there {
			have.Volumes = append(have.Volumes, v)
		}
	}
	return have, nil
}

// claim finds the runner's containers, and learns from them. o.mu is held.
func (o *owned) claim(all []*Container) []string {
	var own, foreign []*Container
	for _, c := range all {
		if o.mine(c) {
			own = append(own, c)
		} else {
			foreign = append(foreign, c)
		}
	}
	var ids []string
	for _, c := range own {
		ids = append(ids, c.ID)
		o.labels.note(c.Labels, o.token)
		o.containers[c.ID] = true
		for _, n := range c.Networks {
			o.networks[n] = true
		}
		for _, v := range c.Volumes {
			o.volumes[v] = true
		}
	}
	for _, c := range foreign {
		o.labels.note(c.Labels, "somebody else")
	}
	return ids
}

func (o *owned) mine(c *Container) bool {
	if o.ofOther(c) {
		return false
	}
	if o.before != nil {
		return !o.before[c.ID]
	}
	inside := func(path string) bool { return path == o.root || strings.HasPrefix(path, o.root+"/") }
	return o.containers[c.ID] || o.labelled(c.Labels) ||
		slices.ContainsFunc(c.Env, func(kv string) bool { return strings.Contains(kv, o.token) }) ||
		slices.ContainsFunc(c.Sources, inside) ||
		slices.ContainsFunc(c.Networks, func(n string) bool { return o.networks[n] })
}

// ofOther says whether a container is plainly that of another runner of the suite.
func (o *owned) ofOther(c *Container) bool {
	return slices.ContainsFunc(c.Env, func(kv string) bool {
		token, ok := strings.CutPrefix(kv, TokenVariable+"=")
		return ok && token != o.token
	})
}

// settle looks at what is there before the runner does anything.
func (o *owned) settle(ctx context.Context) error {
	there, err := o.engine.Containers(ctx)
	if err != nil {
		return err
	}
	o.before = map[string]bool{}
	for _, c := range there {
		o.before[c.ID] = true
	}
	return nil
}

func (o *owned) labelled(labels map[string]string) bool {
	return o.labels.only(labels, o.token)
}
