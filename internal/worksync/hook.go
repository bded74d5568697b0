package worksync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/wait"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Times of hooks.
const (
	keeperStart = 10 * time.Second      // what a keeper may take until it answers
	keeperPoll  = 5 * time.Millisecond  // how often it is looked for
	busyPoll    = 50 * time.Millisecond // how often somebody else's lock and its keeper are tried
	busyWait    = 10 * time.Second      // what another hook may take that keeps the folder in step itself
	stopWait    = 3 * time.Second       // what a keeper may take to end
	silence     = 5 * aliveEvery        // what a keeper may take until it says something
)

// Hook is one hook's share of keeping a work folder in step. Not for concurrent use.
type Hook struct {
	// Work is the work folder, Client reaches the agent.
	Work   string
	Spec   Spec
	Client *agent.Client
	// Env is the hook's environment, of which a keeper gets what it needs.
	Env []string

	conn *net.UnixConn // to the keeper
}

// Start starts the job's keeper, and brings the container the work folder as it is. prepare_job calls it when the agent
// has been claimed. It works without a keeper if none can be started.
func (h *Hook) Start(ctx context.Context) (Report, error) {
	if err := os.MkdirAll(h.Spec.State, 0o700); err != nil {
		return Report{}, fmt.Errorf("making the folder for the state of the work folder: %w", err)
	}
	h.awaitKeeper(ctx)
	return h.Sync(ctx, tree.Host, "")
}

// awaitKeeper starts a keeper, and waits until it answers or has ended.
func (h *Hook) awaitKeeper(ctx context.Context) {
	p, err := h.startKeeper()
	if err != nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.Wait() // whatever it was, it is over
	}()
	timeout := time.After(keeperStart)
	for h.dial() != nil {
		select {
		case <-ctx.Done():
			return
		case <-timeout:
			return
		case <-ended:
			return
		case <-time.After(keeperPoll):
		}
	}
}

// Sync keeps the work folder in step, once: by the keeper, or else by itself. A step, if it is named, is the hook's from
// then on: when the hook vanishes, the keeper ends the step. See Hold and Leave.
func (h *Hook) Sync(ctx context.Context, wins tree.Side, step string) (Report, error) {
	for deadline := time.Now().Add(busyWait); ; {
		answer, err := h.ask(ctx, ask{Op: opSync, Wins: wins, Step: step})
		if err == nil {
			return answer.Report, answer.Error.error()
		}
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		s, err := h.open()
		if err == nil {
			return h.syncAlone(ctx, s, wins)
		}
		if !errors.Is(err, ErrBusy) {
			return Report{}, err
		}
		// A keeper that has the work folder answers as soon as it has read what is known. Another hook only needs its time.
		if time.Now().After(deadline) {
			h.evict()
			deadline = time.Now().Add(busyWait)
		}
		wait.For(ctx, busyPoll)
	}
}

// Hold tells the keeper that this hook has taken over a step. Without a keeper there is nobody to tell.
func (h *Hook) Hold(ctx context.Context, step string) { _, _ = h.ask(ctx, ask{Op: opHold, Step: step}) }

// Leave tells the keeper that the hook's step has ended, and hangs up.
func (h *Hook) Leave(ctx context.Context) {
	if h.conn != nil {
		_, _ = h.ask(ctx, ask{Op: opLeave}) // gone: the same
		h.hangUp()
	}
}

// Stop ends the keeper of a job and forgets what it knew. cleanup_job calls it; it may be called twice, and for a job
// that has no keeper.
func (h *Hook) Stop(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, stopWait)
	defer done()
	_, err := h.ask(ctx, ask{Op: opStop})
	h.hangUp()
	for err == nil && ctx.Err() == nil && h.taken() {
		time.Sleep(keeperPoll)
	}
	h.evict()
	if err := os.RemoveAll(h.Spec.State); err != nil {
		return fmt.Errorf("forgetting the state of the work folder: %w", err)
	}
	return nil
}

// taken says whether a process has the work folder.
func (h *Hook) taken() bool {
	if _, err := os.Stat(h.Spec.State); err != nil {
		return false
	}
	j, err := openJournal(h.Spec.State)
	if err == nil {
		_ = j.close() // was only tried
	}
	return errors.Is(err, ErrBusy)
}

// ask asks the keeper. An error is that there is none, or none that answers.
func (h *Hook) ask(ctx context.Context, a ask) (reply, error) {
	if h.conn == nil {
		if err := h.dial(); err != nil {
			return reply{}, err
		}
	}
	defer context.AfterFunc(ctx, func() { h.conn.Close() })()
	var answer reply
	err := writeJSON(h.conn, a)
	decoder := json.NewDecoder(h.conn)
	for busy := true; busy && err == nil; busy = answer.Busy {
		answer = reply{}
		err = errors.Join(h.conn.SetReadDeadline(time.Now().Add(silence)), decoder.Decode(&answer))
	}
	if err == nil {
		err = h.conn.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.evict()
	}
	if err != nil {
		h.hangUp()
	}
	return answer, err
}

func (h *Hook) dial() error {
	dir, err := os.Open(h.Spec.State)
	if err != nil {
		return err
	}
	defer dir.Close()
	h.conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: below(dir, socketName), Net: "unix"})
	return err
}

func (h *Hook) hangUp() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}

// syncAlone does it without a keeper: it lists all files. The next hook shall find a keeper again.
func (h *Hook) syncAlone(ctx context.Context, s *Session, wins tree.Side) (Report, error) {
	report, err := s.Sync(ctx, wins)
	if closed := s.Close(); err == nil {
		err = closed
	}
	if p, err := h.startKeeper(); err == nil {
		_ = p.Release() // it outlives this process
	}
	return report, err
}

// open takes the work folder.
func (h *Hook) open() (*Session, error) {
	return Open(Options{Work: h.Work, Root: h.Spec.Root, Client: h.Client, Config: h.Spec.Config, State: h.Spec.State, Brief: true})
}

// evict kills a keeper that does not answer. Others who have the work folder are hooks, and only need their time.
func (h *Hook) evict() {
	other := Hook{Spec: h.Spec}
	if other.dial() != nil {
		return
	}
	defer other.hangUp()
	if cred := peer(other.conn); cred != nil && cred.Pid > 1 && int(cred.Uid) == os.Geteuid() {
		_ = syscall.Kill(int(cred.Pid), syscall.SIGKILL) // gone meanwhile: the same
	}
}

// startKeeper starts a keeper that outlives this process, and holds nothing of it open.
func (h *Hook) startKeeper() (*os.Process, error) {
	if len(h.Spec.Keeper) == 0 {
		return nil, errors.New("no keeper is configured")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("starting the keeper of the work folder: %w", err)
	}
	defer null.Close()
	log, err := os.OpenFile(filepath.Join(h.Spec.State, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err // the job has been cleaned up
	}
	if err != nil {
		log = null
	}
	defer log.Close()
	p, err := os.StartProcess(h.Spec.Keeper[0], h.Spec.Keeper, &os.ProcAttr{
		Dir: "/", Env: keeperEnv(h.Env), Files: []*os.File{null, null, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the keeper of the work folder: %w", err)
	}
	return p, nil
}

// keeperEnv leaves out what is the step's, and what has the runner end the keeper with the step (RUNNER_TRACKING_ID).
func keeperEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "HOME", name == "XDG_STATE_HOME", strings.HasPrefix(name, "GANTRY_"), strings.HasPrefix(name, "KUBE"), strings.HasPrefix(name, "ACTIONS_RUNNER_"):
			kept = append(kept, kv)
		}
	}
	return append(kept, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
