package worksync_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// serve is the agent's process, with its certificates in dir. It writes its address to a file there.
func serve(dir string) error {
	l, err := agent.ServeConfig{Listen: "127.0.0.1:0", TLS: dir}.Listener()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "address"), []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	_, err = agent.NewServer(agent.ServerOptions{
		Socket: filepath.Join(dir, agent.SocketName), Listener: l, Env: os.Environ(),
		Services: map[string]agent.Service{worksync.Operation: new(worksync.Server).Serve},
	}).Serve(context.Background())
	return err
}

// apart puts the pair's agent into a process of its own, and gives its pid.
func (p *pair) apart(t testing.TB) int {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{agent.ClientCAName: p.certs.CA, agent.ServerCertName: p.certs.ServerCert, agent.ServerKeyName: p.certs.ServerKey} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	program, err := os.Executable()
	must(t, err)
	cmd := exec.Command(program, "serve", dir)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := filepath.Join(dir, "address")
	waitFor(t, "the agent", func() bool { text, err := os.ReadFile(address); return err == nil && len(text) > 0 })
	p.address.Address = read(t, address)
	p.client.Dial, err = agent.TLSDialer(p.address)
	must(t, err)
	if _, err := p.client.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// peak is the largest memory of a process so far, in MiB.
func peak(t testing.TB, pid int) (mib int) {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Sscan(rest, &mib)
			must(t, err)
		}
	}
	return mib >> 10
}

// mostMemory is what the hook and the agent may take, in MiB.
const mostMemory = 64

func TestAGigabyteTakesBoundedMemoryOnBothSides(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	size := int64(1 << 30)
	if raced {
		size >>= 4 // it looks for races, not at memory
	}
	p := newPair(t)
	pid := p.apart(t)
	_, err := p.hook(t, true).Start(t.Context())
	must(t, err)
	keeper := p.keeperOf(t)
	for i, wins := range []tree.Side{tree.Host, tree.Container, tree.Host} {
		from, to := p.host, p.pod
		if wins == tree.Container {
			from, to = to, from
		}
		sum := makeLarge(t, filepath.Join(from, "large"), size, byte(i))
		hookSync(t, p.hook(t, true), wins, "")
		if got := sumOf(t, filepath.Join(to, "large")); got != sum {
			t.Errorf("%s: it is %s, it was %s", wins, got, sum)
		}
	}
	agentPeak, keeperPeak := peak(t, pid), peak(t, keeper)
	t.Logf("agent %d MiB, keeper %d MiB", agentPeak, keeperPeak)
	if !raced && (agentPeak > mostMemory || keeperPeak > mostMemory) {
		t.Errorf("agent %d MiB, keeper %d MiB", agentPeak, keeperPeak)
	}
}

func makeLarge(t testing.TB, name string, size int64, seed byte) string {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{seed}), size)
	must(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func sumOf(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// The memory for names is the other part of what both sides hold.
func TestSixtyThousandFilesTakeBoundedMemoryOnBothSides(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("makes 120,000 files, to look at memory that the race detector takes too")
	}
	p := newPair(t)
	pid := p.apart(t)
	manyFiles(t, p.host)
	_, err := p.hook(t, true).Start(t.Context())
	must(t, err)
	hookSync(t, p.hook(t, true), tree.Container, "")
	agentPeak, keeperPeak := peak(t, pid), peak(t, p.keeperOf(t))
	t.Logf("agent %d MiB, keeper %d MiB", agentPeak, keeperPeak)
	if agentPeak > mostMemory || keeperPeak > mostMemory {
		t.Errorf("agent %d MiB, keeper %d MiB", agentPeak, keeperPeak)
	}
}
