package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// A job runs through the hook with nothing but the Role that `gantry rbac` prints.
func TestAJobFromPrepareToCleanup(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if !p.outside(t) {
			playJob(t, p.runner(t))
		}
	})
}

func playJob(t *testing.T, r *fakerunner.Runner) {
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	ok(t, r.Prepare(ctx, r.JobContainer(image(t, testbed.Alpine)), hook.Container{Image: image(t, testbed.Redis)}))
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
	action := r.ContainerStep(image(t, testbed.Busybox), "-c", "cat made")
	action.EntryPoint = "/bin/sh"
	if res := ok(t, r.Call(ctx, hook.RunContainerStep, action)); res.Stdout != "made\n" {
		t.Errorf("the action printed %q: %s", res.Stdout, res.Output())
	}
	ok(t, r.Cleanup(ctx))
	ok(t, r.Cleanup(ctx))
}
