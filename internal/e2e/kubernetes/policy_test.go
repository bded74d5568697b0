package kubernetes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// Where the network keeps the runner from jobs' pods, everything goes through the API server: in a job with a container, in
// one that has services only, and in one that has nothing.
func TestANetworkPolicyBetweenRunnerAndJob(t *testing.T) {
	alongside(t)
	p := places()[2]
	if !kubetest.Inside() {
		r, env := p.pod(t)
		r.DropTo(t, 7443, 8500) // where agents listen
		r.Enter(t, env...)
		return
	}
	t.Run("job container", func(t *testing.T) {
		r := p.runner(t)
		through(t, ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)))))
		if res := ok(t, r.RunScript(t.Context(), "echo a script")); res.Stdout != "a script\n" {
			t.Errorf("the step prints %q", res.Stdout)
		}
		actionRuns(t, r)
		ok(t, r.Cleanup(t.Context()))
	})
	t.Run("services only", func(t *testing.T) {
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), nil, hook.Container{Image: image(t, testbed.Redis)}))
		through(t, actionRuns(t, r))
		ok(t, r.Cleanup(t.Context()))
	})
	t.Run("nothing", func(t *testing.T) {
		r := p.runner(t)
		through(t, actionRuns(t, r))
		ok(t, r.Cleanup(t.Context()))
	})
}

// actionRuns runs a container action that leaves a file in the runner's workspace.
func actionRuns(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	t.Helper()
	step := r.ContainerStep(image(t, testbed.Busybox), "-c", "echo an action; echo yes >made")
	step.EntryPoint = "sh"
	res := ok(t, r.Call(t.Context(), hook.RunContainerStep, step))
	if !strings.Contains(res.Stdout, "an action\n") {
		t.Errorf("the action prints %q", res.Stdout)
	}
	if made, err := os.ReadFile(filepath.Join(r.Workspace, "made")); string(made) != "yes\n" {
		t.Errorf("the action leaves %q (%v)", made, err)
	}
	return res
}

func through(t *testing.T, res *fakerunner.Result) {
	t.Helper()
	if !strings.Contains(res.Output(), "steps go through the engine's API") {
		t.Errorf("the log does not tell of the way that steps take:\n%s", res.Output())
	}
}
