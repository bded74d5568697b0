package engines

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func launchShell(t *testing.T, script string, env ...string) process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	p, err := start("shell", filepath.Join(t.TempDir(), "shell.log"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(0) })
	return p
}

func TestReadyShowsTheLogOfADaemonThatEnds(t *testing.T) {
	p := launchShell(t, "echo first words; echo last words >&2; exit 1")
	begin := time.Now()
	err := p.ready(t.Context(), func() error { return errors.New("does not answer") })
	if err == nil || !strings.Contains(err.Error(), "first words\nlast words") {
		t.Errorf("the error lacks the log: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it is noticed only after %v", took)
	}
}

func TestReadyWaitsUntilTheDaemonAnswers(t *testing.T) {
	p := launchShell(t, "exec sleep 60")
	calls := 0
	err := p.ready(t.Context(), func() error {
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
	if err := p.ready(t.Context(), func() error {
		if tail(p.Log, 1) != "on" {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.end(50 * time.Millisecond)
	if p.alive() {
		t.Error("it is alive after end")
	}
	p.end(time.Minute) // ended twice: at once
}

func TestReusedPIDIsNotTheProcess(t *testing.T) {
	p := process{PID: os.Getpid(), Started: "1"}
	if p.alive() {
		t.Error("a process with another start time counts as ours")
	}
	p.end(time.Minute) // must not end this test
}

func TestKillAllInFindsProcessesByTheirMark(t *testing.T) {
	dir := t.TempDir()
	marked := launchShell(t, "exec sleep 60", marker+"="+dir)
	other := launchShell(t, "exec sleep 60", marker+"="+dir+"-other")
	naming := launchShell(t, "exec sleep 60 # "+dir+"/file")
	killAllIn(dir)
	if marked.alive() {
		t.Error("a process of the testbed is alive")
	}
	if !other.alive() || !naming.alive() {
		t.Error("a process that is not the testbed's was killed")
	}
}

func TestUnmountAllInTakesNestedMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "a/b"} {
		point := filepath.Join(dir, name)
		if err := os.Mkdir(point, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", point, "tmpfs", 0, "size=64k"); err != nil {
			t.Skipf("mounting: %v", err)
		}
	}
	if err := unmountAllIn(dir); err != nil {
		t.Error(err)
	}
	if err := removeDir(dir); err != nil {
		t.Error(err)
	}
}

func TestPlanPackages(t *testing.T) {
	has := func(programs ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(programs, name) }
	}
	for _, c := range []struct {
		name    string
		only    []string
		present func(string) bool
		want    []string
	}{
		{"everything is there", nil, func(string) bool { return true }, nil},
		{"docker needs no podman", []string{"docker"}, has("bash", "ldd"), []string{"busybox-static", "docker.io", "iptables"}},
		{"a package is named once", []string{"docker"}, has("/bin/busybox", "bash", "ldd", "iptables"), []string{"docker.io"}},
		{"the registry", []string{"registry"}, has("/bin/busybox", "bash", "ldd"), []string{"docker-registry"}},
	} {
		if got := planPackages(c.only, c.present); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
