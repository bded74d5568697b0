package docstest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// nobody runs the examples when the tests run as root: nothing outside of the sandbox can be changed.
const nobody = 65534

// Examples for the shell are run: one after the other on a page, in a home folder with a runner and gantry on the
// PATH. Those that are not run say why, and are read by the shell all the same.
func TestShellExamples(t *testing.T) {
	programs := buildPrograms(t)
	left := 0
	for _, p := range pages(t) {
		var run, withEngine []block
		for _, b := range p.blocks {
			switch {
			case b.lang != "sh":
			case b.notRun != "":
				left++
				t.Logf("not run: %s:%d: %s", b.page, b.line, b.notRun)
				readOnly(t, b)
			case b.kind == "engine":
				withEngine = append(withEngine, b)
			default:
				run = append(run, b)
			}
		}
		if len(run) > 0 {
			t.Run(p.path, func(t *testing.T) { runAll(t, newSandbox(t, programs), run) })
		}
		if len(withEngine) > 0 {
			t.Run(p.path+" with an engine", func(t *testing.T) {
				runAll(t, engineSandbox(t, programs, testbed.PodmanRootless(t)), withEngine)
			})
		}
	}
	t.Logf("%d examples for the shell are not run", left)
}

func buildPrograms(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gantry-docs-bin-") // where every user can run them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", dir, "./cmd/gantry", "./cmd/gantry-agent")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	shim, err := os.ReadFile(filepath.Join(root, "cmd/gantry-agent/hook.sh"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "hook.sh"), shim, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sandbox is where examples run.
type sandbox struct {
	home     string
	env      []string
	uid, gid int
}

func newSandbox(t *testing.T, programs string) sandbox {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "gantry-docs-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	s := sandbox{home: home, uid: os.Geteuid(), gid: os.Getegid(), env: []string{
		"HOME=" + home, "PATH=" + programs + ":/usr/local/bin:/usr/bin:/bin",
	}}
	if s.uid == 0 {
		s.uid, s.gid = nobody, nobody
	}
	s.addRunner(t, programs)
	return s
}

// engineSandbox uses the home folder of the engine's user, where the engine's settings are.
func engineSandbox(t *testing.T, programs string, e *testbed.Engine) sandbox {
	t.Helper()
	s := sandbox{home: e.Home, uid: e.UID, gid: e.GID}
	for _, kv := range e.Env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			kv = "PATH=" + programs + ":" + path
		}
		s.env = append(s.env, kv)
	}
	s.env = append(s.env, "GANTRY_ENGINE="+e.Name, "GANTRY_PULL=missing")
	// Images that the pages name, by those that are here.
	for image, name := range map[string]string{testbed.Busybox: "busybox:1", testbed.Bash: "debian:stable-slim"} {
		if out, err := e.Command(t.Context(), "tag", image, name).CombinedOutput(); err != nil {
			t.Fatalf("naming an image: %v\n%s", err, out)
		}
		t.Cleanup(func() { e.Command(context.WithoutCancel(t.Context()), "untag", image, name).Run() })
	}
	t.Cleanup(func() {
		for _, made := range []string{"actions-runner", "bin", "Makefile", ".local/share/gantry", ".local/state/gantry"} {
			os.RemoveAll(filepath.Join(e.Home, made))
		}
	})
	s.addRunner(t, programs)
	return s
}

// addRunner lays out a runner in ~/actions-runner, and a clone of the project with its programs: bin and a Makefile
// that has nothing to do.
func (s sandbox) addRunner(t *testing.T, programs string) {
	t.Helper()
	if err := os.Symlink(programs, filepath.Join(s.home, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.home, "Makefile"), []byte("build:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.home, "actions-runner")
	if _, err := fakerunner.New(dir, "", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.sh", "run.sh"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == s.uid {
		return
	}
	if err := os.Chown(s.home, s.uid, s.gid); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, s.uid, s.gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runAll runs the blocks of a page in order.
func runAll(t *testing.T, s sandbox, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, "/bin/bash", "-euo", "pipefail", "-c", b.text)
		cmd.Dir, cmd.Env, cmd.WaitDelay = s.home, s.env, time.Second
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if os.Geteuid() != s.uid {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.gid)}
		}
		out, err := cmd.CombinedOutput()
		stop()
		if err != nil {
			t.Fatalf("%s:%d: %v\n%s%s", b.page, b.line, err, b.text, out)
		}
		t.Logf("%s:%d:\n%s%s", b.page, b.line, b.text, out)
	}
}

// readOnly has the shell read a block.
func readOnly(t *testing.T, b block) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-n")
	cmd.Stdin = strings.NewReader(b.text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s:%d: %v\n%s", b.page, b.line, err, out)
	}
}
