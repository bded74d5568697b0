// Package daemon runs the programs of a testbed in the background: each in its own session, found again by its number
// and start time, and, where a file says how it was started, started again by any process of the testbed.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a daemon that was started, found again after a restart of the testbed command.
type Process struct {
	Name    string
	PID     int
	Started string // its start time in clock ticks since boot: a reused PID has another
	Log     string
}

// Start runs a daemon in its own session, so that the terminal's signals do not reach it. Its output is appended to
// the file.
func Start(name, log string, cmd *exec.Cmd) (Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return Process{}, fmt.Errorf("starting %s: %w", name, err)
	}
	p := Process{Name: name, PID: cmd.Process.Pid, Log: log}
	p.Started, _ = Stat(p.PID)
	go cmd.Wait() //nolint:errcheck // only to reap it; Alive tells how it is
	return p, nil
}

// Self is the process that calls.
func Self(name string) Process {
	p := Process{Name: name, PID: os.Getpid()}
	p.Started, _ = Stat(p.PID)
	return p
}

// Alive tells whether the process still runs; a zombie does not.
func (p Process) Alive() bool {
	started, state := Stat(p.PID)
	return started != "" && started == p.Started && state != "X" && (state != "Z" || p.threads() > 1)
}

// threads are how many the process has. While it is killed, its first one may be a zombie already when others still hold
// its ports.
func (p Process) threads() int {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	if err != nil {
		return 0
	}
	return len(all)
}

// Signal sends a signal, unless the process has ended.
func (p Process) Signal(signal syscall.Signal) error {
	if !p.Alive() {
		return fmt.Errorf("%s (%d): %w", p.Name, p.PID, os.ErrProcessDone)
	}
	return syscall.Kill(p.PID, signal)
}

// Stat reads start time and state of a process; both are "" if there is none.
func Stat(pid int) (started, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	const startField, stateField = 19, 0
	if len(fields) <= startField {
		return "", ""
	}
	return fields[startField], fields[stateField]
}

// End asks the process to stop and kills it when it has not after the grace.
func (p Process) End(grace time.Duration) {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 2 * time.Second}} {
		if !p.Alive() {
			return
		}
		if step.wait == 0 {
			continue
		}
		_ = syscall.Kill(p.PID, step.signal)
		_ = Poll(context.Background(), step.wait, func() error {
			if p.Alive() {
				return errors.New("still running")
			}
			return nil
		})
	}
}

// Poll calls check until it succeeds, at most for the given time. The error is check's last one.
func Poll(ctx context.Context, atMost time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// Ready waits until check succeeds. It fails at once when the process ends, and shows the end of its log.
func (p Process) Ready(ctx context.Context, check func() error) error {
	const patience = 3 * time.Minute // of machines that do much else
	dead := errors.New("it has ended")
	var last error
	err := Poll(ctx, patience, func() error {
		if last = check(); last != nil && !p.Alive() {
			last = dead
			return nil
		}
		return last
	})
	if err == nil {
		err = last
	}
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; the end of %s:\n%s", p.Name, err, p.Log, tail(p.Log, 30))
	}
	return nil
}

func tail(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Program finds a program below the directories of a PATH.
func Program(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("looking for %s on %s: %w", name, path, exec.ErrNotFound)
}
