// Package enginefake is an engine in memory, for tests of what stands above engine.Engine. It passes the same suite
// as the real ones: containers have states, logs, health and ports, and their processes are Go functions.
package enginefake

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Image is an image that the fake knows.
type Image struct {
	Name            string
	Entrypoint, Cmd []string
	// Health is what its containers become shortly after their start: "healthy", "unhealthy", or "" without a check.
	Health string
	// Remote images are not in the store: they must be pulled, with these credentials.
	Remote             bool
	Username, Password string

	id      string
	labels  map[string]string
	created time.Time
}

// Process is a container's first process.
type Process struct {
	Spec           engine.ContainerSpec
	Argv           []string // entry point and arguments, as the image and the spec make them
	Stdout, Stderr io.Writer
}

// Engine is an engine.Engine in memory. Set its fields before its first use.
type Engine struct {
	// Run is every container's first process: it returns the exit status, at the latest when ctx ends, which is the
	// container's removal. nil: Shell.
	Run func(ctx context.Context, p Process) int
	// Fail, if it returns an error for a method's name, makes that the method's result.
	Fail func(method string) error
	// Description is what Info gives.
	Description engine.Info

	mu         sync.Mutex
	calls      []string
	images     map[string]*Image
	containers map[string]*container
	networks   map[string]engine.Network
	lastPort   int
}

var _ engine.Engine = (*Engine)(nil)

// New makes an engine that knows images.
func New(images ...Image) *Engine {
	e := &Engine{
		Description: engine.Info{
			Name: "fake", Path: "/usr/bin/fake", ClientVersion: "1", ServerVersion: "1", CgroupVersion: "2",
			StorageDriver: "memory", StorageRoot: "/nowhere",
		},
		images: map[string]*Image{}, containers: map[string]*container{}, networks: map[string]engine.Network{}, lastPort: 40000,
	}
	for _, i := range images {
		i.id, i.created = newID(), time.Now()
		e.images[i.Name] = &i
	}
	return e
}

// Calls are the names of the methods called so far, in order.
func (e *Engine) Calls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

// called notes a call, and gives the error that it is to have.
func (e *Engine) called(ctx context.Context, method string) error {
	e.mu.Lock()
	e.calls = append(e.calls, method)
	e.mu.Unlock()
	if e.Fail != nil {
		if err := e.Fail(method); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// Info is part of engine.Engine.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	return e.Description, e.called(ctx, "Info")
}

// Local is part of engine.Engine.
func (e *Engine) Local(ctx context.Context) (engine.Info, error) {
	return engine.Info{Name: e.Description.Name, Path: e.Description.Path, Socket: e.Description.Socket}, e.called(ctx, "Local")
}

// Inspect is part of engine.Engine.
func (e *Engine) Inspect(ctx context.Context, id string) (engine.Status, error) {
	if err := e.called(ctx, "Inspect"); err != nil {
		return engine.Status{}, err
	}
	c, err := e.find(id)
	if err != nil {
		return engine.Status{}, err
	}
	return c.status(), nil
}

// Logs is part of engine.Engine.
func (e *Engine) Logs(ctx context.Context, id string, n int, w io.Writer) error {
	if err := e.called(ctx, "Logs"); err != nil {
		return err
	}
	c, err := e.find(id)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, c.lastLines(n))
	return err
}

func (e *Engine) find(id string) (*container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if c.id == id || c.spec.Name == id {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
}

// List is part of engine.Engine.
func (e *Engine) List(ctx context.Context, labels map[string]string) (engine.Inventory, error) {
	if err := e.called(ctx, "List"); err != nil {
		return engine.Inventory{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var inv engine.Inventory
	for _, id := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[id]
		if s := c.status(); carries(s.Labels, labels) {
			inv.Containers = append(inv.Containers, engine.Container{
				ID: c.id, Name: c.spec.Name, Image: c.spec.Image, Running: s.Running, Health: s.Health, Labels: s.Labels, Created: c.created,
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.networks)) {
		if n := e.networks[name]; carries(n.Labels, labels) {
			inv.Networks = append(inv.Networks, n)
		}
	}
	return inv, nil
}

func carries(has, wanted map[string]string) bool {
	for name, value := range wanted {
		if got, ok := has[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// Remove is part of engine.Engine.
func (e *Engine) Remove(ctx context.Context, inv engine.Inventory) error {
	if err := e.called(ctx, "Remove"); err != nil {
		return err
	}
	for _, row := range inv.Containers {
		e.remove(row.ID)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range inv.Networks {
		delete(e.networks, n.Name)
	}
	return nil
}

// remove ends a container's process and forgets it.
func (e *Engine) remove(id string) {
	e.mu.Lock()
	c := e.containers[id]
	e.mu.Unlock()
	if c == nil {
		return
	}
	c.end()
	<-c.ended
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}

// refusal is an error as a driver makes them.
func refusal(cause error, whose verdict.Whose, command, output string) error {
	return &verdict.Error{Whose: whose, Err: fmt.Errorf("%s: %w", output, cause), Command: command, Output: output, Hint: "mend it"}
}

func newID() string {
	id := make([]byte, 32)
	_, _ = rand.Read(id) // it never fails
	return hex.EncodeToString(id)
}

// container is a container of the fake.
type container struct {
	id      string
	spec    engine.ContainerSpec
	network string
	ports   map[string]string
	created time.Time
	end     context.CancelFunc
	ended   chan struct{} // closed when the process has ended

	mu     sync.Mutex
	log    bytes.Buffer
	exit   int
	done   bool
	health string
}

// Write takes the process' output.
func (c *container) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(p)
}

func (c *container) lastLines(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.SplitAfter(c.log.String(), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

func (c *container) status() engine.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return engine.Status{
		ID: c.id, Running: !c.done, ExitCode: c.exit, Health: c.health, Labels: c.spec.Labels, Ports: maps.Clone(c.ports),
	}
}

func (c *container) setHealth(health string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = health
}

func (c *container) setExit(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exit, c.done = status, true
	close(c.ended)
}
