package agent_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

// BenchmarkOutput carries a step's output from its process to a file that takes everything.
func BenchmarkOutput(b *testing.B) {
	base := b.TempDir()
	socket := filepath.Join(base, "job", agent.SharedDir, agent.SocketName)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(base, "job"), 0o700); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go func() {
		server := agent.NewServer(agent.ServerOptions{Socket: socket, Env: os.Environ()})
		if _, err := server.Serve(ctx); err != nil {
			b.Error(err)
		}
	}()
	c := &agent.Client{Dial: agent.SocketDialer(base, "job"), Token: "secret", GiveUp: time.Second}
	if _, err := c.Claim(ctx); err != nil {
		b.Fatal(err)
	}
	const size = 256 << 20
	b.SetBytes(size)
	for b.Loop() {
		exit, err := c.Run(ctx, sh("head -c 268435456 /dev/zero"), io.Discard, nil)
		if err != nil || exit.Code != 0 || exit.Output != size {
			b.Fatalf("%+v, %v", exit, err)
		}
	}
}
