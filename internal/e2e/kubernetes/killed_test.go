package kubernetes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// A hook that is killed at any place of a command leaves nothing, once the runner has had the job cleaned up, as it does.
func TestAHookKilledAnywhereLeavesNothing(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if p.outside(t) {
			return
		}
		start, killed := time.Now(), 0
		for _, at := range killedInPrepare() {
			killed += killedAt(t, p.runner(t), at, prepare)
		}
		t.Run("steps", func(t *testing.T) {
			r := p.runner(t)
			ok(t, prepare(t.Context(), t, r))
			for _, at := range killedInStep() {
				killed += kill(t, r, at, containerStep)
			}
			for script, places := range killedInScript() {
				for _, at := range places {
					killed += kill(t, r, at, func(ctx context.Context, _ *testing.T, r *fakerunner.Runner) *fakerunner.Result {
						return r.RunScript(ctx, script)
					})
				}
			}
			ok(t, scriptStep(t, r, "for i in $(seq 300); do pgrep -f '[s]leep 4321' || exit 0; sleep 0.1; done; exit 1"))
			nothingIsLeft(t, r)
		})
		for _, at := range killedInCleanup() {
			r := p.runner(t)
			ok(t, prepare(t.Context(), t, r))
			killed += killedAt(t, r, at, cleanup)
		}
		t.Logf("%s: the hook was killed at %d places within %s, and nothing is left", p.name, killed, time.Since(start).Round(time.Second))
	})
}

func killedInPrepare() []string {
	return []string{
		"prepare-start", "prepare-leftovers", "agent-folder-making", "prepare-agent-folder", "prepare-record", "container-creating",
		"container-starting", "container-started", "prepare-started", "prepare-claimed", "prepare-saved",
	}
}

func killedInStep() []string {
	return []string{"step-start", "step-image", "step-agent-folder", "step-run-starting", "step-run-started", "step-started", "step-claimed", "client-output", "step-gone"}
}

// killedInScript are places by the script in which they are reached: one that would go on, and one that ends.
func killedInScript() map[string][]string {
	return map[string][]string{
		"echo begun; exec sleep 4321": {
			"fast-read", "fast-record", "script-opening-files", "script-asking", "client-dialled", "client-asked", "client-output",
		},
		"echo begun; sleep 0.1; echo ended":                             {"client-exit-read", "client-done", "fast-answered"},
		"echo begun; head -c 2000000 /dev/zero | tr '\\0' x; sleep 0.5": {"client-acknowledging"},
	}
}

func killedInCleanup() []string {
	return []string{"cleanup-start", "cleanup-listed", "cleanup-restored", "containers-removed", "cleanup-removed"}
}

// command is a call of the hook.
type command func(context.Context, *testing.T, *fakerunner.Runner) *fakerunner.Result

func prepare(ctx context.Context, t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	return r.Prepare(ctx, r.JobContainer(image(t, testbed.Busybox)), hook.Container{
		Image: image(t, testbed.Redis), EnvironmentVariables: map[string]string{"PASSWORD": "secret"},
	})
}

func containerStep(ctx context.Context, t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	return r.Call(ctx, hook.RunContainerStep, shellStep(t, r, "echo begun; sleep 0.3; echo ended"))
}

// shellStep is a container action that is a shell.
func shellStep(t *testing.T, r *fakerunner.Runner, script string) *hook.Container {
	action := r.ContainerStep(image(t, testbed.Busybox), "-c", script)
	action.EntryPoint = "/bin/sh"
	return action
}

func cleanup(ctx context.Context, _ *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	return r.Cleanup(ctx)
}

// killedAt kills the hook at a place of a command, and looks at what is left. It gives 1 if the place was reached.
func killedAt(t *testing.T, r *fakerunner.Runner, at string, do command) (killed int) {
	t.Run(at, func(t *testing.T) {
		killed = kill(t, r, at, do)
		nothingIsLeft(t, r)
	})
	return killed
}

// kill kills the hook at a place of a command. It gives 1 if the place was reached.
func kill(t *testing.T, r *fakerunner.Runner, at string, do command) (killed int) {
	t.Helper()
	mark := filepath.Join(t.TempDir(), "mark")
	own := r.Client.Env
	r.Client.Env = append(slices.Clone(own), "GANTRY_FAILPOINT="+at+":9", "GANTRY_FAILPOINT_MARK="+mark)
	result := do(t.Context(), t, r)
	r.Client.Env = own
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("%s was not reached: %s", at, result.Output())
		return 0
	}
	if result.Err == nil && result.ExitCode == 0 {
		t.Errorf("%s: the hook was killed, and the call has succeeded: %s", at, result.Output())
	}
	return 1
}

// nothingIsLeft cleans the job up, twice, and looks at the cluster, as its administrator, and at the runner's folders.
func nothingIsLeft(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	for range 2 {
		ok(t, r.Cleanup(t.Context()))
	}
	isClean(t, kubetest.Open(t), kubetest.Self(t))
	folders, err := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry/*"))
	if err != nil || len(folders) > 0 {
		t.Errorf("agents' folders: %q, %v", folders, err)
	}
}

// isClean waits until nothing of jobs is in the runner's namespace.
func isClean(t *testing.T, c *kubetest.Cluster, r *kubetest.Runner) {
	t.Helper()
	var left string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if left = ofJobs(t, c, r); left == "" {
			return
		}
	}
	t.Errorf("in the cluster there is %s", left)
}

// ofJobs is what there is of jobs in the runner's namespace.
func ofJobs(t *testing.T, c *kubetest.Cluster, r *kubetest.Runner) string {
	t.Helper()
	var pods corev1.PodList
	var secrets corev1.SecretList
	if err := c.List(t.Context(), r.Namespace, &pods); err != nil {
		t.Fatal(err)
	}
	if err := c.List(t.Context(), r.Namespace, &secrets); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, p := range pods.Items {
		if p.Labels["io.gantry/job"] != "" {
			left = append(left, "pod "+p.Name)
		}
		for _, s := range p.Status.EphemeralContainerStatuses {
			if s.State.Terminated == nil {
				left = append(left, fmt.Sprintf("container %s %+v", s.Name, s.State))
			}
		}
	}
	for _, s := range secrets.Items {
		if s.Labels["io.gantry/job"] != "" {
			left = append(left, "secret "+s.Name)
		}
	}
	return strings.Join(left, ", ")
}
