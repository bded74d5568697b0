package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/wait"
)

// A container of a service runs the service's program, and the agent only starts it: so its arguments and its
// environment need not stand where everybody can read them, health checks can run beside it, and it can be ended by who
// shares a folder with it.

// StopName is a file in SharedDir; when it is there, the agent ends everything and then itself, with status 0.
const StopName = "stop"

// LabelsVariable tells whose the container is, to those who can read its specification. It is kept from the steps.
const LabelsVariable = "GANTRY_LABELS"

// terminationLog is where Kubernetes looks for the last words of a container.
const terminationLog = "/dev/termination-log"

// program is what the container is there for.
type program struct {
	id    string
	proc  *process
	start MainStart
	exit  chan Exit // gets one
}

// MainStart tells how a container's own program was started.
type MainStart struct {
	// Error says why it could not be; "" if it runs. Code is what a shell would exit with then: 126 or 127.
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}

// Main starts the program that an agent with ServeConfig.Main is there for, once: what it prints is the
// container's log, and its end is the container's, with its status. Asking again with the same ID changes nothing. Main
// tries until ctx ends, as the agent may just be starting. Claim comes first.
func (c *Client) Main(ctx context.Context, step *Step) (MainStart, error) {
	for delay := retryFirst; ; {
		var answer MainStart
		err := c.ask(ctx, request{Op: opMain, Step: step}, &answer)
		if err == nil || errors.Is(err, ErrRefused) || !wait.For(ctx, delay) {
			return answer, err
		}
	}
}

// runMain starts the program, or tells how that went.
func (s *Server) runMain(step *Step) (MainStart, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil && s.main.id == step.ID {
		return s.main.start, nil
	}
	if s.main != nil || s.opts.Main == nil {
		return MainStart{}, errors.New("this container has its program")
	}
	s.main = &program{id: step.ID, exit: make(chan Exit, 1)}
	req := startRequest{Argv: step.Argv, Env: environ(s.opts.Env, step), Dir: step.Dir, Report: true}
	if err := s.main.run(req, s.opts.Main); err != nil {
		s.main.start = MainStart{Error: err.Error(), Code: 126}
		s.main.exit <- Exit{Code: 126, Error: err.Error()}
	}
	close(s.started)
	return s.main.start, nil
}

// run starts the program below a supervisor and follows it.
func (p *program) run(req startRequest, out *os.File) error {
	proc, err := spawn(out)
	if err != nil {
		return err
	}
	if !proc.start(req) {
		proc.close()
		return errors.New("the program's supervisor was killed before it could start it")
	}
	p.proc = proc
	kind, payload, err := readFrame(proc.in, 1<<20)
	switch {
	case err != nil:
		return fmt.Errorf("starting the program: %w", err)
	case kind == frameExit:
		exit := exitOf(decodeExit(payload))
		p.start = MainStart{Error: exit.Error, Code: exit.Code}
		p.exit <- exit
	default:
		go p.follow()
	}
	return nil
}

func (p *program) follow() {
	for {
		kind, payload, err := readFrame(p.proc.in, 1<<20)
		if err != nil {
			p.exit <- Exit{Code: 137, Error: "the process that watches the program was killed"}
			return
		}
		if kind == frameExit {
			p.exit <- exitOf(decodeExit(payload))
			return
		}
	}
}

// exitOf reads how a process has ended.
func exitOf(e supervisorExit) Exit {
	exit := Exit{Code: e.Code, Error: e.Error, TooLong: e.TooLong}
	switch status := syscall.WaitStatus(e.Status); {
	case e.Code != 0:
	case status.Signaled():
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
	default:
		exit.Code = status.ExitStatus()
	}
	return exit
}

// mainExit gives the end of the program, once that is known.
func (s *Server) mainExit() <-chan Exit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main == nil {
		return nil
	}
	return s.main.exit
}

// killMain ends the program with all that it has started.
func (s *Server) killMain() {
	if s.main != nil && s.main.proc != nil {
		_ = s.main.proc.signal(syscall.SIGKILL) // it has ended already
	}
}

// stopped tells whether somebody wants the container to end.
func (s *Server) stopped() bool {
	_, err := os.Lstat(filepath.Join(filepath.Dir(s.opts.Socket), StopName))
	return err == nil
}

// Stop makes the agent of a folder end its container. It returns when it is asked, not when that has happened: then
// nobody listens at the socket any more.
func Stop(base, rel string) error {
	root, err := os.OpenRoot(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stopping a container through its folder: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(filepath.Join(rel, SharedDir, StopName), os.O_CREATE|os.O_WRONLY, 0o444)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stopping a container through its folder: %w", err)
	}
	return f.Close()
}

// Stopping tells whether Stop has been called for a folder.
func Stopping(base, rel string) bool {
	f, err := safefs.OpenPath(base, filepath.Join(rel, SharedDir, StopName))
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Alive tells whether an agent listens in a folder.
func Alive(ctx context.Context, base, rel string) bool {
	conn, err := SocketDialer(base, rel)(ctx)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// LastWords leaves a message for those who look at the container when it has ended.
func LastWords(message string) {
	f, err := os.OpenFile(terminationLog, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return // nobody asks for it here
	}
	_, _ = f.WriteString("gantry: " + message) // as above
	f.Close()
}

// WithoutLabels is an environment without LabelsVariable.
func WithoutLabels(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, LabelsVariable+"=") })
}
