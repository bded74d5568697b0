// Package ociclient looks at Docker and Podman through their own command lines, for package conformance. It knows
// nothing of any hook.
package ociclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Client is an engine that is used through its command line.
type Client struct {
	// Name is docker or podman; Program its path.
	Name, Program string
	// Rootless: containers belong to an ordinary user.
	Rootless bool

	mu      sync.Mutex
	environ []string
	uid     int
	seen    map[string]*conformance.Container // by id; what is looked at here never changes
}

var _ conformance.Engine = (*Client)(nil)

// dialect is what differs between the engines.
type dialect struct {
	info     string // format of info that tells whether the engine is rootless
	rootless string // what it says then
	// registriesFile: registries without TLS are named in a file, also those of this machine.
	registriesFile bool
}

func dialects() map[string]dialect {
	return map[string]dialect{
		"docker": {info: "{{json .SecurityOptions}}", rootless: "rootless"},
		"podman": {info: "{{.Host.Security.Rootless}}", rootless: "true", registriesFile: true},
	}
}

// Names are the engines that there are clients of.
func Names() []string { return []string{"docker", "podman"} }

// Find finds the engine's program on the PATH of an environment, and what kind of engine it is. It is always run with
// that environment; uid is the user who runs it.
func Find(ctx context.Context, name string, environ []string, uid int) (*Client, error) {
	program := ""
	for _, kv := range environ {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			program = which(name, path)
		}
	}
	if program == "" {
		return nil, fmt.Errorf("there is no %s on PATH", name)
	}
	c := &Client{Name: name, Program: program, environ: environ, uid: uid}
	out, err := c.run(ctx, "info", "--format", dialects()[name].info)
	if err != nil {
		return nil, fmt.Errorf("asking the engine: %w", err)
	}
	c.Rootless = strings.Contains(string(out), dialects()[name].rootless)
	return c, nil
}

func which(name, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// Meets is true of everything that is not another engine's.
func (c *Client) Meets(need string) bool {
	switch need {
	case "docker", "podman":
		return c.Name == need
	case "rootful":
		return !c.Rootless
	}
	return true
}

// env is the environment of the engine's program.
func (c *Client) env() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.environ)
}

// run runs the engine and gives its standard output.
func (c *Client) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := c.try(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.Name, strings.Join(args, " "), err)
	}
	return out, nil
}

// try is run, with the output also of a program that failed.
func (c *Client) try(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Env, cmd.WaitDelay = c.env(), time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// ended says whether a program has ended with a status of its own, as opposed to one that could not be run, or that
// was killed because nobody waits for it any more.
func ended(ctx context.Context, err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && ctx.Err() == nil
}
