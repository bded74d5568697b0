package buildguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// grace is what a program gets to end by itself once the build is given up.
	grace = 2 * time.Second
	// killLimit bounds the killing of what is left, removeLimit the command that deletes the folder.
	killLimit   = 10 * time.Second
	removeLimit = 2 * time.Minute
)

// Run does one task. It returns once nothing of the build is left, when in ends or ctx does, too. The error says that
// the task could not be read or its result not be written. It belongs to a process of its own, which does nothing else:
// it reaps every child that the process has.
func Run(ctx context.Context, in io.Reader, out, talk io.Writer) error {
	// Who told us what to do may be gone, and with it the readers of our output.
	signal.Ignore(syscall.SIGPIPE)
	// A child's Pdeathsig goes off when the thread ends that started it.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the reaper of a build: %w", err)
	}
	decoder := json.NewDecoder(in)
	var task Task
	if err := decoder.Decode(&task); err != nil {
		return fmt.Errorf("reading what to build: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is all that counts
		cancel()
	}()
	result := task.do(ctx, talk)
	if err := json.NewEncoder(out).Encode(result); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reporting a build: %w", err)
	}
	return nil
}

func (t *Task) do(ctx context.Context, talk io.Writer) Result {
	lock, err := takeLock(t.Dir + lockSuffix)
	if err != nil {
		return Result{Error: err.Error()}
	}
	defer lock.Close()
	result := t.run(ctx, talk)
	endChildren()
	if err := t.removeLocked(t.Dir); err != nil {
		result.Left = err.Error()
	}
	t.sweep()
	return result
}

// removeLocked deletes a folder and then its lock, by which it is found again if that does not work.
func (t *Task) removeLocked(dir string) error {
	if err := t.remove(dir); err != nil {
		return fmt.Errorf("deleting what the build has left: %w", err)
	}
	if err := os.Remove(dir + lockSuffix); err != nil {
		return fmt.Errorf("deleting what the build has left: %w", err)
	}
	return nil
}

func (t *Task) run(ctx context.Context, talk io.Writer) Result {
	if err := t.lay(); err != nil {
		return Result{Error: err.Error()}
	}
	for i, command := range t.Commands {
		status, err := t.command(ctx, command, talk)
		if err != nil {
			return Result{Failed: i, Error: err.Error()}
		}
		if status != 0 {
			return Result{Failed: i, Status: status}
		}
	}
	return Result{Failed: -1}
}

// lay makes the folder and what is in it.
func (t *Task) lay() error {
	if err := os.Mkdir(t.Dir, 0o700); err != nil {
		return fmt.Errorf("making a private folder for the build: %w", err)
	}
	for _, name := range t.Folders {
		if err := os.MkdirAll(filepath.Join(t.Dir, name), 0o700); err != nil {
			return fmt.Errorf("making a private folder for the build: %w", err)
		}
	}
	for name, text := range t.Files {
		if err := os.WriteFile(filepath.Join(t.Dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("making a private file for the build: %w", err)
		}
	}
	for name, target := range t.Links {
		if err := os.Symlink(target, filepath.Join(t.Dir, name)); err != nil {
			return fmt.Errorf("making a private folder for the build: %w", err)
		}
	}
	return nil
}

// command runs one program to its end. A build that was given up ends it.
func (t *Task) command(ctx context.Context, argv []string, talk io.Writer) (status int, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = t.Env, "/"
	cmd.Stdout, cmd.Stderr = talk, talk
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("the build was given up: %w", ctx.Err())
	case errors.As(err, &exit):
		return exitStatus(exit.ProcessState), nil
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // somebody holds its output, unless that is a file
		return 0, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return 0, nil
}

func exitStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// remove deletes a build's folder with what is mounted in it; what this user may not delete, by the task's command.
func (t *Task) remove(dir string) error {
	unmountBelow(dir)
	err := os.RemoveAll(dir)
	if err == nil || len(t.Remove) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	argv := append(slices.Clone(t.Remove), dir)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = t.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = cmd.Run() // whether it has deleted everything is seen below
	endChildren()
	return os.RemoveAll(dir)
}
