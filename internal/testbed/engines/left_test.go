package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

func launchShell(t *testing.T, script string, env ...string) daemon.Process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	p, err := daemon.Start("shell", filepath.Join(t.TempDir(), "shell.log"), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(0) })
	return p
}

func TestKillAllInFindsProcessesByTheirMark(t *testing.T) {
	dir := t.TempDir()
	marked := launchShell(t, "exec sleep 60", marker+"="+dir)
	other := launchShell(t, "exec sleep 60", marker+"="+dir+"-other")
	naming := launchShell(t, "exec sleep 60 # "+dir+"/file")
	killAllIn(dir)
	if marked.Alive() {
		t.Error("a process of the testbed is alive")
	}
	if !other.Alive() || !naming.Alive() {
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
		{"the registry", []string{"registry"}, has("/bin/busybox", "bash", "ldd"), []string{"docker-registry", "buildah"}},
	} {
		if got := planPackages(c.only, c.present); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
