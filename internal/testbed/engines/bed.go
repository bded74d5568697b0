// Package engines starts the container engines of a testbed in one directory, and ends them so that nothing stays:
// no process, no mount, no file. What stays on purpose: Debian packages that were missing and the user gantrytest.
package engines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/daemon"
	"github.com/gantry-ci/gantry/internal/testbed/images"
)

// marker is set in the environment of everything that a bed starts; its value is the bed's directory.
const marker = "GANTRY_TESTBED_DIR"

// cleanPath is where engines are looked for, and the PATH they run with: the one that gantry itself uses.
const cleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Bed is a directory with running engines.
type Bed struct {
	Dir   string
	mu    sync.Mutex
	state state
	talk  io.Writer // progress, for people

	registryAddr string // chosen before anything starts: the engines' configuration names it
}

// state is what Down needs; it is kept in the file state.json of the bed.
type state struct {
	Owner     daemon.Process
	Keep      bool // the bed outlives its owner
	Processes []daemon.Process
	Network   string // see daemon.Network
	Bridge    string // of Docker's default network, in that network
	Node      string // the directory of the Kubernetes node
	Facts     testbed.Facts
}

// Options say what Up starts.
type Options struct {
	Dir    string   // "": a new temporary directory
	Only   []string // of Parts; empty: all but kubernetes
	Keep   bool     // leave the engines running when this process ends
	Writer io.Writer
}

// Parts are what a bed can hold.
func Parts() []string { return append(usual(), "kubernetes", "buildkit") }

// usual are the parts that a bed holds unless it is told which.
func usual() []string { return []string{"docker", "podman", "rootless", "registry"} }

// Up starts the engines and loads the images into them. After an error nothing is left. Root only.
func Up(ctx context.Context, opts Options) (*Bed, error) {
	if opts.Writer == nil {
		opts.Writer = io.Discard
	}
	bed, err := newBed(opts)
	if err != nil {
		return nil, err
	}
	if bed.registryAddr, err = freeAddr(); err != nil {
		return nil, errors.Join(err, bed.Down())
	}
	begin := time.Now()
	if err := bed.startAll(ctx, opts.Only); err != nil {
		return nil, errors.Join(err, bed.Down())
	}
	fmt.Fprintf(bed.talk, "testbed: up in %.1f s\n", time.Since(begin).Seconds())
	return bed, nil
}

func newBed(opts Options) (*Bed, error) {
	dir := opts.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", dirPrefix); err != nil {
			return nil, fmt.Errorf("making the testbed's directory: %w", err)
		}
	} else if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the testbed's directory (one that runs is ended by: testbed down --dir %s): %w", dir, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the rootless user walks through it
		return nil, fmt.Errorf("opening the testbed's directory: %w", err)
	}
	bed := &Bed{Dir: dir, talk: opts.Writer}
	var err error
	if bed.state.Network, err = daemon.Network(); err != nil {
		return nil, err
	}
	bed.state.Keep = opts.Keep
	bed.state.Owner = daemon.Self("testbed")
	return bed, bed.save()
}

// Open finds a bed that an earlier Up has left running.
func Open(dir string, talk io.Writer) (*Bed, error) {
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return nil, fmt.Errorf("opening the testbed in %s: %w", dir, err)
	}
	bed := &Bed{Dir: dir, talk: talk}
	if err := json.Unmarshal(text, &bed.state); err != nil {
		return nil, fmt.Errorf("opening the testbed in %s: %w", dir, err)
	}
	return bed, nil
}

// Facts tells what runs.
func (b *Bed) Facts() testbed.Facts { return b.state.Facts }

// record changes the state and writes it down at once, so that whatever exists can be ended after a crash.
func (b *Bed) record(change func(*state)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.state)
	return b.save()
}

func (b *Bed) save() error {
	text, err := json.MarshalIndent(b.state, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the testbed's state: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "state.json"), text, 0o644); err != nil {
		return fmt.Errorf("saving the testbed's state: %w", err)
	}
	return nil
}

// part is one thing that a bed starts.
type part struct {
	name  string
	start func(context.Context) error
	// load brings the images in; it runs once start is through.
	load func(context.Context, *built) error
}

func (b *Bed) parts(only []string) []part {
	all := []part{
		{"docker", b.startDocker, func(ctx context.Context, i *built) error {
			return loadInto(ctx, b.state.Facts.Docker, i)
		}},
		{"podman", b.startPodman, func(ctx context.Context, i *built) error {
			return loadInto(ctx, b.state.Facts.Podman, i)
		}},
		{"rootless", b.startRootless, func(ctx context.Context, i *built) error {
			return loadInto(ctx, b.state.Facts.Rootless, i)
		}},
		{"registry", b.startRegistry, b.fillRegistry},
		{"kubernetes", b.startKubernetes, b.joinKubernetes},
		{"buildkit", b.startBuildKit, func(context.Context, *built) error { return nil }},
	}
	if len(only) == 0 {
		only = usual()
	}
	var chosen []part
	for _, p := range all {
		for _, name := range only {
			if p.name == name {
				chosen = append(chosen, p)
			}
		}
	}
	return chosen
}

// built are the images: as an archive in a file and in memory, once done is closed without err.
type built struct {
	archive string
	images  []images.Image
	done    chan struct{}
}

func (b *Bed) startAll(ctx context.Context, only []string) error {
	group, ctx := errgroup.WithContext(ctx)
	made := &built{archive: filepath.Join(b.Dir, "images.tar"), done: make(chan struct{})}
	group.Go(func() error { return made.build(ctx) })
	for _, p := range b.parts(only) {
		group.Go(func() error { return b.startPart(ctx, p, made) })
	}
	return group.Wait()
}

func (b *Bed) startPart(ctx context.Context, p part, made *built) error {
	begin := time.Now()
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	running := time.Since(begin)
	select {
	case <-made.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.load(ctx, made); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	fmt.Fprintf(b.talk, "testbed: %s answers after %.1f s, has its images after %.1f s\n",
		p.name, running.Seconds(), time.Since(begin).Seconds())
	return nil
}

func (i *built) build(ctx context.Context) error {
	var err error
	if i.images, err = images.All(ctx); err != nil {
		return err
	}
	file, err := os.Create(i.archive)
	if err != nil {
		return fmt.Errorf("writing the images: %w", err)
	}
	defer file.Close()
	if err := images.WriteArchive(file, i.images); err != nil {
		return err
	}
	close(i.done)
	return file.Close()
}
