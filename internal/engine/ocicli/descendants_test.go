package ocicli

import (
	"os/exec"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/jobrecord"
)

// A command that is cut off leaves nothing running, also what has a session of its own.
func TestACommandIsEndedWithItsDescendants(t *testing.T) {
	program := exec.CommandContext(t.Context(), "sh", "-c", "setsid sleep 1000 & echo; wait")
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	found := descendants(program.Process.Pid)
	if len(found) != 1 {
		t.Errorf("found %v; one child was expected", found)
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // it was killed
	end(found)
	for _, p := range found {
		for deadline := time.Now().Add(5 * time.Second); p.Alive(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is still there", p.PID)
			}
		}
	}
}

// A number that another process has by now is not killed.
func TestAnotherProcessOfTheSameNumberIsSpared(t *testing.T) {
	program := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	end([]jobrecord.Owner{{PID: program.Process.Pid, Start: "another time"}})
	if !jobrecord.ProcessOf(program.Process.Pid).Alive() {
		t.Error("it was killed")
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // it was killed
}
