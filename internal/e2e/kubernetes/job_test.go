// Package kubernetes tests the built programs as the runner uses them, in the runner's own pod of a real cluster.
package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/builtprograms"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// envPrograms names the folder of the built programs, in the pod as outside.
const envPrograms = "GANTRY_TEST_PROGRAMS"

// envImage names an image that has the agent, for pods that share no volume with the runner.
const envImage = "GANTRY_TEST_AGENT_IMAGE"

// A job runs through the hook with nothing but the Role that `gantry rbac` prints.
func TestAJobFromPrepareToCleanup(t *testing.T) {
	for name, s := range map[string]struct {
		work         kubetest.Work
		mode, volume string
	}{
		"in-pod":             {kubetest.OwnVolume, rbac.InPod, ""},
		"pod, shared volume": {kubetest.SharedClaim, rbac.Pod, rbac.Shared},
		"pod, no volume":     {kubetest.NoVolume, rbac.Pod, rbac.None},
	} {
		t.Run(name, func(t *testing.T) {
			if enter(t, s.work, rbac.Need{Mode: s.mode, Volume: s.volume}) {
				return
			}
			r := newRunner(t, "GANTRY_KUBERNETES_MODE="+s.mode, "GANTRY_KUBERNETES_AGENT_IMAGE="+os.Getenv(envImage))
			playJob(t, r)
		})
	}
}

// enter runs the test in a runner's pod. False: it is there already.
func enter(t *testing.T, work kubetest.Work, need rbac.Need) bool {
	t.Helper()
	if kubetest.Inside() {
		return false
	}
	testbed.Kubernetes(t) // skips before anything is built
	programs := t.TempDir()
	if _, err := builtprograms.Build(t.Context(), "../../..", programs, os.Environ()); err != nil {
		t.Fatal(err)
	}
	var rules []rbacv1.PolicyRule
	for _, r := range rbac.Rules(need) {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}, Verbs: r.Verbs})
	}
	agent := filepath.Join(programs, "gantry-agent")
	image := kubetest.Open(t).ImageWith(t, agent, agent)
	return kubetest.InPod(t, kubetest.RunnerSpec{Work: work, Copy: []string{programs}, Rules: rules}, envPrograms+"="+programs, envImage+"="+image)
}

func newRunner(t *testing.T, env ...string) *fakerunner.Runner {
	t.Helper()
	root := filepath.Dir(kubetest.Self(t).Work)
	env = append(append(os.Environ(), "GANTRY_ENGINE=kubernetes", "GANTRY_STATE_DIR="+filepath.Join(root, "state")), env...)
	r, err := fakerunner.New(root, filepath.Join(os.Getenv(envPrograms), "hook.sh"), env)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func playJob(t *testing.T, r *fakerunner.Runner) {
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	image := func(name string) string { return testbed.Kubernetes(t).Registry.Addr + "/" + name }
	ok(t, r.Prepare(ctx, r.JobContainer(image(testbed.Alpine)), hook.Container{Image: image(testbed.Redis)}))
	res := ok(t, r.RunScript(ctx, `printf 'PING\r\n' | nc redis 6379; echo one >>"$GITHUB_OUTPUT"; echo made >made; pwd`))
	if want := "+PONG\r\n/__w/repo/repo\n"; res.Stdout != want {
		t.Errorf("the step printed %q, want %q", res.Stdout, want)
	}
	if text, err := os.ReadFile(filepath.Join(r.Workspace, "made")); err != nil || string(text) != "made\n" {
		t.Errorf("the runner finds %q in the workspace: %v", text, err)
	}
	failed := r.RunScript(ctx, "echo no; exit 7")
	if failed.ExitCode != 7 || !strings.HasPrefix(failed.Stdout, "no\n") {
		t.Errorf("a step that fails with 7 gives %d: %s", failed.ExitCode, failed.Output())
	}
	action := r.ContainerStep(image(testbed.Busybox), "-c", "cat made")
	action.EntryPoint = "/bin/sh"
	if res := ok(t, r.Call(ctx, hook.RunContainerStep, action)); res.Stdout != "made\n" {
		t.Errorf("the action printed %q: %s", res.Stdout, res.Output())
	}
	ok(t, r.Cleanup(ctx))
	ok(t, r.Cleanup(ctx))
}

// ok fails the test if a call failed, and returns its result.
func ok(t *testing.T, res *fakerunner.Result) *fakerunner.Result {
	t.Helper()
	if res.Err != nil {
		t.Fatalf("%v\n%s", res.Err, res.Output())
	}
	return res
}
