package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/engines"
)

const usage = `testbed starts real container engines for tests.

  testbed run [--only docker,podman,rootless,registry] -- go test ./...
  testbed run --only kubernetes -- go test ./...
  testbed up --dir /tmp/tb       then: . /tmp/tb/env
  testbed down --dir /tmp/tb
  testbed build --only kubernetes,buildkit

build makes programs that no package has, which takes minutes the first time; run and up do so too.
run exits with the command's status, with 1 when the tests left containers or networks behind,
and with 3 when an engine could not be started.
`

// Exit statuses.
const (
	exitLeak  = 1
	exitUsage = 2
	exitStart = 3
)

type options struct {
	dir      string
	only     []string
	isolated bool // this is the program that Isolate has started
	command  []string
}

func dispatch(ctx context.Context, args []string) int {
	commands := map[string]func(context.Context, options) int{"run": run, "up": up, "down": down, "build": build}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	opts, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n\n%s", err, usage)
		return exitUsage
	}
	return commands[args[0]](ctx, opts)
}

func parse(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&opts.dir, "dir", "", "the testbed's directory")
	flags.BoolVar(&opts.isolated, "isolated", false, "internal: already in a network namespace")
	only := flags.String("only", "", "comma-separated parts: "+strings.Join(engines.Parts(), ","))
	if err := flags.Parse(args[1:]); err != nil {
		return opts, err
	}
	opts.command = flags.Args()
	if *only != "" {
		opts.only = strings.Split(*only, ",")
	}
	for _, part := range opts.only {
		if !slices.Contains(engines.Parts(), part) {
			return opts, fmt.Errorf("--only %s: there is no such part", part)
		}
	}
	if args[0] == "run" && len(opts.command) == 0 {
		return opts, errors.New("run needs a command after --")
	}
	if (args[0] == "up" || args[0] == "down") && opts.dir == "" {
		return opts, errors.New(args[0] + " needs --dir")
	}
	return opts, absolute(&opts.dir)
}

func absolute(dir *string) error {
	if *dir == "" {
		return nil
	}
	var err error
	*dir, err = filepath.Abs(*dir)
	return err
}

func run(ctx context.Context, opts options) int {
	if given, ok := engines.Given(opts.only); ok {
		return runGiven(ctx, given, opts.command)
	}
	if !opts.isolated {
		engines.EndStale(os.Stderr)
		err := engines.Prepare(ctx, opts.only, os.Stderr)
		if err == nil {
			err = engines.Isolate(append([]string{"run", "--isolated"}, os.Args[2:]...))
		}
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	bed, err := engines.Up(ctx, engines.Options{Dir: opts.dir, Only: opts.only, Writer: os.Stderr})
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	env, err := bed.ChildEnv()
	status := exitStart
	if err == nil {
		status = runCommand(ctx, env, opts.command)
	} else {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
	}
	if leaked(bed) && status == 0 {
		status = exitLeak
	}
	if err := bed.Down(); err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		status = max(status, exitLeak)
	}
	return status
}

// runGiven runs the command with somebody's cluster. What it leaves there is not looked for.
func runGiven(ctx context.Context, given *engines.Cluster, command []string) int {
	err := given.Load(ctx, os.Stderr)
	var env []string
	if err == nil {
		env, err = given.ChildEnv()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	return runCommand(ctx, env, command)
}

// runCommand gives the command's exit status, or that of a shell when it could not start. A signal to the testbed
// interrupts the command and leaves it ten seconds.
func runCommand(ctx context.Context, env, args []string) int {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case errors.As(err, &exit):
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
	return 127
}

// leaked prints what the tests have left behind.
func leaked(bed *engines.Bed) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	leaks, err := bed.Leaks(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: looking for what the tests left: %v\n", err)
	}
	for _, leak := range leaks {
		fmt.Fprintf(os.Stderr, "testbed: LEFT BEHIND %s\n", leak)
	}
	return err != nil || len(leaks) > 0
}

func up(ctx context.Context, opts options) int {
	err := engines.Prepare(ctx, opts.only, os.Stderr)
	var bed *engines.Bed
	if err == nil {
		bed, err = engines.Up(ctx, engines.Options{Dir: opts.dir, Only: opts.only, Keep: true, Writer: os.Stderr})
	}
	if err == nil {
		err = writeEnv(bed)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	fmt.Printf(". %s\n", filepath.Join(bed.Dir, "env"))
	return 0
}

func build(ctx context.Context, opts options) int {
	if err := engines.Build(ctx, opts.only, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	return 0
}

func down(_ context.Context, opts options) int {
	bed, err := engines.Open(opts.dir, os.Stderr)
	if err == nil {
		err = bed.Down()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return exitStart
	}
	return 0
}

// writeEnv writes the file to source: the facts for tests, and what makes docker and podman at the prompt talk to
// this bed.
func writeEnv(bed *engines.Bed) error {
	lines, err := bed.Facts().Environ()
	if err != nil {
		return err
	}
	for _, engine := range bed.Facts().Engines() {
		if engine.UID != 0 {
			continue
		}
		for _, line := range engine.Env {
			if strings.HasPrefix(line, "DOCKER_HOST=") || strings.HasPrefix(line, "CONTAINERS_") {
				lines = append(lines, line)
			}
		}
	}
	if node := bed.Facts().Kubernetes; node != nil {
		lines = append(lines, "KUBECONFIG="+node.Kubeconfig)
	}
	var text strings.Builder
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return os.WriteFile(filepath.Join(bed.Dir, "env"), []byte(text.String()), 0o644)
}
