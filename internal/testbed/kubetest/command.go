package kubetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// Program is what a runner's container is to run beside its first process.
type Program struct {
	Args []string
	Env  []string // NAME=VALUE, beside the container's own
	Dir  string   // "": the container's own
}

// Command is a program that runs in a runner's container, with its user, limits and environment, as a process of this
// machine. Signals to Process reach it, apart from SIGKILL: see Signal.
type Command struct {
	*exec.Cmd
	pidFile string
}

// Command prepares a program in the runner's container. No part of the cluster has a hand in it: it runs on while API
// server, kubelet and containerd are broken. It is killed when ctx ends.
func (r *Runner) Command(ctx context.Context, p Program) (*Command, error) {
	return r.inside.command(ctx, p)
}

// inside is the way into a runner's container.
type inside interface {
	command(context.Context, Program) (*Command, error)
	// copyIn copies a folder of this machine into one that the runner's container sees.
	copyIn(ctx context.Context, from, to string, user int64) error
	hostPath(path string) (string, error)
}

// Signal sends a signal, also SIGKILL, to the program itself.
func (c *Command) Signal(signal syscall.Signal) error {
	if c.pidFile == "" {
		return errors.New("a program in a pod of a foreign cluster takes no signals")
	}
	var pid int
	// The file is written a moment after the program has begun.
	if err := daemon.Poll(context.Background(), time.Second, func() error {
		text, err := os.ReadFile(c.pidFile)
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	}); err != nil {
		return fmt.Errorf("finding the program in the pod: %w", err)
	}
	return syscall.Kill(pid, signal)
}

// HostPath is where, on this machine, what the runner sees at a path lies; for paths in its volumes only.
func (r *Runner) HostPath(path string) (string, error) { return r.inside.hostPath(path) }
