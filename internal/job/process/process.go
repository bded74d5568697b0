// Package process runs the programs of steps on the host, and ends them, as the runner does (ProcessInvoker.cs).
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Delays say how a process is ended, and how long its output is waited for. Zero values are the runner's: 7.5 s from
// SIGINT to SIGTERM, 2.5 s from there to SIGKILL, and 5 s for output that another process holds.
type Delays struct{ Interrupt, Terminate, Output time.Duration }

func (d Delays) orRunners() Delays {
	return Delays{
		Interrupt: orDefault(d.Interrupt, 7500*time.Millisecond),
		Terminate: orDefault(d.Terminate, 2500*time.Millisecond),
		Output:    orDefault(d.Output, 5*time.Second),
	}
}

func orDefault(d, normal time.Duration) time.Duration {
	if d == 0 {
		return normal
	}
	return d
}

// Apart starts a process in a session of its own, without a terminal, as all of a runner's are. Ctrl-C and the end of
// the terminal do not reach it then: what becomes of it is decided here. A process group alone would not do, because a
// program that asks for something on /dev/tty would be stopped, and stay so whatever signal it gets.
func Apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Command is a program to run. Standard input is empty, and there is no terminal: see Apart.
type Command struct {
	Path   string
	Args   []string // without the program itself
	Env    []string // the whole environment
	Dir    string
	Stdout io.Writer // written to by another goroutine than Stderr
	Stderr io.Writer
	Delays Delays
}

// Run runs a program to its end and gives its exit status, 128 and the signal's number if a signal ended it. When ctx
// is cancelled the process, and it alone, gets SIGINT, SIGTERM and SIGKILL, and the error is that of ctx.
func Run(ctx context.Context, c Command) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	delays := c.Delays.orRunners()
	cmd := &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: c.Dir,
		Stdout: c.Stdout, Stderr: c.Stderr, WaitDelay: delays.Output,
		SysProcAttr: Apart(),
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s in %s: %w", c.Path, c.Dir, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := await(ctx, cmd.Process, ended, delays)
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && !errors.As(err, &status) && !errors.Is(err, exec.ErrWaitDelay):
		return 0, fmt.Errorf("running %s: %w", c.Path, err)
	}
	return exitCode(cmd.ProcessState), nil
}

func await(ctx context.Context, p *os.Process, ended <-chan error, delays Delays) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	for _, step := range []struct {
		signal syscall.Signal
		delay  time.Duration
	}{{syscall.SIGINT, delays.Interrupt}, {syscall.SIGTERM, delays.Terminate}} {
		_ = p.Signal(step.signal) // fails only if the process has ended
		select {
		case err := <-ended:
			return err
		case <-time.After(step.delay):
		}
	}
	_ = p.Kill() // as above
	return <-ended
}

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// ErrNotFound is the cause of Which's error.
var ErrNotFound = errors.New("there is no such program")

// Which finds a program in the folders prepend and then those of path (WhichUtil.cs). A name with a folder is taken as
// it is.
func Which(name string, prepend []string, path string) (string, error) {
	if filepath.IsAbs(name) && isFile(name) {
		return name, nil
	}
	for _, folder := range append(append([]string{}, prepend...), filepath.SplitList(path)...) {
		if program := filepath.Join(folder, name); folder != "" && isFile(program) {
			return program, nil
		}
	}
	return "", fmt.Errorf("%s: command not found: %w", name, ErrNotFound)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// Lookup gives the value of a variable in an environment; the last one counts.
func Lookup(env []string, name string) string {
	value := ""
	for _, variable := range env {
		if v, ok := strings.CutPrefix(variable, name+"="); ok {
			value = v
		}
	}
	return value
}
