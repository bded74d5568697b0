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
	"syscall"
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
	Rerun(t, fmt.Sprintf("as user %d", e.UID), dir, func(ctx context.Context, args ...string) *exec.Cmd {
		if err := chownAll(dir, e); err != nil {
			t.Fatalf("giving the tests to the user: %v", err)
		}
		child := e.Program(ctx, filepath.Join(dir, SuiteFile), args...)
		child.Dir = dir
		child.Env = append(child.Env, "TMPDIR="+dir, "CI="+os.Getenv("CI"))
		child.Env = append(child.Env, Inherited()...)
		child.Env = append(child.Env, extra...)
		return child
	})
	return true
}

// SuiteFile is the name of the test binary's copy.
const SuiteFile = "suite.test"

// Rerun runs the test that calls it once more, in another process: a copy of the test binary, named SuiteFile, and of
// the package's testdata is put into dir, and command makes the process that runs it there with the given arguments.
// The child's failure fails t, with the child's output; its skip skips t. Who begins the message.
func Rerun(t *testing.T, who, dir string, command func(ctx context.Context, args ...string) *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("finding the test binary: %v", err)
	}
	if err := copyFile(filepath.Join(dir, SuiteFile), self); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("testdata")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("copying testdata: %v", err)
	}
	ctx, cancel := childContext(t)
	defer cancel()
	report(t, who, command(ctx, childArgs(t.Name(), deadline(t))...))
}

func report(t *testing.T, who string, child *exec.Cmd) {
	t.Helper()
	out, err := child.CombinedOutput()
	text := string(out)
	switch {
	case err != nil:
		t.Errorf("%s: %v\n%s", who, err, text)
	case strings.Contains(text, "testing: warning: no tests to run"):
		t.Errorf("%s: the test was not found\n%s", who, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()+" ("):
		t.Skipf("%s:\n%s", who, text)
	default:
		t.Logf("%s:\n%s", who, text)
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

// Inherited are the testbed's facts in this process' environment, for that of a child.
func Inherited() []string {
	var facts []string
	for _, name := range []string{EnvDocker, EnvPodman, EnvRootless, EnvRegistry, EnvKubernetes} {
		if value, ok := os.LookupEnv(name); ok {
			facts = append(facts, name+"="+value)
		}
	}
	return facts
}

// userDir makes a directory for tests of the engine's user. It goes when the test ends.
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
	return dir
}

// copyFile copies a program. No other test starts one meanwhile: for a moment it would hold the copy open for writing, which
// cannot be started then.
func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
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
