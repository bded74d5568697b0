// Package e2e tests the built programs as the runner uses them: through the shim, on real engines.
package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// envBin names the folder of the built programs, for the tests that run as another user.
const envBin = "GANTRY_TEST_BIN"

// limit bounds every single call.
const limit = 2 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(envBin) != "" {
		os.Exit(m.Run())
	}
	os.Exit(withPrograms(m.Run))
}

// withPrograms builds the programs, with failpoints, where every user can run them.
func withPrograms(run func() int) int {
	dir, err := os.MkdirTemp("/tmp", "gantry-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv(envBin, dir)
	return run()
}

func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-tags", "failpoint", "-trimpath", "-o", dir, "./cmd/gantry", "./cmd/gantry-agent")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	shim, err := os.ReadFile("../../cmd/gantry-agent/hook.sh")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "hook.sh"), shim, 0o755)
}

// onEngines runs a test on every engine, side by side, as the engine's user.
func onEngines(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	eachEngine(t, (*testing.T).Parallel, test)
}

// inTurn runs a test on one engine after the other: such tests use the same ports of this machine.
func inTurn(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	eachEngine(t, func(*testing.T) {}, test)
}

func eachEngine(t *testing.T, begin func(*testing.T), test func(t *testing.T, e *testbed.Engine)) {
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			begin(t)
			if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin), envAllFaults+"="+os.Getenv(envAllFaults)) {
				return
			}
			test(t, e)
		})
	}
}

// newRunner is a runner whose hook uses engine e, with more environment.
func newRunner(t *testing.T, e *testbed.Engine, env ...string) *fakerunner.Runner {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "runner-"+rand.Text()[:8])
	env = append(append(append([]string{}, e.Env...),
		"GANTRY_ENGINE="+e.Name, "GANTRY_PULL=missing", "GANTRY_STATE_DIR="+filepath.Join(t.TempDir(), "state")), env...)
	r, err := fakerunner.New(dir, filepath.Join(os.Getenv(envBin), "hook.sh"), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), limit)
		defer stop()
		if res := r.Cleanup(ctx); res.Err != nil {
			t.Errorf("cleaning up: %v\n%s", res.Err, res.Output())
		}
	})
	return r
}

// ctx bounds one call.
func ctx(t *testing.T) context.Context {
	t.Helper()
	c, stop := context.WithTimeout(t.Context(), limit)
	t.Cleanup(stop)
	return c
}

// ok fails the test if a call failed, and returns its result.
func ok(t *testing.T, res *fakerunner.Result) *fakerunner.Result {
	t.Helper()
	if res.Err != nil {
		t.Fatalf("%v\n%s", res.Err, res.Output())
	}
	return res
}

func contains(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func TestAJobFromPrepareToCleanup(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		redis := hook.Container{Image: testbed.Redis, PortMappings: []string{"6379"}}
		res := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Alpine), redis))
		if res.Response.IsAlpine == nil || !*res.Response.IsAlpine {
			t.Error("the alpine image was not recognised")
		}
		if port := res.Response.Context.Services[0].Ports["6379"]; port == "" {
			t.Errorf("no host port for 6379: %+v", res.Response.Context.Services)
		}
		res = ok(t, r.RunScript(ctx(t), `echo "out=$(printf 'PING\r\n' | nc redis 6379)" >> "$GITHUB_OUTPUT"; echo hello; pwd`))
		if res.Stdout != "hello\n/__w/repo/repo\n" || res.Stderr != "" {
			t.Errorf("stdout %q, stderr %q", res.Stdout, res.Stderr)
		}
		if out, err := r.FileCommand("GITHUB_OUTPUT"); err != nil || !strings.Contains(out, "out=+PONG") {
			t.Errorf("the step's output file: %q, %v", out, err)
		}
		res = r.RunScript(ctx(t), "exit 42")
		if res.ExitCode != 42 {
			t.Errorf("status %d", res.ExitCode)
		}
		contains(t, res.Stderr, "gantry: workflow: step exited with status 42")
		step := r.ContainerStep(testbed.Entry, "two  blanks", `quo"te`)
		step.EnvironmentVariables["SECRET"] = "s3cret"
		if res = ok(t, r.Call(ctx(t), hook.RunContainerStep, step)); res.Stdout != "entry two blanks quo\"te\n" {
			t.Errorf("stdout %q", res.Stdout)
		}
		ok(t, r.Cleanup(ctx(t)))
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// runnerID is the label of everything that belongs to a runner.
func runnerID(r *fakerunner.Runner) string { return handler.RunnerID([]string{r.Root}, "") }

// noLeftovers fails if the engine has anything with a label of ours that belongs to this runner.
func noLeftovers(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) {
	t.Helper()
	label := "label=io.gantry.runner=" + runnerID(r)
	for _, args := range [][]string{
		{"ps", "-a", "--filter", label, "--format", "{{.Names}}"},
		{"network", "ls", "--filter", label, "--format", "{{.Name}}"},
	} {
		out, err := e.Command(ctx(t), args...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		if left := strings.TrimSpace(string(out)); left != "" {
			t.Errorf("left over (%s):\n%s", args[0], left)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry/*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
