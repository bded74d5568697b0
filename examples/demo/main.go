// Demo prepares what examples/ci.yml needs, and runs it: gantry run examples/ci.yml.
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
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
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
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gantry-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{dir: dir, log: log{os.Stdout}}
	if d.bin, err = filepath.Abs(*bin); err != nil {
		return fmt.Errorf("finding the built programs: %w", err)
	}
	if d.engine, err = d.findEngine(ctx, *name); err != nil {
		return err
	}
	return d.play(ctx)
}

// demo is one run of the demo.
type demo struct {
	dir    string // everything that it writes
	bin    string // the built programs
	engine *engine
	log    log
}

// play makes images, runs the workflow, and removes everything.
func (d *demo) play(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.engine.removeImages(context.WithoutCancel(ctx), d.stateDir())) }()
	if err := d.loadImages(ctx); err != nil {
		return err
	}
	if err := d.engine.tryRun(ctx, d); err != nil {
		return err
	}
	return errors.Join(d.gantry(ctx), d.engine.leftovers(context.WithoutCancel(ctx), d.stateDir()))
}

// gantry runs the workflow. Ctrl-C reaches the program from the terminal; a signal for the demo alone is passed on.
func (d *demo) gantry(ctx context.Context) error {
	args := []string{"run", "examples/ci.yml"}
	if node, err := exec.LookPath("node"); err == nil {
		args = append(args, "--node", node, "--var", "NODE=yes")
	}
	d.log.say("gantry %s", strings.Join(args, " "))
	config, err := filepath.Abs("examples/demo/gantry.yaml") // the hook runs in another folder
	if err != nil {
		return fmt.Errorf("finding the demo's configuration: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "gantry"), args...)
	cmd.Env = append(d.engine.env(), "GANTRY_ENGINE="+d.engine.name, "GANTRY_STATE_DIR="+d.stateDir(),
		"GANTRY_CONFIG="+config)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Minute // it cleans up
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("gantry run: %w", err)
	}
	return nil
}

func (d *demo) stateDir() string { return filepath.Join(d.dir, "state") }

// log prints lines about the demo itself.
type log struct{ w io.Writer }

func (l log) say(format string, args ...any) { fmt.Fprintf(l.w, "demo: "+format+"\n", args...) }
