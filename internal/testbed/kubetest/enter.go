package kubetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// envRunner tells a test in a pod, as JSON, which one it is.
const envRunner = "GANTRY_TEST_RUNNER"

// InPod runs the test that calls it once more, in a new runner's pod: see Enter. It returns true when that has
// happened, and the caller returns; false when this process is in the pod already, and the caller goes on.
func InPod(t *testing.T, spec RunnerSpec, env ...string) bool {
	t.Helper()
	if Inside() {
		return false
	}
	Open(t).Runner(t, spec).Enter(t, env...)
	return true
}

// Self is the pod in which this test runs.
func Self(t testing.TB) *Runner {
	t.Helper()
	r := &Runner{}
	if err := json.Unmarshal([]byte(os.Getenv(envRunner)), r); err != nil {
		t.Fatalf("finding the pod that this test is in: %v", err)
	}
	return r
}

// Enter runs the test that calls it once more in the runner's container, where it must not call Enter again: the same
// test binary, in a directory with a copy of the package's testdata, as the runner's user, with the container's
// environment and env (NAME=VALUE). Temporary directories lie in the work folder. The child's failure fails t, with
// the child's output; its skip skips t.
func (r *Runner) Enter(t *testing.T, env ...string) {
	t.Helper()
	if Inside() {
		t.Fatal("this test runs in the pod already")
	}
	made := filepath.Join(t.TempDir(), "suite")
	if err := os.Mkdir(made, 0o755); err != nil {
		t.Fatalf("preparing the pod's tests: %v", err)
	}
	dir := path.Join(testFolder, "suite-"+rand.Text())
	testbed.Rerun(t, "in the pod "+r.Pod, made, func(ctx context.Context, args ...string) *exec.Cmd {
		inherited, err := r.childEnv(made, dir)
		if err == nil {
			err = r.inside.copyIn(ctx, made, dir, r.UID)
		}
		var cmd *Command
		if err == nil {
			cmd, err = r.Command(ctx, Program{
				Args: append([]string{path.Join(dir, testbed.SuiteFile)}, args...),
				Env:  append(inherited, env...),
				Dir:  dir,
			})
		}
		if err != nil {
			t.Fatalf("entering the pod: %v", err)
		}
		return cmd.Cmd
	})
}

// childEnv is what the child knows of the testbed: this pod, and the cluster with a kubeconfig that it can read.
func (r *Runner) childEnv(made, dir string) ([]string, error) {
	self, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the pod: %w", err)
	}
	config, err := os.ReadFile(r.cluster.Kubeconfig)
	if err == nil {
		err = os.WriteFile(filepath.Join(made, "kubeconfig"), config, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("handing the kubeconfig on: %w", err)
	}
	node := r.cluster.KubernetesNode
	node.Kubeconfig, node.Dir = path.Join(dir, "kubeconfig"), ""
	facts, err := testbed.Facts{Kubernetes: &node}.Environ()
	return append(facts, envRunner+"="+string(self), "TMPDIR="+r.Work, "CI="+os.Getenv("CI")), err
}
