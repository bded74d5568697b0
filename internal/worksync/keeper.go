package worksync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Times of a keeper.
const (
	ownerCheck = 2 * time.Second // how often it looks whether its job still is
	// orphanWait is how long a step may be without a hook. The lean program hands its steps over to the full one, which
	// has to start before it can take them over, on a machine that may be busy.
	orphanWait = 5 * time.Second
	endWait    = 5 * time.Second // for the agent, to end a step
)

// The keeper's own names in the state folder.
const socketName = "sock"

// ask is a request to the keeper: one of the operations below.
type ask struct {
	Op   string    `json:"op"`
	Wins tree.Side `json:"wins,omitempty"` // sync
	// Step is the step that this connection is for. While it is open, there is somebody who waits for the step.
	Step string `json:"step,omitempty"`
}

// The operations.
const (
	opSync  = "sync"  // keep in step, once
	opHold  = "hold"  // the step is this connection's
	opLeave = "leave" // the step has ended
	opStop  = "stop"  // end
)

// reply answers an ask. A busy one is followed by another.
type reply struct {
	Busy   bool       `json:"busy,omitempty"`
	Report Report     `json:"report"`
	Error  *wireError `json:"error,omitempty"`
}

// writeJSON writes a message in one go.
func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// KeepOptions are what Keep works with.
type KeepOptions struct {
	Options
	// Alive says whether the job still is: the keeper ends with it.
	Alive func() bool
}

// Keep is a process that keeps a job's work folder in step for the hooks of that job, which come and go: it knows what
// lies there, hears of changes, and has a connection to the agent. It ends when it is told to, with its job, or with ctx.
// When it is killed, the next hook does what is to be done itself, more slowly.
//
// Where another process has the work folder, it ends at once with ErrBusy.
func Keep(ctx context.Context, opts KeepOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := Open(opts.Options)
	if err != nil {
		return err
	}
	l, err := listen(opts.State)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	k := &keeper{session: s, client: opts.Client, stop: stop, steps: map[string]int{}}
	go k.watch(ctx, opts.Alive)
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return errors.Join(s.Close(), l.Close())
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file descriptors, say
			continue
		}
		go k.serve(ctx, conn)
	}
}

// listen makes the keeper's socket. The path may be longer than a socket's address can be.
func listen(state string) (*net.UnixListener, error) {
	dir, err := os.Open(state)
	if err != nil {
		return nil, fmt.Errorf("making the keeper's socket: %w", err)
	}
	defer dir.Close()
	if err := os.Remove(filepath.Join(state, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("making the keeper's socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: below(dir, socketName), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the keeper's socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the next keeper's, perhaps
	return l, nil
}

// below is a short path of a name in an open folder.
func below(dir *os.File, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name
}

type keeper struct {
	session *Session
	client  *agent.Client
	stop    func()

	mu    sync.Mutex
	steps map[string]int // how many connections each step has
}

// watch does what has to be done now and then.
func (k *keeper) watch(ctx context.Context, alive func() bool) {
	owner, beat, audit := time.NewTicker(ownerCheck), time.NewTicker(agent.Heartbeat), time.NewTicker(auditEvery)
	defer owner.Stop()
	defer beat.Stop()
	defer audit.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-owner.C:
			if !alive() {
				k.stop()
			}
		case <-beat.C:
			k.session.Ping(ctx)
		case <-audit.C:
			_ = k.session.Audit(ctx) // the next Sync says what is wrong
		}
	}
}

// serve answers one connection's requests, one after the other. Its end also ends what it has asked for.
func (k *keeper) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	if !sameUser(conn) {
		return
	}
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	in := json.NewDecoder(conn)
	asks := make(chan ask)
	go func() {
		defer gone()
		defer close(asks)
		for {
			var a ask
			if in.Decode(&a) != nil {
				return
			}
			select {
			case asks <- a:
			case <-ctx.Done():
				return
			}
		}
	}()
	var step string
	defer func() { k.release(context.WithoutCancel(ctx), step) }()
	for a := range asks {
		if a.Step != "" && step == "" {
			step = a.Step
			k.hold(step)
		}
		var answer reply
		switch a.Op {
		case opSync:
			answer = k.sync(ctx, conn, a.Wins)
		case opLeave:
			k.leave(step)
			step = ""
		case opStop:
			defer k.stop()
		}
		if writeJSON(conn, answer) != nil {
			return
		}
	}
}

// sync keeps the work folder in step, and says now and then that it is still at it.
func (k *keeper) sync(ctx context.Context, conn net.Conn, wins tree.Side) reply {
	done := make(chan reply, 1)
	go func() {
		report, err := k.session.Sync(ctx, wins)
		done <- reply{Report: report, Error: wireOf(err)}
	}()
	for tick := time.NewTicker(aliveEvery); ; {
		select {
		case answer := <-done:
			tick.Stop()
			return answer
		case <-tick.C:
			_ = writeJSON(conn, reply{Busy: true}) // gone: that ends ctx
		}
	}
}

func (k *keeper) hold(step string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps[step]++
}

func (k *keeper) leave(step string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.steps, step)
}

// release ends a step whose hook has vanished, unless another one takes it over: the agent would wait for a hook that is
// only out of reach, and for longer.
func (k *keeper) release(ctx context.Context, step string) {
	k.mu.Lock()
	if k.steps[step] > 0 {
		k.steps[step]--
	}
	k.mu.Unlock()
	if step == "" {
		return
	}
	time.Sleep(orphanWait)
	k.mu.Lock()
	n, known := k.steps[step]
	if n == 0 {
		delete(k.steps, step)
	}
	k.mu.Unlock()
	if n > 0 || !known {
		return
	}
	ctx, stop := context.WithTimeout(ctx, endWait)
	defer stop()
	_ = k.client.End(ctx, step) // else the agent ends it by itself, later
}

// sameUser refuses other users, although they cannot enter the folder.
func sameUser(conn *net.UnixConn) bool {
	cred := peer(conn)
	return cred != nil && int(cred.Uid) == os.Geteuid()
}

// peer is the process at the other end, or nil.
func peer(conn *net.UnixConn) (cred *syscall.Ucred) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { // closed: nil
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil {
		return nil
	}
	return cred
}
