package kubernetes

import (
	"os"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// Two runners of a namespace that nothing but their pods tells apart, neither the runner's name nor the path of its state, do
// not remove each other's jobs: not before a job, and not after it.
func TestRunnersOfTheSameNameLeaveEachOthersJobsAlone(t *testing.T) {
	alongside(t)
	p := place{"pod, no volume", kubetest.NoVolume, rbac.Pod, rbac.None}
	if kubetest.Inside() {
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
		if os.Getenv("STAY") == "" {
			ok(t, r.Cleanup(t.Context()))
		}
		return
	}
	c := kubetest.Open(t)
	one, env := p.pod(t)
	one.Enter(t, append(env, "STAY=1")...)
	before := ofJobs(t, c, one)
	two, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.Namespace = one.Namespace })
	two.Enter(t, env...)
	after := ofJobs(t, c, one)
	for end := time.Now().Add(30 * time.Second); after != before && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		after = ofJobs(t, c, one) // its own pod is still on its way out
	}
	if before == "" || after != before {
		t.Errorf("there was %q, and there is %q", before, after)
	}
}
