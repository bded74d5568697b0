package runnerdir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/runnerdir"
)

func TestTheListenerIsFoundWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "run.sh"), "")
	program := filepath.Join(dir, "bin/Runner.Listener")
	write(t, program, "")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no sleep program")
	}
	r, err := runnerdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.Listener(); p != nil {
		t.Fatalf("found before it was started: %+v", p)
	}
	cmd := exec.CommandContext(t.Context(), sleep, "60")
	cmd.Args[0] = program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	p := r.Listener()
	for deadline := time.Now().Add(5 * time.Second); p == nil && time.Now().Before(deadline); p = r.Listener() {
		time.Sleep(time.Millisecond)
	}
	if p == nil || p.PID != cmd.Process.Pid || p.UID != os.Getuid() {
		t.Fatalf("found %+v", p)
	}
	if off := time.Since(p.Started).Abs(); off > 10*time.Second {
		t.Errorf("started %v ago", off)
	}
	if w := r.Worker(); w != nil {
		t.Errorf("a worker that is none: %+v", w)
	}
}
