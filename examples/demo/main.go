// Demo plays the job of workflow.yml through gantry, as the GitHub Actions runner would: it calls bin/hook.sh for
// every step, and prints what a user sees in the job's log.
//
//	make demo
//
// It needs no runner, no account and no registry. Without an engine that answers it installs Podman from the
// distribution (Debian, Ubuntu; as root or with sudo), elsewhere it says what to install. Containers, networks,
// images and files are gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/gantry-ci/gantry/internal/fakerunner"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	name := flags.String("engine", os.Getenv("GANTRY_ENGINE"), "docker or podman (default: the one that answers)")
	bin := flags.String("bin", "bin", "the folder of the built programs")
	sources := flags.String("sources", "examples/demo", "the folder of workflow.yml")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gantry-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{dir: dir, log: newLog(os.Stdout)}
	if d.bin, err = filepath.Abs(*bin); err != nil {
		return fmt.Errorf("finding the built programs: %w", err)
	}
	if d.sources, err = filepath.Abs(*sources); err != nil {
		return fmt.Errorf("finding the demo's files: %w", err)
	}
	if d.engine, err = d.findEngine(ctx, *name); err != nil {
		return err
	}
	return d.play(ctx)
}

// demo is one run of the demo.
type demo struct {
	dir     string // everything that it writes
	sources string // workflow.yml and what belongs to it
	bin     string // the built programs
	engine  *engine
	log     *log
}

// play makes images and a runner, plays the job, and removes everything.
func (d *demo) play(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.engine.removeImages(context.WithoutCancel(ctx), d.stateDir())) }()
	if err := d.loadImages(ctx); err != nil {
		return err
	}
	if err := d.engine.tryRun(ctx, d); err != nil {
		return err
	}
	wf, err := readWorkflow(filepath.Join(d.sources, "workflow.yml"))
	if err != nil {
		return err
	}
	env := append(d.engine.env(), "GANTRY_ENGINE="+d.engine.name, "GANTRY_STATE_DIR="+d.stateDir(),
		"GANTRY_CONFIG="+filepath.Join(d.sources, "gantry.yaml"))
	r, err := fakerunner.New(filepath.Join(d.dir, "runner"), filepath.Join(d.bin, "hook.sh"), env)
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(r.Workspace, "action"), os.DirFS(filepath.Join(d.sources, "action"))); err != nil {
		return fmt.Errorf("copying the action: %w", err)
	}
	j := &job{runner: r, log: d.log, outputs: map[string]string{}}
	err = j.play(ctx, wf)
	d.log.table()
	return errors.Join(err, d.engine.leftovers(context.WithoutCancel(ctx), d.stateDir()))
}

func (d *demo) stateDir() string { return filepath.Join(d.dir, "state") }
