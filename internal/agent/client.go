package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/printable"
	"github.com/gantry-ci/gantry/internal/wait"
)

// Times of the client.
const (
	retryFirst = 5 * time.Millisecond
	retryMax   = 100 * time.Millisecond
	// ackEvery is how much output is acknowledged at once.
	ackEvery = bufferMax / 4
)

// Sentinels for decisions.
var (
	// ErrRefused: the agent answered, and does not accept us (wrong token or version).
	ErrRefused = errors.New("the agent refused the connection")
	// ErrForgotten: the agent answered, and does not know the step any more (it was restarted, say).
	ErrForgotten = errors.New("the agent does not know the step")
)

// LostError says that the agent could not be reached for as long as the client tries. The step may have been
// started; Resume it with the same ID and Offset once it is known that the container lives.
type LostError struct {
	ID     string
	Offset int64 // bytes of output that have been delivered
	// Signals have been sent, and may have been lost with the connection.
	Signals []syscall.Signal
	Err     error // of the last try
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the connection to the agent is lost: %v", e.Err)
}

// Unwrap gives the last try's error.
func (e *LostError) Unwrap() error { return e.Err }

// Dialer opens a connection to an agent.
type Dialer func(ctx context.Context) (net.Conn, error)

// Client asks an agent to run steps. Its methods may be called concurrently.
type Client struct {
	Dial  Dialer
	Token string
	// Env is what Claim gives the container as its environment, beside what it has: where that must not stand in what
	// others can read. The first claim's counts.
	Env map[string]string
	// GiveUp is how long the client goes on trying to reach an agent that does not answer.
	GiveUp time.Duration
	// Heartbeat is for links that may fall silent: how often the client asks whether the agent is there; 0: never.
	Heartbeat time.Duration
}

// Claim makes the agent ours: the first claim sets the token. It tries until ctx ends, as the agent may just be
// starting.
func (c *Client) Claim(ctx context.Context) (Hello, error) {
	for delay := retryFirst; ; {
		h, err := c.hello(ctx, opClaim)
		if err == nil || errors.Is(err, ErrRefused) {
			return h, err
		}
		if !wait.For(ctx, delay) {
			return h, err
		}
	}
}

// Hello asks the agent who it is, once.
func (c *Client) Hello(ctx context.Context) (Hello, error) { return c.hello(ctx, opHello) }

// Files asks the agent what lies at some paths of its container, once. It follows links.
func (c *Client) Files(ctx context.Context, paths []string) ([]FileID, error) {
	var ids []FileID
	if err := c.ask(ctx, request{Op: opFiles, Paths: paths}, &ids); err != nil {
		return nil, err
	}
	if len(ids) != len(paths) {
		return nil, fmt.Errorf("the agent told of %d files, %d were asked for", len(ids), len(paths))
	}
	return ids, nil
}

// End tells the agent that nobody will come back for a step: its processes are ended now, not after OrphanGrace. A
// step that the agent does not know is no error.
func (c *Client) End(ctx context.Context, id string) error {
	var h Hello
	return c.ask(ctx, request{Op: opEnd, ID: id}, &h)
}

func (c *Client) hello(ctx context.Context, op string) (Hello, error) {
	var h Hello
	req := request{Op: op}
	if op == opClaim {
		req.Env = c.Env
	}
	err := c.ask(ctx, req, &h)
	return h, err
}

// ask makes a request that has one answer.
func (c *Client) ask(ctx context.Context, req request, answer any) error {
	conn, in, err := c.open(ctx, req)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	kind, payload, err := readFrame(in, 1<<20)
	if err != nil {
		return fmt.Errorf("waiting for the agent's answer: %w", err)
	}
	if kind == frameError {
		return refused(payload)
	}
	if err := json.Unmarshal(payload, answer); err != nil {
		return fmt.Errorf("decoding the agent's answer: %w", err)
	}
	return nil
}

func (c *Client) open(ctx context.Context, req request) (net.Conn, *bufio.Reader, error) {
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	failpoint.Hit("client-dialled")
	req.Protocol, req.Token, req.Heartbeat = protocol, c.Token, c.Heartbeat
	if err := writeJSON(conn, frameRequest, req); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("asking the agent: %w", err)
	}
	return conn, bufio.NewReaderSize(&pulse{Conn: conn, limit: missed * c.Heartbeat}, 8<<10), nil
}

// Run runs a step and writes its output to out as it comes. Signals that arrive on signals are sent to the
// step's whole process tree. When ctx ends, Run returns at once; the agent then ends the step after OrphanGrace.
//
// A connection that breaks is made again and the output goes on where it stopped. An error is one of ours:
// a *LostError, ErrRefused, ErrForgotten, an error of out, or ctx's. The step's own failure is in Exit.
func (c *Client) Run(ctx context.Context, step *Step, out io.Writer, signals <-chan os.Signal) (Exit, error) {
	s := &session{client: c, step: step, out: out}
	return s.run(ctx, signals)
}

// Resume goes on with a step that Run has started, from a byte offset of its output.
func (c *Client) Resume(ctx context.Context, step *Step, offset int64, out io.Writer, signals <-chan os.Signal) (Exit, error) {
	s := &session{client: c, step: step, out: out, offset: offset, started: true}
	return s.run(ctx, signals)
}

// session is one step as the client sees it.
type session struct {
	client  *Client
	step    *Step
	out     io.Writer
	offset  int64 // bytes written to out
	acked   int64
	started bool // the agent has answered: attach from now on
	alive   bool // it has on this connection
	exit    *Exit
	outErr  error
	sent    []syscall.Signal // signals to repeat on a new connection
}

func (s *session) run(ctx context.Context, signals <-chan os.Signal) (Exit, error) {
	var since time.Time // when the agent was last there
	for delay := retryFirst; ; delay = min(2*delay, retryMax) {
		s.alive = false
		err := s.connect(ctx, signals)
		switch {
		case s.exit != nil:
			return *s.exit, nil
		case ctx.Err() != nil:
			return Exit{}, context.Cause(ctx)
		case s.outErr != nil:
			return Exit{}, fmt.Errorf("writing the step's output: %w", s.outErr)
		case errors.Is(err, ErrRefused), errors.Is(err, ErrForgotten):
			return Exit{}, err
		}
		if since.IsZero() || s.alive {
			since, delay = time.Now(), retryFirst
		}
		if time.Since(since) > s.client.GiveUp {
			return Exit{}, &LostError{ID: s.step.ID, Offset: s.offset, Signals: s.sent, Err: err}
		}
		if !wait.For(ctx, delay) {
			return Exit{}, context.Cause(ctx)
		}
	}
}

// connect is one connection's life. It always returns an error, unless the exit record has come.
func (s *session) connect(ctx context.Context, signals <-chan os.Signal) error {
	req := request{Op: opStart, Step: s.step}
	if s.started {
		req = request{Op: opAttach, ID: s.step.ID, Offset: s.offset}
	}
	conn, in, err := s.client.open(ctx, req)
	if err != nil {
		return err
	}
	failpoint.Hit("client-asked")
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.forward(conn, signals, stop)
	}()
	err = s.receive(conn, in)
	close(stop)
	<-stopped
	return err
}

// forward sends signals on; those of an earlier connection again, as they may have been lost with it. In between it
// sends pings.
func (s *session) forward(conn net.Conn, signals <-chan os.Signal, stop <-chan struct{}) {
	for _, sig := range s.sent {
		writeJSON(conn, frameSignal, cancelRequest{Signal: int(sig)}) // lost: the next connection repeats it
	}
	var beat <-chan time.Time
	if s.client.Heartbeat > 0 {
		t := time.NewTicker(s.client.Heartbeat)
		defer t.Stop()
		beat = t.C
	}
	for {
		select {
		case <-stop:
			return
		case <-beat:
			writeFrame(conn, framePing, nil) // lost: nothing comes, and the connection is given up
		case sig := <-signals:
			n, ok := sig.(syscall.Signal)
			if !ok {
				continue
			}
			s.sent = append(s.sent, n)
			writeJSON(conn, frameSignal, cancelRequest{Signal: int(n)}) // as above
		}
	}
}

func (s *session) receive(conn net.Conn, in *bufio.Reader) error {
	buf := make([]byte, outputChunk)
	for {
		kind, n, err := readHeader(in)
		if err != nil {
			return fmt.Errorf("reading from the agent: %w", err)
		}
		s.alive = s.alive || kind != frameError
		s.started = s.started || s.alive
		switch {
		case kind == framePong && n == 0:
		case kind == frameOutput && n <= outputChunk:
			err = s.deliver(conn, in, buf[:n])
		case kind == frameExit && n <= outputChunk:
			return s.finish(conn, in, buf[:n])
		case kind == frameError && n <= outputChunk:
			if _, err := io.ReadFull(in, buf[:n]); err != nil {
				return fmt.Errorf("reading from the agent: %w", err)
			}
			return refused(buf[:n])
		default:
			err = fmt.Errorf("the agent sent a frame %q of %d bytes", kind, n)
		}
		if err != nil {
			return err
		}
	}
}

// deliver writes output as it arrives, so that a torn frame counts for what came of it, and acknowledges it now
// and then.
func (s *session) deliver(conn net.Conn, in *bufio.Reader, p []byte) error {
	for len(p) > 0 {
		n, err := in.Read(p)
		if err != nil {
			return fmt.Errorf("reading output from the agent: %w", err)
		}
		n, err = s.out.Write(p[:n])
		s.offset += int64(n)
		p = p[n:]
		if err != nil {
			s.outErr = err
			return err
		}
		failpoint.Hit("client-output")
	}
	if s.offset-s.acked < ackEvery {
		return nil
	}
	failpoint.Hit("client-acknowledging")
	s.acked = s.offset
	return writeFrame(conn, frameAck, binary.BigEndian.AppendUint64(nil, uint64(s.offset)))
}

func (s *session) finish(conn net.Conn, in *bufio.Reader, p []byte) error {
	if _, err := io.ReadFull(in, p); err != nil {
		return fmt.Errorf("reading the exit record: %w", err)
	}
	var exit Exit
	if err := json.Unmarshal(p, &exit); err != nil {
		return fmt.Errorf("decoding the exit record: %w", err)
	}
	if exit.Output != s.offset {
		return fmt.Errorf("the exit record tells of %d bytes of output, %d have arrived", exit.Output, s.offset)
	}
	s.exit = &exit
	failpoint.Hit("client-exit-read")
	writeFrame(conn, frameBye, nil) // lost: the agent forgets the step by itself
	failpoint.Hit("client-done")
	return nil
}

func refused(payload []byte) error {
	var r refusal
	if err := json.Unmarshal(payload, &r); err != nil {
		return fmt.Errorf("decoding the agent's refusal: %w", err)
	}
	if r.Kind == refusedUnknown || r.Kind == refusedOffset {
		return fmt.Errorf("%w: %s", ErrForgotten, printable.Text(r.Message))
	}
	return fmt.Errorf("%w: %s", ErrRefused, printable.Text(r.Message))
}
