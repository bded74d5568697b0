package worksync_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// pair is a work folder on the host, one in a container, and an agent there.
type pair struct {
	host, pod string
	client    *agent.Client
	address   agent.Address
	certs     agent.Certificates
	state     string
	config    worksync.Config
}

// newPair starts an agent that is reached by TLS, and gives it two empty folders.
func newPair(t testing.TB) *pair {
	t.Helper()
	base := t.TempDir()
	p := &pair{host: filepath.Join(base, "host"), pod: filepath.Join(base, "pod"), state: filepath.Join(base, "state")}
	must(t, errors.Join(os.Mkdir(p.host, 0o755), os.Mkdir(p.pod, 0o755)))
	certs, err := agent.NewCertificates(time.Now())
	must(t, err)
	for name, text := range certs.Files() {
		must(t, os.WriteFile(filepath.Join(base, name), text, 0o600))
	}
	l, err := agent.ServeConfig{Listen: "127.0.0.1:0", TLS: base}.Listener()
	must(t, err)
	p.certs, p.address = certs, certs.Client(l.Addr().String())
	startAgent(t, base, l)
	dial, err := agent.TLSDialer(p.address)
	must(t, err)
	p.client = &agent.Client{Dial: dial, Token: "t", GiveUp: 2 * time.Second, Heartbeat: agent.Heartbeat}
	claim, done := context.WithTimeout(t.Context(), 15*time.Second)
	defer done()
	if _, err := p.client.Claim(claim); err != nil {
		t.Fatal(err)
	}
	return p
}

// startAgent runs an agent with the container's side until the test ends.
func startAgent(t testing.TB, dir string, l net.Listener) {
	t.Helper()
	server := &worksync.Server{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := agent.NewServer(agent.ServerOptions{
			Socket: filepath.Join(dir, agent.SocketName), Listener: l, Env: os.Environ(),
			Services: map[string]agent.Service{worksync.Operation: server.Serve},
		}).Serve(ctx)
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); _ = l.Close(); <-ended })
}

// session keeps the pair in step until the test ends, or close is called.
func (p *pair) session(t testing.TB) *worksync.Session {
	t.Helper()
	s, err := worksync.Open(worksync.Options{Work: p.host, Root: p.pod, Client: p.client, Config: p.config, State: p.state})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func sync(t testing.TB, s *worksync.Session, wins tree.Side) worksync.Report {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	report, err := s.Sync(ctx, wins)
	must(t, err)
	return report
}

// walk is what lies in a folder, found in the plainest way.
func walk(t testing.TB, dir string) map[string]tree.Entry {
	t.Helper()
	all := map[string]tree.Entry{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir || unfinished(d.Name()) {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		must(t, err)
		info, err := d.Info()
		must(t, err)
		switch {
		case d.IsDir():
			all[rel] = tree.Entry{Kind: tree.Folder, Mode: uint16(info.Mode().Perm())}
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			must(t, err)
			all[rel] = tree.Entry{Kind: tree.Link, Target: target}
		default:
			data, err := os.ReadFile(p)
			must(t, err)
			all[rel] = tree.Entry{Kind: tree.File, Mode: uint16(info.Mode().Perm()), Size: info.Size(), Hash: sha256.Sum256(data)}
		}
		return nil
	}))
	return all
}

// unfinished says that a name is none of the job's.
func unfinished(name string) bool { return strings.HasPrefix(name, tree.TempPrefix) }

// nothingUnfinished waits until no such file is left: a keeper that starts tries with one whether the kernel tells of
// changes, and removes it at once.
func nothingUnfinished(t testing.TB, dir string) {
	t.Helper()
	waitFor(t, "the end of unfinished files", func() bool {
		left := false
		must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			left = left || unfinished(d.Name())
			return err
		}))
		return !left
	})
}

// same fails unless both folders hold the same.
func (p *pair) same(t testing.TB) map[string]tree.Entry {
	t.Helper()
	nothingUnfinished(t, p.host)
	nothingUnfinished(t, p.pod)
	host, pod := walk(t, p.host), walk(t, p.pod)
	if diff := cmp.Diff(host, pod); diff != "" {
		t.Fatalf("host and container differ: %s", diff)
	}
	return host
}

// modes are the ways in which both sides find out about changes.
func modes() map[string]worksync.Config {
	return map[string]worksync.Config{"watched": {}, "listed": {NoWatch: true}}
}

func TestBothFoldersAreTheSameWhateverHappens(t *testing.T) {
	for name, config := range modes() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				p := newPair(t)
				p.config = config
				chance := rand.New(rand.NewPCG(seed, 0))
				host, pod := vandal{p.host, chance}, vandal{p.pod, chance}
				s := p.session(t)
				before := map[string]tree.Entry{}
				for round := range 12 {
					wins, winner := tree.Host, p.host
					if round%2 == 1 {
						wins, winner = tree.Container, p.pod
					}
					host.act(chance.IntN(30))
					pod.act(chance.IntN(30))
					onHost, onPod := written(before, walk(t, p.host)), written(before, walk(t, p.pod))
					wrote := onHost
					if winner == p.pod {
						wrote = onPod
					}
					sync(t, s, wins)
					if t.Run("same", func(t *testing.T) { before = p.same(t) }); t.Failed() {
						t.Fatalf("seed %d, round %d: %s won; the host wrote %v, the container %v", seed, round, wins, onHost, onPod)
					}
					for path, e := range wrote {
						if !before[path].Same(e) {
							t.Fatalf("seed %d, round %d: %s won with %+v at %s, where there is %+v", seed, round, wins, e, path, before[path])
						}
					}
					if report := sync(t, s, wins); report.Sent.Names+report.Received.Names > 0 {
						t.Fatalf("seed %d, round %d: something travels again: %+v", seed, round, report)
					}
				}
			}
		})
	}
}

// written is what somebody has made or changed.
func written(before, after map[string]tree.Entry) map[string]tree.Entry {
	wrote := map[string]tree.Entry{}
	for path, e := range after {
		if !e.Same(before[path]) {
			wrote[path] = e
		}
	}
	return wrote
}

// vandal does to a folder whatever a job may do.
type vandal struct {
	dir  string
	rand *rand.Rand
}

func (v vandal) act(times int) {
	for range times {
		v.once()
	}
}

// name is a path of which there are few, so that things get into each other's way.
func (v vandal) name() string {
	parts := make([]string, 1+v.rand.IntN(3))
	for i := range parts {
		parts[i] = string(rune('a' + v.rand.IntN(4)))
	}
	return filepath.Join(v.dir, filepath.Join(parts...))
}

// once does one thing; that it may not be possible is part of it.
func (v vandal) once() {
	p := v.name()
	switch v.rand.IntN(9) {
	case 0, 1, 2:
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		_ = os.WriteFile(p, []byte(fmt.Sprint(v.rand.IntN(5))), 0o644)
	case 3:
		if f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = io.WriteString(f, "more")
			_ = f.Close()
		}
	case 4:
		_ = os.MkdirAll(p, 0o755)
	case 5:
		_ = os.RemoveAll(p)
	case 6:
		_ = os.Rename(p, v.name())
	case 7:
		_ = os.Symlink("somewhere/else", p)
	case 8:
		if info, err := os.Lstat(p); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			_ = os.Chmod(p, []fs.FileMode{0o755, 0o700, 0o744}[v.rand.IntN(3)])
		}
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
