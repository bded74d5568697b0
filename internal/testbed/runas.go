package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// RunAs runs the test that calls it once more, as the engine's user: the same test binary, in a copy that the user
// can read, in a directory of its own with a copy of the package's testdata, with the engine's environment and
// extra (NAME=value). It returns true when that has happened, and the caller returns; false when this process is
// that user already, and the caller goes on:
//
//	e := testbed.PodmanRootless(t)
//	if testbed.RunAs(t, e) {
//		return
//	}
//
// The child's failure fails t, with the child's output; its skip skips t.
func RunAs(t *testing.T, e *Engine, extra ...string) bool {
	t.Helper()
	if os.Geteuid() == e.UID {
		return false
	}
	dir := userDir(t, e)
	ctx, cancel := childContext(t)
	defer cancel()
	child := e.Program(ctx, filepath.Join(dir, "suite.test"), childArgs(t.Name(), deadline(t))...)
	child.Dir = dir
	child.Env = append(child.Env, "TMPDIR="+dir, "CI="+os.Getenv("CI"))
	child.Env = append(child.Env, inherited()...)
	child.Env = append(child.Env, extra...)
	report(t, e, child)
	return true
}

func report(t *testing.T, e *Engine, child *exec.Cmd) {
	t.Helper()
	out, err := child.CombinedOutput()
	text := string(out)
	switch {
	case err != nil:
		t.Errorf("as user %d: %v\n%s", e.UID, err, text)
	case strings.Contains(text, "testing: warning: no tests to run"):
		t.Errorf("as user %d: the test was not found\n%s", e.UID, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()+" ("):
		t.Skipf("as user %d:\n%s", e.UID, text)
	default:
		t.Logf("as user %d:\n%s", e.UID, text)
	}
}

// childContext ends a moment before the test's own deadline, so that the child's output is not lost.
func childContext(t *testing.T) (context.Context, context.CancelFunc) {
	if left := deadline(t); left > 0 {
		return context.WithTimeout(t.Context(), left)
	}
	return context.WithCancel(t.Context())
}

// deadline is the time that a child of the test has; 0: no limit.
func deadline(t *testing.T) time.Duration {
	end, limited := t.Deadline()
	if !limited {
		return 0
	}
	return max(time.Until(end)-5*time.Second, time.Second)
}

// childArgs are the test flags of the child. Below the calling test it keeps what -run chose.
func childArgs(test string, limit time.Duration) []string {
	levels := strings.Split(test, "/")
	for i, level := range levels {
		levels[i] = "^" + regexp.QuoteMeta(level) + "$"
	}
	if chosen := strings.Split(flagText("test.run"), "/"); len(chosen) > len(levels) {
		levels = append(levels, chosen[len(levels):]...)
	}
	args := []string{"-test.v", "-test.count=1", "-test.run=" + strings.Join(levels, "/")}
	if limit > 0 {
		args = append(args, "-test.timeout="+limit.String())
	}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	return args
}

func flagText(name string) string {
	if f := flag.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// inherited are the testbed's facts in this process' environment.
func inherited() []string {
	var facts []string
	for _, name := range []string{EnvDocker, EnvPodman, EnvRootless, EnvRegistry, EnvKubernetes} {
		if value, ok := os.LookupEnv(name); ok {
			facts = append(facts, name+"="+value)
		}
	}
	return facts
}

// userDir makes a directory of the engine's user with the test binary and the package's testdata in it. It goes
// when the test ends.
func userDir(t *testing.T, e *Engine) string {
	t.Helper()
	dir, err := os.MkdirTemp(e.Home, "suite-")
	if err != nil {
		t.Fatalf("making a directory for the user's tests: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("deleting the directory of the user's tests: %v", err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("finding the test binary: %v", err)
	}
	if err := copyFile(filepath.Join(dir, "suite.test"), self); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("testdata")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("copying testdata: %v", err)
	}
	if err := chownAll(dir, e); err != nil {
		t.Fatalf("giving the tests to the user: %v", err)
	}
	return dir
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		return fmt.Errorf("writing %s: %w", to, err)
	}
	return nil
}

func chownAll(dir string, e *Engine) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, e.UID, e.GID))
	})
}
