// Package ocicli drives Docker or Podman by its own command line program.
//
// A create flag that a workflow writes then means exactly what the user's engine says it means; credential helpers,
// contexts and rootless set-ups work as they do by hand; and no client is too old for the daemon. A call costs 20
// to 30 ms, so there are few of them, side by side. What differs between the two programs is in one table,
// differences; the flows do not know which one they drive.
//
// Values of the job's environment never appear in a command line, and never steer the engine's program: see
// passEnv.
package ocicli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// CleanPath is where engine programs are looked for, and the PATH that they get. A job can put folders on the
// hook's own PATH, so that one is never used.
const CleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Options say which engine to drive.
type Options struct {
	Name string // "docker" or "podman"
	Path string // absolute path of its program; "": Find(Name)
	// Env is the environment of the engine's program: normally the hook's own. PATH and RUNNER_TRACKING_ID in it
	// are replaced and dropped; see commandEnv.
	Env []string
	// TempDir is where credentials and environment files live for the length of one command; List deletes those of
	// hooks that were killed. No job may be able to write there. It is made when it is needed. "": the system's.
	TempDir string
	// Log gets every call of the program, at debug level; nil: nobody. Command lines hold no secrets but those that
	// a workflow writes into its create flags.
	Log *slog.Logger
}

// Driver is an engine.Engine. It keeps no state but these settings.
type Driver struct {
	diff    *differences
	path    string
	env     []string
	tempDir string
	log     *slog.Logger
	// pause is the time between two looks at health, and between two tries of a pull.
	healthPause time.Duration
	retryPause  func(try int) time.Duration
}

var _ engine.Engine = (*Driver)(nil)

// New makes a driver. It runs nothing; it fails on an unknown name and on a program that is not there.
func New(opts Options) (*Driver, error) {
	diff := differencesOf(opts.Name)
	if diff == nil {
		return nil, verdict.New(verdict.Configuration, "set engine to docker or podman", "unknown engine %q", opts.Name)
	}
	path := opts.Path
	if path == "" {
		found, err := Find(opts.Name)
		if err != nil {
			return nil, err
		}
		path = found
	} else if _, err := exec.LookPath(path); err != nil {
		return nil, verdict.New(verdict.Configuration, "correct engine_path (GANTRY_ENGINE_PATH), or leave it out: "+opts.Name+" is then looked for",
			"%s, which is configured as the engine's program, cannot be run: %w", path, errors.Unwrap(err))
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Driver{
		log:         log,
		diff:        diff,
		path:        path,
		env:         commandEnv(opts.Env),
		tempDir:     opts.TempDir,
		healthPause: 150 * time.Millisecond,
		retryPause:  pullPause,
	}, nil
}

// Find gives the absolute path of an engine's program, from CleanPath. An engine that is not installed is
// engine.ErrUnavailable.
func Find(name string) (string, error) {
	for dir := range strings.SplitSeq(CleanPath, ":") {
		path := filepath.Join(dir, name)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking at %s: %w", path, err)
		}
	}
	return "", &verdict.Error{
		Whose: verdict.Configuration,
		Err:   fmt.Errorf("%s is not installed in %s: %w", name, CleanPath, engine.ErrUnavailable),
		Hint:  "install " + name + ", or choose the other engine",
	}
}

// executable tells whether path, which is absolute, is a program.
func executable(path string) error {
	if _, err := exec.LookPath(path); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fs.ErrNotExist // a file that is no program, as a shell sees it
		}
		return errors.Unwrap(err)
	}
	return nil
}

// Detect gives Docker if its daemon answers, else Podman if that works; opts.Name and opts.Path are ignored. An
// error explains both.
func Detect(ctx context.Context, opts Options) (*Driver, error) {
	var refusals []error
	for _, name := range []string{"docker", "podman"} {
		opts.Name, opts.Path = name, ""
		d, err := New(opts)
		if err == nil {
			err = d.answers(ctx)
		}
		if err == nil {
			return d, nil
		}
		refusals = append(refusals, fmt.Errorf("%s: %w", name, err))
	}
	return nil, noEngine(refusals)
}

func noEngine(refusals []error) error {
	v := &verdict.Error{
		Whose: verdict.Infrastructure,
		Err:   fmt.Errorf("no container engine: %w", errors.Join(refusals...)),
		Hint:  "start the Docker daemon, or install Podman; `gantry doctor` looks closer",
	}
	for _, err := range refusals {
		// A daemon that is there and may not be used is the likelier wish than a Podman that is not installed.
		if inner := verdict.Of(err); inner.Command != "" {
			v.Command, v.Output, v.Hint = inner.Command, inner.Output, inner.Hint
			break
		}
	}
	return v
}

// answers asks the engine for a sign of life.
func (d *Driver) answers(ctx context.Context) error {
	out, err := d.output(ctx, d.diff.pingArgs...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out)) == "" {
		return fmt.Errorf("%s names no version: %w", d.path, engine.ErrUnavailable)
	}
	return nil
}

// commandEnv is base as an engine's program gets it: PATH is the clean one, and RUNNER_TRACKING_ID is gone, because
// the runner kills at the end of the job whatever carries it, Podman's monitors included.
func commandEnv(base []string) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "PATH" || name == "RUNNER_TRACKING_ID"
	})
	return append(env, "PATH="+CleanPath)
}
