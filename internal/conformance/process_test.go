package conformance

import (
	"os/exec"
	"testing"
)

// Processes are found by what they were started with, and ended.
func TestProcessesAreFoundAndEnded(t *testing.T) {
	const arguments = "sleep 123456.75"
	cmd := exec.CommandContext(t.Context(), "sleep", "123456.75")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if found := processesWith(arguments); len(found) != 1 || found[0] != cmd.Process.Pid {
		t.Errorf("%v, and not %d", found, cmd.Process.Pid)
	}
	endProcesses(arguments)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Success() {
		t.Error("it ended by itself")
	}
	if found := processesWith(arguments); len(found) != 0 {
		t.Errorf("%v is still there", found)
	}
}
