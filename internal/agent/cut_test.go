package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

// shears decide after how many bytes a link is cut, always the same for a seed.
type shears struct {
	mu   sync.Mutex
	rand *rand.Rand
	cuts atomic.Int64
}

func newShears(seed uint64) *shears { return &shears{rand: rand.New(rand.NewPCG(seed, 0))} }

// next is the next link's number of bytes, in both directions together: half of them are too few for a handshake.
func (s *shears) next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rand.IntN(2) == 0 {
		return s.rand.Int64N(4 << 10)
	}
	return s.rand.Int64N(40 << 10)
}

// link carries bytes both ways until its number of them is used up. What has come until then may have arrived.
func (s *shears) link(a, b io.ReadWriteCloser) {
	var left atomic.Int64
	left.Store(s.next())
	var once sync.Once
	end := func(cut bool) {
		once.Do(func() {
			if cut {
				s.cuts.Add(1)
			}
			a.Close()
			b.Close()
		})
	}
	carry := func(dst io.Writer, src io.Reader) {
		buf := make([]byte, 8<<10)
		for {
			n, err := src.Read(buf)
			room := left.Add(-int64(n)) + int64(n)
			if room < int64(n) {
				dst.Write(buf[:max(room, 0)])
				end(true)
				return
			}
			if _, werr := dst.Write(buf[:n]); errors.Join(err, werr) != nil {
				end(false)
				return
			}
		}
	}
	go carry(a, b)
	carry(b, a)
}

// proxy stands between client and agent as a load balancer or an API server does.
func (s *shears) proxy(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				agent, err := net.Dial("tcp", address)
				if err != nil {
					conn.Close()
					return
				}
				conn.(*net.TCPConn).SetLinger(0) // a reset, not a polite end
				s.link(conn, agent)
			}()
		}
	}()
	return l.Addr().String()
}

// through puts the shears into every connection of a dialer.
func (s *shears) through(dial agent.Dialer) agent.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		far, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		near, middle := net.Pipe()
		go s.link(middle, far)
		return near, nil
	}
}

// cutReaches are the reaches with shears in them.
func cutReaches() map[string]func(t *testing.T, s *shears) *agent.Client {
	return map[string]func(t *testing.T, s *shears) *agent.Client{
		"tls": func(t *testing.T, s *shears) *agent.Client {
			c, address := startTLS(t)
			address.Address = s.proxy(t, address.Address)
			c.Dial = tlsDialer(t, address)
			return c
		},
		"pipe": func(t *testing.T, s *shears) *agent.Client {
			c, base := start(t, agent.ServerOptions{})
			c.Dial = s.through(pipeDialer(base))
			return c
		},
	}
}

// Whatever the link does, a step's output is whole, its status is its own, and it has run once.
func TestStepsSurviveCutsAtRandomBytes(t *testing.T) {
	const wanted = 200
	for name, reach := range cutReaches() {
		t.Run(name, func(t *testing.T) {
			cuts := int64(0)
			for seed := uint64(1); cuts < wanted; seed++ {
				s := newShears(seed)
				c := reach(t, s)
				c.GiveUp, c.Heartbeat = limit, agent.Heartbeat
				runCut(t, c, seed)
				cuts += s.cuts.Load()
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
				t.Logf("seed %d: %d cuts", seed, s.cuts.Load())
			}
			t.Logf("%d cuts", cuts)
		})
	}
}

func runCut(t *testing.T, c *agent.Client, seed uint64) {
	t.Helper()
	ran := t.TempDir() + "/ran"
	step := sh(fmt.Sprintf(`echo x >> %s; i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo "line $i of %d: abcdefghijklmnopqrstuvwxyz"; done; exit 7`, ran, seed))
	step.OrphanGrace = limit
	var want strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&want, "line %d of %d: abcdefghijklmnopqrstuvwxyz\n", i+1, seed)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var out bytes.Buffer
	exit, err := c.Run(ctx, step, &out, nil)
	switch {
	case err != nil:
		t.Error(err)
	case exit.Code != 7:
		t.Errorf("%+v", exit)
	case out.String() != want.String():
		t.Errorf("%d bytes of output with hash %x, want %d", out.Len(), sha256.Sum256(out.Bytes()), want.Len())
	}
	if text, err := os.ReadFile(ran); string(text) != "x\n" {
		t.Errorf("it was started like this: %q, %v", text, err)
	}
}
