package kubernetes

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// A runner's pod in which nothing is missing passes, with a real job, under the Role that `gantry rbac` prints; the next job
// finds nothing of it.
func TestAPodThatIsWellPasses(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		if !kubetest.Inside() {
			r, env := p.pod(t)
			agent := filepath.Join(os.Getenv(envPrograms), "gantry-agent")
			r.Enter(t, append(env, envImage+"="+kubetest.Open(t).ImageWith(t, agent, agent))...)
			return
		}
		if p.mode == rbac.InPod {
			p.mode = rbac.Auto
		}
		r := p.runner(t, "GANTRY_KUBERNETES_AGENT_IMAGE="+os.Getenv(envImage))
		ephemeral(t, r)
		// The suite's pod asks for no resources, has its programs where everybody can write, and may have no volume.
		may := []string{"G133", "G135", "G202", "G204"}
		for code, f := range examine(t, r) {
			bad := f.Status == doctor.Fail || f.Status == doctor.Warn && !slices.Contains(may, code)
			if bad || strings.HasPrefix(code, "G50") && code != "G501" && f.Status != doctor.OK {
				t.Errorf("%s: %+v", code, f)
			}
		}
		left, err := filepath.Glob(filepath.Join(r.Work, ".gantry*"))
		if err != nil || len(left) > 0 {
			t.Errorf("in the work folder: %v, %v", left, err)
		}
		res := ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Alpine))))
		if want := map[string]string{"in-pod": "mode in-pod"}[p.name]; !strings.Contains(res.Output(), want) {
			t.Errorf("the next job: %s", res.Output())
		}
		ok(t, r.Cleanup(t.Context()))
	})
}

// ephemeral makes a runner one of a scale set's: with its externals, for one job.
func ephemeral(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	node := filepath.Join(r.Root, "externals/node20/bin")
	err := errors.Join(os.MkdirAll(node, 0o755), os.WriteFile(filepath.Join(node, "node"), nil, 0o755),
		os.WriteFile(filepath.Join(r.Root, ".runner"), []byte(`{"agentName": "r1", "ephemeral": true}`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// examine runs the built doctor as somebody in the pod would.
func examine(t *testing.T, r *fakerunner.Runner) map[string]doctor.Finding {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(envPrograms), "gantry"), "doctor", "--json", "--runner", r.Root)
	cmd.Env = append(r.Client.Env, "ACTIONS_RUNNER_CONTAINER_HOOKS="+r.Client.HookPath)
	text, err := cmd.Output()
	return findings(t, text, err)
}
