package scriptstep_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// gate is the way to an agent, which can be shut.
type gate struct {
	dial agent.Dialer
	// outage is how long the way is shut after each piece of so many bytes; 0: never.
	outage time.Duration
	piece  int64

	shuts   atomic.Int64
	mu      sync.Mutex
	shut    bool
	left    int // dials that are let through; below 0: all
	conns   []net.Conn
	carried int64
}

var errShut = errors.New("the way is shut")

func (g *gate) Dial(ctx context.Context) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || g.left == 0 {
		return nil, errShut
	}
	g.left--
	conn, err := g.dial(ctx)
	if err == nil {
		conn = &gated{conn, g}
		g.conns = append(g.conns, conn)
	}
	return conn, err
}

// close shuts the way; open opens it again.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for _, conn := range g.conns {
		_ = conn.Close()
	}
	g.conns = nil
	g.shuts.Add(1)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.left = false, -1
}

type gated struct {
	net.Conn
	*gate
}

func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.count(n)
	return n, err
}

func (c *gated) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.count(n)
	return n, err
}

func (g *gate) count(n int) {
	g.mu.Lock()
	g.carried += int64(n)
	over := g.outage > 0 && g.carried > g.piece
	if over {
		g.carried = 0
	}
	g.mu.Unlock()
	if over {
		g.close()
		time.AfterFunc(g.outage, g.open)
	}
}

// job is one whose container has a copy of the work folder.
type job struct {
	work, pod string
	gate      *gate
	record    *jobrecord.Record
	client    *agent.Client
}

func newJob(t *testing.T) *job {
	t.Helper()
	base := t.TempDir()
	j := &job{work: filepath.Join(base, "work"), pod: filepath.Join(base, "pod")}
	must(t, errors.Join(os.MkdirAll(j.work, 0o755), os.Mkdir(j.pod, 0o755), os.Mkdir(filepath.Join(base, "agent"), 0o755)))
	socket := filepath.Join(base, "agent", agent.SocketName)
	server := &worksync.Server{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = agent.NewServer(agent.ServerOptions{
			Socket: socket, Env: os.Environ(), Services: map[string]agent.Service{worksync.Operation: server.Serve},
		}).Serve(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	j.gate = &gate{left: -1, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	j.client = &agent.Client{Dial: j.gate.Dial, Token: "t", GiveUp: 200 * time.Millisecond}
	claim, done := context.WithTimeout(t.Context(), 15*time.Second)
	defer done()
	if _, err := j.client.Claim(claim); err != nil {
		t.Fatal(err)
	}
	j.record = &jobrecord.Record{
		Work: j.work, CancelGrace: time.Second,
		Container: &jobrecord.Container{Token: "t", Dir: j.pod, Agent: &agent.Address{Network: agent.NetworkPipe}},
		Sync:      &worksync.Spec{Root: j.pod, Config: worksync.Defaults(), State: filepath.Join(base, "state")},
	}
	return j
}

func (j *job) copied(t *testing.T, grace time.Duration, ended func(context.Context) error) *scriptstep.Copy {
	t.Helper()
	c := scriptstep.NewCopy(j.record, j.client, nil, io.Discard)
	c.Ended = ended
	c.SetGrace(grace)
	return c
}

func (j *job) runner(out io.Writer) *scriptstep.Runner {
	return &scriptstep.Runner{Record: j.record, Out: out, Dial: j.gate.Dial, Say: io.Discard, AgentStays: true}
}

// step runs a script that waits for nothing.
func (j *job) step(script string) *agent.Step {
	return &agent.Step{
		ID: scriptstep.NewStepID(), Argv: []string{"sh", "-c", script}, Env: map[string]string{"WORK": j.pod}, Dir: j.pod,
		OrphanGrace: time.Minute, CancelGrace: time.Second,
	}
}

// fill makes files that cannot be compressed.
func fill(t *testing.T, dir string, files int) {
	t.Helper()
	source := rand.NewChaCha8([32]byte{1})
	must(t, os.MkdirAll(dir, 0o755))
	for i := range files {
		text := make([]byte, 5<<18)
		_, _ = source.Read(text) // never fails
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), text, 0o644))
	}
}

func count(t *testing.T, dir string) int {
	t.Helper()
	names, err := os.ReadDir(dir)
	must(t, err)
	return len(names)
}

func running(context.Context) error { return nil }

// Outages that together take much longer than what is waited for without anything moving cost only their time.
func TestOutagesAreOutlastedWhileSomethingMoves(t *testing.T) {
	const files = 20
	const grace = 2500 * time.Millisecond
	for name, run := range map[string]func(t *testing.T, j *job, c *scriptstep.Copy) (got string, err error){
		"start": func(t *testing.T, j *job, c *scriptstep.Copy) (string, error) {
			fill(t, filepath.Join(j.work, "r"), files)
			j.chop()
			return filepath.Join(j.pod, "r"), c.Start(t.Context())
		},
		"before": func(t *testing.T, j *job, c *scriptstep.Copy) (string, error) {
			must(t, c.Start(t.Context()))
			fill(t, filepath.Join(j.work, "r"), files)
			j.chop()
			return filepath.Join(j.pod, "r"), c.Before(t.Context(), "step", nil)
		},
		"after": func(t *testing.T, j *job, c *scriptstep.Copy) (string, error) {
			must(t, c.Start(t.Context()))
			fill(t, filepath.Join(j.pod, "r"), files)
			j.chop()
			return filepath.Join(j.work, "r"), c.After(t.Context(), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			began := time.Now()
			got, err := run(t, j, j.copied(t, grace, running))
			must(t, err)
			if n := count(t, got); n != files {
				t.Errorf("%d files have arrived", n)
			}
			if shuts, took := j.gate.shuts.Load(), time.Since(began); shuts < 4 || took < grace {
				t.Errorf("%d outages, %v: they have tried nothing", shuts, took)
			}
		})
	}
}

// chop shuts the way now and then, each time for longer than the client tries.
func (j *job) chop() {
	j.gate.mu.Lock()
	defer j.gate.mu.Unlock()
	j.gate.piece, j.gate.outage, j.gate.carried = 3<<20, 600*time.Millisecond, 0
}

func TestWhereNothingMovesItIsGivenUp(t *testing.T) {
	j := newJob(t)
	c := j.copied(t, time.Second, running)
	must(t, c.Start(t.Context()))
	j.gate.close()
	err := c.After(t.Context(), nil)
	var v *verdict.Error
	if !errors.Is(err, worksync.ErrLost) || !errors.As(err, &v) || v.Whose != verdict.Infrastructure || v.Hint == "" {
		t.Errorf("%v", err)
	}
}

// Whoever can find out why the container is gone is asked at once, whatever was under way.
func TestAContainerThatIsGoneIsNotWaitedFor(t *testing.T) {
	evicted := errors.New("the pod was evicted")
	for name, run := range map[string]func(ctx context.Context, c *scriptstep.Copy) error{
		"start":  func(ctx context.Context, c *scriptstep.Copy) error { return c.Start(ctx) },
		"before": func(ctx context.Context, c *scriptstep.Copy) error { return c.Before(ctx, "step", nil) },
		"after":  func(ctx context.Context, c *scriptstep.Copy) error { return c.After(ctx, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t)
			j.gate.close()
			began := time.Now()
			err := run(t.Context(), j.copied(t, time.Hour, func(context.Context) error { return evicted }))
			if took := time.Since(began); !errors.Is(err, evicted) || took > 10*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}

// The lean program cannot ask the engine: the full one goes on where the step has ended, and brings what it wrote.
func TestAStepThatHasEndedIsHandedOver(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	var out strings.Builder
	lean := j.runner(&out)
	step := j.step(`echo once >> $WORK/ran; echo out; exit 3`)
	j.gate.left = 2 // for the copy, and for the step
	_, err := lean.Run(t.Context(), step, false, 0)
	var lost *agent.LostError
	if !errors.As(err, &lost) || lean.Exit == nil || lean.Exit.Code != 3 {
		t.Fatalf("%v, %+v", err, lean.Exit)
	}
	time.AfterFunc(3*time.Second, j.gate.open) // longer than RemoteGiveUp
	must(t, os.WriteFile(filepath.Join(j.work, "later"), nil, 0o644))
	full := j.runner(&out)
	full.Progress, full.Ended = lean.Progress, running
	exit, err := full.Run(t.Context(), step, false, lost.Offset)
	if text, _ := os.ReadFile(filepath.Join(j.work, "ran")); err != nil || exit.Code != 3 || out.String() != "out\n" || string(text) != "once\n" {
		t.Errorf("%v, %+v, %q, %q", err, exit, out.String(), text)
	}
}

func TestTheTimeOfAStepCountsFromItsBeginning(t *testing.T) {
	t.Parallel()
	j := newJob(t)
	j.record.StepTimeout = time.Minute
	r := j.runner(io.Discard)
	began := time.Now().Add(-time.Hour)
	r.Began = began // another process has begun it
	now := time.Now()
	_, err := r.Run(t.Context(), j.step(`sleep 20 & wait`), false, 0)
	var v *verdict.Error
	if !errors.As(err, &v) || v.Whose != verdict.Configuration || time.Since(now) > 15*time.Second || !r.Began.Equal(began) {
		t.Errorf("after %v: %v", time.Since(now), err)
	}
	next := j.runner(io.Discard)
	if _, err := next.Run(t.Context(), j.step(`true`), false, 0); err != nil || next.Began.IsZero() {
		t.Errorf("%v; it began at %v", err, next.Began)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
