package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// Whoever takes over sees a whole program, and whoever hands over waits for that.
func TestAnAgentIsHandedOver(t *testing.T) {
	t.Parallel()
	source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "dir", "agent")
	if err := os.WriteFile(source, []byte("program"), 0o644); err != nil {
		t.Fatal(err)
	}
	taken, handed := make(chan error, 1), make(chan error, 1)
	go func() { taken <- agent.TakeOver(target) }()
	go func() { handed <- agent.HandOver(source, target) }()
	for _, ends := range []chan error{taken, handed} {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(target)); len(left) != 1 {
		t.Errorf("beside the agent there are %v (%v)", left, err)
	}
	if text, err := os.ReadFile(target); string(text) != "program" || err != nil {
		t.Errorf("%q: %v", text, err)
	}
}
