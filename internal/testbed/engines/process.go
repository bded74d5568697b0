package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a daemon that a bed has started, found again after a restart of the testbed command.
type process struct {
	Name    string
	PID     int
	Started string // its start time in clock ticks since boot: a reused PID has another
	Log     string
}

// start runs a daemon in its own session, so that the terminal's signals do not reach it, with its output in a file.
func start(name, log string, cmd *exec.Cmd) (process, error) {
	out, err := os.Create(log)
	if err != nil {
		return process{}, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("starting %s: %w", name, err)
	}
	p := process{Name: name, PID: cmd.Process.Pid, Log: log}
	p.Started, _ = stat(p.PID)
	go cmd.Wait() //nolint:errcheck // only to reap it; alive() tells how it is
	return p, nil
}

// alive tells whether the process still runs; a zombie does not.
func (p process) alive() bool {
	started, state := stat(p.PID)
	return started != "" && started == p.Started && state != "Z" && state != "X"
}

// stat reads start time and state of a process; both are "" if there is none.
func stat(pid int) (started, state string) {
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

// end asks the process to stop and kills it when it has not after the grace.
func (p process) end(grace time.Duration) {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 2 * time.Second}} {
		if !p.alive() {
			return
		}
		_ = syscall.Kill(p.PID, step.signal)
		_ = poll(context.Background(), step.wait, func() error {
			if p.alive() {
				return errors.New("still running")
			}
			return nil
		})
	}
}

// poll calls check until it succeeds, at most for the given time. The error is check's last one.
func poll(ctx context.Context, atMost time.Duration, check func() error) error {
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

// ready waits until check succeeds. It fails at once when the process ends, and shows the end of its log.
func (p process) ready(ctx context.Context, check func() error) error {
	dead := errors.New("it has ended")
	var last error
	err := poll(ctx, time.Minute, func() error {
		if last = check(); last != nil && !p.alive() {
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

// killAllIn kills what still runs out of a bed's directory: processes whose environment or command line
// names it. Daemons of a daemon (containerd, shims, conmon, aardvark-dns, slirp4netns) are found so.
func killAllIn(dir string) {
	_ = poll(context.Background(), 5*time.Second, func() error {
		pids := processesIn(dir)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(pids) > 0 {
			return fmt.Errorf("still running: %v", pids)
		}
		return nil
	})
}

func processesIn(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || pid == 1 {
			continue
		}
		if runsIn(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runsIn tells whether the bed is named by the environment marker that its programs have, or by the command line
// of a helper that an engine started.
func runsIn(pid int, dir string) bool {
	if _, state := stat(pid); state == "Z" || state == "" {
		return false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
	if bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+marker+"="+dir+"\x00")) {
		return true
	}
	args := commandLine(pid)
	if len(args) == 0 || !engineHelpers()[filepath.Base(args[0])] {
		return false
	}
	return strings.Contains(strings.Join(args, " "), dir+"/")
}

// engineHelpers are the programs that engines start and leave running. A user's own program that names the
// directory (an editor, a tail) is none of them.
func engineHelpers() map[string]bool {
	return map[string]bool{
		"dockerd": true, "containerd": true, "containerd-shim-runc-v2": true, "docker-registry": true,
		"conmon": true, "podman": true, "rootlessport": true, "slirp4netns": true, "aardvark-dns": true,
		"fuse-overlayfs": true, "runc": true, "crun": true, "docker-proxy": true, "rootlessport-child": true,
		"podman pause": true, "catatonit": true, "netavark": true, "exe": true,
	}
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}
