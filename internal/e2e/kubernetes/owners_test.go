package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// The runner of a scale set is not root, and most images are: what they leave in the work folder belongs to the runner
// afterwards. A folder that only is a volume's top is no reason to do anything. (Without a shared volume, the runner writes all
// files itself.)
func TestFilesOfRootBelongToTheRunnerAfterwards(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if p.volume == rbac.None {
			return
		}
		if !kubetest.Inside() {
			r, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.UID = 1001 })
			r.Enter(t, env...)
			return
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
		defer stop()
		r := p.runner(t)
		ok(t, r.Prepare(ctx, r.JobContainer(image(t, testbed.NonRoot))))
		start := time.Now()
		if res := ok(t, r.Cleanup(ctx)); strings.Contains(res.Output(), "belong") {
			t.Errorf("after a job that has left nothing: %s", res.Output())
		}
		t.Logf("clean-up took %s", time.Since(start))
		ok(t, r.Prepare(ctx, r.JobContainer(image(t, testbed.Alpine))))
		ok(t, r.RunScript(ctx, "mkdir -p deep/er; echo x >deep/er/file; chmod 700 deep"))
		ok(t, r.Cleanup(ctx))
		info, err := os.Stat(filepath.Join(r.Workspace, "deep/er/file"))
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
			t.Errorf("the file of root: %+v, %v", info, err)
		}
	})
}

// An image's user that is not the runner's writes to the workspace and to file commands, also where the job's pod may be on
// another node, so that its agent is reached at its address.
func TestAnotherUserWritesWhereTheSchedulerChoosesTheNode(t *testing.T) {
	alongside(t)
	p := places()[1]
	if !kubetest.Inside() {
		r, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.UID = 1001 })
		r.Enter(t, env...)
		return
	}
	r := p.runner(t, "GANTRY_KUBERNETES_USE_SCHEDULER=true")
	job := r.JobContainer(image(t, testbed.Alpine))
	job.CreateOptions = "--user 1234"
	ok(t, r.Prepare(t.Context(), job))
	ok(t, r.RunScript(t.Context(), "echo made=yes >>$GITHUB_OUTPUT; echo x >file"))
	if made, err := r.FileCommand("GITHUB_OUTPUT"); made != "made=yes\n" {
		t.Errorf("the step leaves %q (%v)", made, err)
	}
	ok(t, r.Cleanup(t.Context()))
}
