package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func launchShell(t *testing.T, script string, env ...string) Process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	p, err := Start("shell", filepath.Join(t.TempDir(), "shell.log"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(0) })
	return p
}

func TestReadyShowsTheLogOfADaemonThatEnds(t *testing.T) {
	p := launchShell(t, "echo first words; echo last words >&2; exit 1")
	begin := time.Now()
	err := p.Ready(t.Context(), func() error { return errors.New("does not answer") })
	if err == nil || !strings.Contains(err.Error(), "first words\nlast words") {
		t.Errorf("the error lacks the log: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it is noticed only after %v", took)
	}
}

// leaderless has this program become one whose first thread has ended, and another has not: so is a program for a moment
// when it is killed.
const leaderless = "GANTRY_TEST_LEADERLESS"

func init() {
	if os.Getenv(leaderless) == "" {
		return
	}
	runtime.LockOSThread() // init runs on the first thread
	go func() { time.Sleep(time.Minute) }()
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

func TestAProcessIsAliveAsLongAsAnyThreadOfIt(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), leaderless+"=1")
	p, err := Start("leaderless", filepath.Join(t.TempDir(), "log"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(0) })
	if err := Poll(t.Context(), 10*time.Second, func() error {
		if _, state := Stat(p.PID); state != "Z" {
			return errors.New("its first thread is " + state)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("a process whose first thread has ended is called dead, and others still run")
	}
	p.End(0)
	if p.Alive() {
		t.Error("it was killed, and is alive")
	}
}

func TestReadyWaitsUntilTheDaemonAnswers(t *testing.T) {
	p := launchShell(t, "exec sleep 60")
	calls := 0
	err := p.Ready(t.Context(), func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("ready after %d calls with %v", calls, err)
	}
}

func TestEndKillsWhatIgnoresTheRequest(t *testing.T) {
	p := launchShell(t, "trap '' TERM; echo on; while :; do sleep 1; done")
	if err := p.Ready(t.Context(), func() error {
		if tail(p.Log, 1) != "on" {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.End(50 * time.Millisecond)
	if p.Alive() {
		t.Error("it is alive after end")
	}
	p.End(time.Minute) // ended twice: at once
}

func TestReusedPIDIsNotTheProcess(t *testing.T) {
	p := Process{PID: os.Getpid(), Started: "1"}
	if p.Alive() {
		t.Error("a process with another start time counts as ours")
	}
	p.End(time.Minute) // must not end this test
}
