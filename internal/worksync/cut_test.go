package worksync_test

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// shears stand between host and agent, and cut each connection after a number of bytes, always the same for a seed.
type shears struct {
	mu       stdsync.Mutex
	rand     *rand.Rand
	most     int64 // bytes of a connection
	cuts     atomic.Int64
	carried  atomic.Int64
	disarmed atomic.Bool
	mute     atomic.Bool // nothing that comes is carried
}

// cut puts shears before the pair's agent.
func (p *pair) cut(t testing.TB, seed uint64, most int64) *shears {
	t.Helper()
	s := &shears{rand: rand.New(rand.NewPCG(seed, 0)), most: most}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	far := p.address.Address
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.carry(conn.(*net.TCPConn), far)
		}
	}()
	p.address.Address = l.Addr().String()
	dial, err := agent.TLSDialer(p.address)
	must(t, err)
	p.client = &agent.Client{Dial: dial, Token: "t", GiveUp: 20 * time.Second, Heartbeat: agent.Heartbeat}
	return s
}

func (s *shears) carry(near *net.TCPConn, address string) {
	defer near.Close()
	far, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer far.Close()
	s.mu.Lock()
	var left atomic.Int64
	left.Store(s.rand.Int64N(s.most))
	s.mu.Unlock()
	ended := make(chan struct{}, 2)
	pass := func(dst io.Writer, src io.Reader) {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, 16<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				return
			}
			if s.mute.Load() {
				continue
			}
			s.carried.Add(int64(n))
			if !s.disarmed.Load() {
				if room := left.Add(-int64(n)) + int64(n); room < int64(n) {
					_, _ = dst.Write(buf[:max(room, 0)])
					s.cuts.Add(1)
					return
				}
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go pass(far, near)
	go pass(near, far)
	<-ended
	_ = near.SetLinger(0) // a reset
}

func TestBothFoldersAreTheSameWhateverTheLinkDoes(t *testing.T) {
	cuts := int64(0)
	for seed := uint64(1); cuts < 200; seed++ {
		p := newPair(t)
		s := p.cut(t, seed, 40<<10)
		chance := rand.New(rand.NewPCG(seed, 0))
		host, pod := vandal{p.host, chance}, vandal{p.pod, chance}
		session := p.session(t)
		for range 6 {
			for _, dir := range []string{p.host, p.pod} { // what cannot be compressed, so that there is something to be cut
				random := make([]byte, 8<<10)
				fill(chance, random)
				write(t, filepath.Join(dir, "random", string(rune('a'+chance.IntN(9)))), string(random))
			}
			host.act(20)
			sync(t, session, tree.Host)
			p.same(t)
			pod.act(20)
			sync(t, session, tree.Container)
			p.same(t)
		}
		cuts += s.cuts.Load()
		t.Logf("seed %d: %d cuts", seed, s.cuts.Load())
	}
	t.Logf("%d cuts", cuts)
}

func fill(chance *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(chance.Uint32())
	}
}

// A file that is larger than what a link ever carries gets there all the same: each link goes on where the last one was.
func TestALargeFileGoesOnWhereTheLinkWasCut(t *testing.T) {
	const size = 48 << 20
	for name, wins := range map[string]tree.Side{"to the container": tree.Host, "to the host": tree.Container} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			s := p.cut(t, 7, 8<<20)
			from, to := p.host, p.pod
			if wins == tree.Container {
				from, to = to, from
			}
			random := make([]byte, size)
			_, err := io.ReadFull(rand.NewChaCha8([32]byte{1}), random)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(from, "large"), random, 0o755))
			report := sync(t, p.session(t), wins)
			if got := sha256.Sum256([]byte(read(t, filepath.Join(to, "large")))); got != sha256.Sum256(random) {
				t.Error("it is not what was sent")
			}
			if sent := s.carried.Load(); s.cuts.Load() < 4 || sent > 2*size {
				t.Errorf("%d bytes have travelled, over %d cuts: %+v", sent, s.cuts.Load(), report)
			}
			p.same(t)
		})
	}
}

// A link that brings nothing any more is not waited for by whoever wants to sync.
func TestAPingOverASilentLinkIsShort(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	p := newPair(t)
	s := p.cut(t, 1, 1<<40)
	session := p.session(t)
	sync(t, session, tree.Host)
	s.mute.Store(true)
	began := time.Now()
	session.Ping(t.Context())
	if took := time.Since(began); took > agent.Heartbeat+2*time.Second {
		t.Errorf("it took %v", took)
	}
	s.mute.Store(false)
	write(t, filepath.Join(p.host, "a"), "x")
	sync(t, session, tree.Host)
	p.same(t)
}
