package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

func TestAnAgentForOneStepEndsWithTheHookThatWantedIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, agent.LeaseName)
	lease, err := os.Create(path)
	must(t, err)
	must(t, agent.HoldLease(lease))
	ended := make(chan error, 1)
	server := agent.NewServer(agent.ServerOptions{Socket: filepath.Join(dir, agent.SocketName), Once: true, Lease: path})
	go func() {
		_, err := server.Serve(context.WithoutCancel(t.Context()))
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it ended under a hook that lives: %v", err)
	case <-time.After(600 * time.Millisecond):
	}
	must(t, lease.Close())
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended without a reason")
		}
	case <-time.After(limit):
		t.Error("it did not end")
	}
}
