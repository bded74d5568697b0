package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/internal/handler"
)

// cleanPath is where programs are looked for, as gantry does.
const cleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// engine is a container engine that answers.
type engine struct {
	name, path string
	conf       string // CONTAINERS_CONF of the demo, if Podman needs one
}

// findEngine looks for an engine, and installs Podman if there is none.
func (d *demo) findEngine(ctx context.Context, name string) (*engine, error) {
	found, reasons := search(ctx, name)
	if found == nil && name == "docker" {
		return nil, fmt.Errorf("docker does not answer: %w", errors.Join(reasons...))
	}
	if missing := missingPackages(found == nil); len(missing) > 0 {
		for _, reason := range reasons {
			d.log.say("%v", reason)
		}
		if err := d.install(ctx, missing); err != nil {
			return nil, err
		}
		found, reasons = search(ctx, name)
	}
	if found == nil {
		return nil, fmt.Errorf("no container engine answers: %w", errors.Join(reasons...))
	}
	version, err := found.do(ctx, "version", "--format", "{{.Client.Version}}")
	if err != nil {
		return nil, err
	}
	d.log.say("engine: %s %s (%s)", found.name, strings.TrimSpace(version), found.path)
	return found, nil
}

// search tries the engines in the order in which gantry does, and says why one cannot be used.
func search(ctx context.Context, name string) (*engine, []error) {
	pings := map[string][]string{"docker": {"version", "--format", "{{.Server.Version}}"}, "podman": {"info"}}
	names := []string{"docker", "podman"}
	if pings[name] != nil {
		names = []string{name}
	}
	var reasons []error
	for _, name := range names {
		path := program(name)
		if path == "" {
			reasons = append(reasons, fmt.Errorf("%s is not installed", name))
			continue
		}
		e := &engine{name: name, path: path}
		if _, err := e.do(ctx, pings[name]...); err != nil {
			reasons = append(reasons, err)
			continue
		}
		return e, nil
	}
	return nil, reasons
}

// program is the path of a program in the system's usual folders; "" if it is not there.
func program(name string) string {
	for _, dir := range filepath.SplitList(cleanPath) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// env is the environment of the engine's program, and of the hook: this process' own without gantry's settings.
func (e *engine) env() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GANTRY_") {
			env = append(env, kv)
		}
	}
	if e.conf != "" {
		env = append(env, "CONTAINERS_CONF="+e.conf)
	}
	return env
}

// do runs one command of the engine and returns what it printed.
func (e *engine) do(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.path, args...)
	cmd.Env = e.env()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", e.name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// remedy is a setting without which Podman cannot start a container on some machines.
type remedy struct {
	error   string // a piece of what it says
	section string
	setting string
	because string
	pkg     string // the package and program that the setting names
}

func remedies() []remedy {
	return []remedy{
		{"RLIMIT_N", "containers", `default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]`, "this machine does not let Podman raise limits", ""},
		{"cgroups in hybrid mode not supported", "engine", `runtime = "runc"`, "crun does not run with this machine's cgroups", "runc"},
	}
}

// tryRun starts a container. Where Podman cannot, it gets a configuration for this demo only, which says what this
// machine needs; gantry and Podman's own configuration stay as they are.
func (e *engine) tryRun(ctx context.Context, d *demo) error {
	var applied []remedy
	for {
		_, err := e.do(ctx, "run", "--rm", "--network", "none", "gantry.demo/alpine:1", "true")
		if err == nil {
			return nil
		}
		next, ok := remedyFor(err, applied)
		if e.name != "podman" || !ok {
			return fmt.Errorf("trying a container: %w", err)
		}
		if err := d.installFor(ctx, next); err != nil {
			return err
		}
		applied = append(applied, next)
		e.conf = filepath.Join(d.dir, "containers.conf")
		if err := writeConf(e.conf, applied); err != nil {
			return err
		}
		d.log.say("%s: for the demo only, containers.conf says [%s] %s", next.because, next.section, next.setting)
	}
}

func remedyFor(err error, applied []remedy) (remedy, bool) {
	for _, r := range remedies() {
		if !strings.Contains(err.Error(), r.error) {
			continue
		}
		for _, a := range applied {
			if a == r {
				return r, false
			}
		}
		return r, true
	}
	return remedy{}, false
}

func writeConf(path string, settings []remedy) error {
	var text strings.Builder
	for _, r := range settings {
		fmt.Fprintf(&text, "[%s]\n%s\n", r.section, r.setting)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("writing a configuration for podman: %w", err)
	}
	return nil
}

// removeImages removes the demo's images and those that gantry built for it.
func (e *engine) removeImages(ctx context.Context, stateDir string) error {
	built, err := e.do(ctx, "images", "--quiet", "--filter", "label="+label(stateDir))
	if err != nil {
		return err
	}
	for _, image := range append(strings.Fields(built), "gantry.demo/redis:1", "gantry.demo/alpine:1") {
		if _, missing := e.do(ctx, "image", "inspect", image); missing != nil {
			continue
		}
		if _, failed := e.do(ctx, "rmi", image); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// leftovers is an error if a container or network of the demo is still there.
func (e *engine) leftovers(ctx context.Context, stateDir string) error {
	var left []string
	for _, args := range [][]string{{"ps", "--all", "--quiet"}, {"network", "ls", "--quiet"}} {
		out, err := e.do(ctx, append(args, "--filter", "label="+label(stateDir))...)
		if err != nil {
			return err
		}
		left = append(left, strings.Fields(out)...)
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(left, " "))
	}
	return nil
}

// label is what everything has that gantry makes with this state folder.
func label(stateDir string) string { return handler.LabelState + "=" + handler.StateID(stateDir) }
