package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The supervisor's open files, beside the standard streams.
const (
	supervisorControl = 3 // stream socket to the agent
	supervisorOutput  = 4 // write end of the step's output pipe
)

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2).
const prSetChildSubreaper = 36

// Intervals at which a tree is killed again until nothing of it is left; a fork bomb takes a few rounds.
const (
	killRounds   = 200
	killInterval = 5 * time.Millisecond
)

type startRequest struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	// Report: the start is to be told, not only the end.
	Report bool `json:"report,omitempty"`
}

// supervisorExit is the end of the step's own process, or Error why it could not be started.
type supervisorExit struct {
	Status int    `json:"status"` // as wait4(2) gives it
	Code   int    `json:"code"`   // with Error: 126 or 127
	Error  string `json:"error,omitempty"`

	TooLong bool `json:"tooLong,omitempty"`
}

// Supervise is the main function of a supervisor process: it runs one step and stays until the last process of
// the step's tree is gone. It is the tree's subreaper: whatever loses its parent becomes the supervisor's child,
// so the tree can always be listed completely.
func Supervise() error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); e != 0 {
		return fmt.Errorf("becoming a subreaper: %w", e)
	}
	syscall.CloseOnExec(supervisorControl)
	syscall.CloseOnExec(supervisorOutput)
	if err := syscall.SetNonblock(supervisorOutput, false); err != nil {
		return fmt.Errorf("preparing the output pipe: %w", err)
	}
	// Signals to the whole container are not for us. Caught signals, unlike ignored ones, are back to their
	// defaults in the step's process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	s := &supervisor{control: os.NewFile(supervisorControl, "control")}
	in := bufio.NewReader(s.control)
	_, payload, err := readFrame(in, maxFrame)
	if errors.Is(err, io.EOF) {
		return nil // a spare that was not needed
	}
	if err != nil {
		return fmt.Errorf("reading the step: %w", err)
	}
	var req startRequest
	if err := json.Unmarshal(payload, &req); err != nil {
		return fmt.Errorf("decoding the step: %w", err)
	}
	return s.run(req, in)
}

type supervisor struct {
	control *os.File
	mu      sync.Mutex // guards writes to control
}

// run starts the step. It is taken before, not after: a step that kills its supervisor at once must not be started
// again by another one.
func (s *supervisor) run(req startRequest, in *bufio.Reader) error {
	if err := s.send(frameTaken, nil); err != nil {
		return err
	}
	pid, code, err := startProcess(req)
	syscall.Close(supervisorOutput)
	if err != nil {
		return s.send(frameExit, supervisorExit{Code: code, Error: err.Error(), TooLong: errors.Is(err, syscall.E2BIG)})
	}
	if req.Report {
		if err := s.send(frameStarted, nil); err != nil {
			return err
		}
	}
	go s.obey(in)
	return s.reap(pid)
}

func (s *supervisor) send(kind byte, v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeJSON(s.control, kind, v)
}

// reap waits for every process of the tree, reports the end of the first, and returns when none is left.
func (s *supervisor) reap(main int) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("waiting for the step: %w", err)
		case pid == main:
			if err := s.send(frameExit, supervisorExit{Status: int(status)}); err != nil {
				return err
			}
		}
	}
}

// obey passes signals on to the tree. The agent's end is the end of the container: nothing must stay.
func (s *supervisor) obey(in *bufio.Reader) {
	for {
		_, payload, err := readFrame(in, 1<<10)
		var req cancelRequest
		if err != nil || json.Unmarshal(payload, &req) != nil {
			s.kill()
			return
		}
		if sig := syscall.Signal(req.Signal); sig == syscall.SIGKILL {
			s.kill()
		} else {
			signalTree(os.Getpid(), sig)
		}
	}
}

// kill ends the whole tree and reports processes that it may not signal.
func (s *supervisor) kill() {
	for range killRounds {
		alive, denied := signalTree(os.Getpid(), syscall.SIGKILL)
		if alive == 0 {
			if len(denied) > 0 {
				s.send(frameError, denied) // the agent may be gone: there is nobody else to tell
			}
			return
		}
		time.Sleep(killInterval)
	}
}

// startProcess starts the step's process in a session of its own. On error code is the exit status that a shell
// would give: 127 not found, 126 not executable.
func startProcess(req startRequest) (pid, code int, err error) {
	if req.Dir != "" {
		if st, err := os.Stat(req.Dir); err != nil || !st.IsDir() {
			return 0, 126, fmt.Errorf("the working directory %q does not exist in the container", req.Dir)
		}
	}
	file, err := lookPath(req.Argv[0], pathOf(req.Env), req.Dir)
	if err != nil {
		return 0, 127, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, 126, fmt.Errorf("opening the step's standard input: %w", err)
	}
	defer null.Close()
	pid, err = syscall.ForkExec(file, req.Argv, &syscall.ProcAttr{
		Dir:   req.Dir,
		Env:   req.Env,
		Files: []uintptr{null.Fd(), supervisorOutput, supervisorOutput},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, exitCodeOf(err), fmt.Errorf("starting %q: %w", file, err)
	}
	preferAsVictim(pid)
	return pid, 0, nil
}

// exitCodeOf is a shell's exit status for a program that cannot be started. A file that exists but gives ENOENT
// has an interpreter that does not.
func exitCodeOf(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}

// preferAsVictim makes the kernel choose the step before the agent when memory runs out. Raising one's own
// score needs no privilege; where it does not work the kernel chooses by size, as it would anyway.
func preferAsVictim(pid int) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), os.O_WRONLY, 0)
	if err == nil {
		f.WriteString("500")
		f.Close()
	}
}

func pathOf(env []string) string {
	for _, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			return path
		}
	}
	return ""
}

// lookPath finds a program as execvp(3) does, in the step's PATH and working directory.
func lookPath(name, path, dir string) (string, error) {
	if name == "" {
		return "", errors.New("the step names no program")
	}
	if strings.Contains(name, "/") {
		abs := name
		if !filepath.IsAbs(name) {
			abs = filepath.Join(dir, name)
		}
		if _, err := os.Stat(abs); err != nil {
			return "", fmt.Errorf("%q: no such file in the container", name)
		}
		return name, nil
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		file := filepath.Join(d, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%q: not found in the container's PATH (%s)", name, path)
}
