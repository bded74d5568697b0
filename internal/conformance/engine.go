package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// Engine looks at a container engine through its own command line, to see what a hook does with it. It may be used
// by several goroutines at once.
type Engine struct {
	// Name is docker or podman; Program its path, Environ the environment that it is run with.
	Name, Program string
	Environ       []string
	// Rootless: containers belong to an ordinary user.
	Rootless bool

	mu   sync.Mutex
	seen map[string]*container // by id; what is looked at here never changes
	// labels has the only owner that containers with a label had, by "key=value"; "" for more than one. They are
	// believed once containers of two runners were compared, or if there is only one runner.
	labels   map[string]string
	compared bool
}

// noteLabels remembers whose container has which labels.
func (e *Engine) noteLabels(labels map[string]string, owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.labels == nil {
		e.labels = map[string]string{}
	}
	for key, value := range labels {
		label := key + "=" + value
		if known, ok := e.labels[label]; ok && known != owner {
			e.labels[label] = ""
		} else {
			e.labels[label] = owner
		}
	}
}

// onlyOf says whether one of the labels was only ever seen on containers of an owner.
func (e *Engine) onlyOf(labels map[string]string, owner string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, value := range labels {
		if e.compared && e.labels[key+"="+value] == owner {
			return true
		}
	}
	return false
}

func (e *Engine) believesLabels() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.compared
}

// believeLabels says that the labels of two runners were compared.
func (e *Engine) believeLabels() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.compared = true
}

// container is what is known of a container. What it was started with does not change; its networks may.
type container struct {
	ID     string
	State  string
	Labels map[string]string
	Env    []string
	// Sources are the host paths of its bind mounts, Volumes the names of its other ones.
	Sources, Volumes []string
	Networks         []string
}

// run runs the engine and gives its standard output.
func (e *Engine) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := e.try(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", e.Name, strings.Join(args, " "), err)
	}
	return out, nil
}

func (e *Engine) try(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, e.Program, args...)
	cmd.Env = e.Environ
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// containers lists all containers of the engine, also those that do not run. One that goes meanwhile is left out.
func (e *Engine) containers(ctx context.Context) ([]*container, error) {
	out, err := e.run(ctx, "ps", "--all", "--quiet", "--no-trunc")
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(string(out))
	e.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return e.seen[id] != nil })
	e.mu.Unlock()
	if err := e.look(ctx, fresh); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []*container
	for _, id := range ids {
		if c := e.seen[id]; c != nil {
			found = append(found, c)
		}
	}
	return found, nil
}

// look inspects containers and remembers them.
func (e *Engine) look(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	// It fails if one of them is gone, and still tells of the others.
	out, failed := e.try(ctx, append([]string{"container", "inspect"}, ids...)...)
	var inspected []inspection
	if err := json.Unmarshal(out, &inspected); err != nil {
		if failed != nil {
			return e.lookOneByOne(ctx, ids, failed)
		}
		return fmt.Errorf("reading what %s inspect says: %w", e.Name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[string]*container{}
	}
	for _, i := range inspected {
		// A container that is only just made has no networks yet: it is looked at again.
		if c := i.container(); i.State.Status != "created" && i.State.Status != "configured" || len(c.Networks) > 0 {
			e.seen[i.ID] = c
		}
	}
	return nil
}

func (e *Engine) lookOneByOne(ctx context.Context, ids []string, failed error) error {
	if len(ids) == 1 {
		var exit *exec.ExitError
		if errors.As(failed, &exit) {
			return nil // it is gone
		}
		return failed
	}
	for _, id := range ids {
		if err := e.look(ctx, []string{id}); err != nil {
			return err
		}
	}
	return nil
}

// inspection is the part of `container inspect` that both engines have.
type inspection struct {
	ID     string `json:"Id"`
	State  struct{ Status string }
	Config struct {
		Labels map[string]string
		Env    []string
	}
	Mounts          []struct{ Type, Name, Source string }
	NetworkSettings struct{ Networks map[string]any }
}

func (i *inspection) container() *container {
	c := &container{ID: i.ID, State: i.State.Status, Labels: i.Config.Labels, Env: i.Config.Env}
	for _, m := range i.Mounts {
		if m.Type == "volume" {
			c.Volumes = append(c.Volumes, m.Name)
		} else {
			c.Sources = append(c.Sources, m.Source)
		}
	}
	for name := range i.NetworkSettings.Networks {
		c.Networks = append(c.Networks, name)
	}
	return c
}

// network is a network with its labels.
type network struct {
	Name   string
	Labels map[string]string
}

// networks lists all networks of the engine.
func (e *Engine) networks(ctx context.Context) ([]network, error) {
	out, err := e.run(ctx, "network", "ls", "--format", "{{.Name}}\t{{.Labels}}")
	if err != nil {
		return nil, err
	}
	var found []network
	for line := range strings.Lines(string(out)) {
		name, labels, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		n := network{Name: name, Labels: map[string]string{}}
		for pair := range strings.SplitSeq(labels, ",") {
			key, value, _ := strings.Cut(pair, "=")
			n.Labels[key] = value
		}
		found = append(found, n)
	}
	return found, nil
}

// exists says whether the engine has a container, network, volume or image of that name.
func (e *Engine) exists(ctx context.Context, kind, name string) (bool, error) {
	_, err := e.try(ctx, kind, "inspect", name)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// inspect is all that the engine says of a container, as JSON.
func (e *Engine) inspect(ctx context.Context, id string) (any, error) {
	out, err := e.run(ctx, "container", "inspect", id)
	if err != nil {
		return nil, err
	}
	var all []any
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		return nil, fmt.Errorf("reading what %s inspect says of %s: %w", e.Name, id, errors.Join(err, errors.New("not one object")))
	}
	return all[0], nil
}

// remove removes what a job left, as far as it goes.
func (e *Engine) remove(ctx context.Context, containers, networks, volumes []string) error {
	var problems []error
	if len(containers) > 0 {
		_, err := e.run(ctx, append([]string{"rm", "--force", "--volumes"}, containers...)...)
		problems = append(problems, err)
	}
	for _, n := range networks {
		_, err := e.run(ctx, "network", "rm", n)
		problems = append(problems, err)
	}
	for _, v := range volumes {
		_, err := e.run(ctx, "volume", "rm", "--force", v)
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
