package ocicli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/writers"
)

const (
	// quick bounds a command that only asks the engine something or removes something, whatever the caller's
	// deadline: a daemon that hangs must not hang the hook.
	quick = 2 * time.Minute
	// grace is what a command gets to end by itself once its time is over.
	grace = 2 * time.Second
	// keptOutput is how much of a command's talk is kept for error messages: its end.
	keptOutput = 64 << 10
)

// command is one call of the engine's program.
type command struct {
	args  []string
	env   []string  // further variables of the call: the values for "-e NAME"
	stdin string    // "" is an empty standard input
	talk  io.Writer // gets both streams as they come; nil: nobody
	// whole: the call makes something, and must not be cut off: what it makes would appear unseen. When ctx ends it is
	// waited for a little, and then left alone, as it is when the hook is killed; List waits for it.
	whole bool
	// mortal: the call is worth nothing without the hook, and ends with it even if the hook is killed.
	mortal bool
}

// output runs a command that answers on its standard output.
func (d *Driver) output(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	return d.run(ctx, command{args: args})
}

// run runs c to its end and gives its standard output, unless that goes to c.talk. A status other than 0, and a ctx that ended, are a
// *CommandError.
func (d *Driver) run(ctx context.Context, c command) ([]byte, error) {
	var stdout bytes.Buffer
	said := &writers.Tail{Max: keptOutput}
	cmd := d.prepare(ctx, c)
	cmd.Stdout, cmd.Stderr = &stdout, said
	if c.talk != nil {
		both := io.MultiWriter(said, c.talk) // one writer for both streams keeps their order
		cmd.Stdout, cmd.Stderr = both, both
	}
	began := time.Now()
	var left []jobrecord.Owner
	if terminate := cmd.Cancel; c.mortal {
		cmd.Cancel = func() error {
			left = descendants(cmd.Process.Pid)
			return terminate()
		}
	}
	ended, err := waitFor(ctx, cmd, c)
	end(left)
	if !ended { // stdout is still being written
		d.log.DebugContext(ctx, "engine, left alone", "command", programs.Typed(d.path, c.args), "took", time.Since(began))
		return nil, d.failure(ctx, c.args, err, said.String())
	}
	d.log.DebugContext(ctx, "engine", "command", programs.Typed(d.path, c.args), "took", time.Since(began), "status", cmd.ProcessState.ExitCode())
	if err != nil {
		return stdout.Bytes(), d.failure(ctx, c.args, err, said.String())
	}
	return stdout.Bytes(), nil
}

// waitFor runs cmd to its end. Not ended: it is one that goes on without us.
func waitFor(ctx context.Context, cmd *exec.Cmd, c command) (ended bool, err error) {
	if !c.whole {
		return true, onOneThread(c.mortal, cmd.Run)
	}
	if err := cmd.Start(); err != nil {
		return true, err
	}
	failpoint.Hit("engine-making")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return true, err
	case <-time.After(grace):
		return false, context.Cause(ctx)
	}
}

// onOneThread keeps the calling goroutine on its thread: a child's Pdeathsig goes off when the thread that started it
// ends, not the process.
func onOneThread(needed bool, run func() error) error {
	if needed {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	return run()
}

// prepare makes the process of c, in its own process group, so that a terminal's Ctrl-C ends only the hook, which
// then ends its commands in order.
func (d *Driver) prepare(ctx context.Context, c command) *exec.Cmd {
	if c.whole {
		ctx = context.WithoutCancel(ctx)
	}
	cmd := exec.CommandContext(ctx, d.path, c.args...)
	cmd.Env = append(slices.Clip(d.env), c.env...)
	cmd.Dir = "/"
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.whole {
		cmd.Env = append(cmd.Env, hookVariable+"="+thisHook())
	}
	if c.mortal {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	cmd.WaitDelay = grace
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	return cmd
}

// CommandError is a call of the engine's program that went wrong. It wraps the engine's sentinel that its output
// stands for (engine.ErrDenied and so on), if it is known, and ctx's error if that ended the call.
type CommandError struct {
	Command  string // as a person would type it
	ExitCode int    // -1: it did not end by itself, or could not be started
	Output   string // what it said, the end of it
	causes   []error
}

func (e *CommandError) Error() string {
	last := lastWords(e.Output)
	for _, preamble := range []string{"docker: ", "Error response from daemon: ", "Error: "} {
		last = strings.TrimPrefix(last, preamble)
	}
	switch {
	case e.ExitCode >= 0 && last != "":
		return last
	case e.ExitCode >= 0:
		return fmt.Sprintf("exit status %d", e.ExitCode)
	case len(e.causes) == 0:
		return strings.TrimSpace("it was killed " + last)
	case last == "":
		return e.causes[0].Error()
	}
	return e.causes[0].Error() + ": " + last
}

// Unwrap gives the causes.
func (e *CommandError) Unwrap() []error { return e.causes }

// lastWords is the line in which an engine says what is wrong: the last one that is not a pointer to its help.
func lastWords(output string) string {
	const longest = 400
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "Run '") || strings.HasPrefix(line, "See '") ||
			strings.HasPrefix(line, "Usage:") || strings.HasPrefix(line, "exit status ") ||
			strings.Contains(line, "failed to start containers:") {
			continue
		}
		if len(line) > longest {
			line = strings.ToValidUTF8(line[:longest], "") + "…"
		}
		return line
	}
	return ""
}

// exitCode is the status with which a process ended, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
