package kubernetes

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// The doctor's job leaves nothing but names in the runner's pod: the next job is served there as if there had been none. Nobody has
// to say that the engine is Kubernetes.
// (What the doctor finds in each mode is for TestDocumentedScaleSets.)
func TestAJobAfterTheDoctors(t *testing.T) {
	alongside(t)
	p := place{"in-pod", kubetest.OwnVolume, rbac.InPod, ""}
	if !kubetest.Inside() {
		r, env := p.pod(t)
		agent := filepath.Join(os.Getenv(envPrograms), "gantry-agent")
		r.Enter(t, append(env, envImage+"="+kubetest.Open(t).ImageWith(t, agent, agent))...)
		return
	}
	p.mode = rbac.Auto
	r := p.runner(t, "GANTRY_ENGINE=auto", "GANTRY_KUBERNETES_AGENT_IMAGE="+os.Getenv(envImage))
	ephemeral(t, r)
	for code, f := range examine(t, r) {
		if f.Status == doctor.Fail || strings.HasPrefix(code, "G50") && code != "G501" && f.Status != doctor.OK {
			t.Errorf("%s: %+v", code, f)
		}
	}
	left, err := filepath.Glob(filepath.Join(r.Work, ".gantry*"))
	if err != nil || len(left) > 0 {
		t.Errorf("in the work folder: %v, %v", left, err)
	}
	res := ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Alpine))))
	if !strings.Contains(res.Output(), "mode in-pod") {
		t.Errorf("the next job: %s", res.Output())
	}
	ok(t, r.Cleanup(t.Context()))
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
