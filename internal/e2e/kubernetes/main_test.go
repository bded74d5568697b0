// Package kubernetes tests the built programs as the runner uses them, in the runner's own pod of a real cluster.
package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

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

func TestMain(m *testing.M) {
	if os.Getenv(envPrograms) != "" || os.Getenv(testbed.EnvKubernetes) == "" {
		os.Exit(m.Run())
	}
	status, err := builtprograms.Around(func(dir string) int {
		os.Setenv(envPrograms, dir)
		return m.Run()
	}, "../../..", append(os.Environ(), "GOFLAGS=-tags=failpoint"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// place is where jobs' containers live, and the runner for that.
type place struct {
	name         string
	work         kubetest.Work
	mode, volume string
}

func places() []place {
	return []place{
		{"in-pod", kubetest.OwnVolume, rbac.InPod, ""},
		{"pod, shared volume", kubetest.SharedClaim, rbac.Pod, rbac.Shared},
		{"pod, no volume", kubetest.NoVolume, rbac.Pod, rbac.None},
	}
}

// everywhere runs a test for every place: first outside, where it starts a runner's pod and enters it, then in there. No
// other test runs meanwhile.
func everywhere(t *testing.T, test func(t *testing.T, p place)) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) { test(t, p) })
	}
}

// sideBySide does that for all places at once, beside other tests: for those that break nothing which others use, and
// measure nothing. They mostly wait.
func sideBySide(t *testing.T, test func(t *testing.T, p place)) {
	alongside(t)
	everywhere(t, func(t *testing.T, p place) {
		alongside(t)
		test(t, p)
	})
}

// alongside has a test run beside others. In a runner's pod there is only one.
func alongside(t *testing.T) {
	if !kubetest.Inside() {
		t.Parallel()
	}
}

// outside tells that this is not the runner's pod, in which the test goes on under the Role that `gantry rbac` prints.
func (p place) outside(t *testing.T) bool {
	t.Helper()
	if kubetest.Inside() {
		return false
	}
	r, env := p.pod(t)
	r.Enter(t, env...)
	return true
}

// pod starts a runner's pod. The environment is what a test in it needs.
func (p place) pod(t *testing.T, change ...func(*kubetest.RunnerSpec)) (*kubetest.Runner, []string) {
	t.Helper()
	c := kubetest.Open(t)
	c.Registries(t)
	programs := os.Getenv(envPrograms)
	spec := kubetest.RunnerSpec{
		Work: p.work, Copy: []string{programs}, Rules: policy(rbac.Rules(rbac.Need{Mode: p.mode, Volume: p.volume})),
		Change: func(pod *corev1.Pod) {
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "gantry-pull"}}
		},
	}
	for _, c := range change {
		c(&spec)
	}
	env := []string{envPrograms + "=" + programs}
	if p.volume == rbac.None {
		agent := filepath.Join(programs, "gantry-agent")
		env = append(env, envImage+"="+c.ImageWith(t, agent, agent))
	}
	return c.Runner(t, spec), env
}

func policy(rules []rbac.Rule) (all []rbacv1.PolicyRule) {
	for _, r := range rules {
		all = append(all, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}, Verbs: r.Verbs})
	}
	return all
}

// runner lays out a runner's folders in this pod. env is further environment of its hook.
func (p place) runner(t *testing.T, env ...string) *fakerunner.Runner {
	t.Helper()
	root := filepath.Dir(kubetest.Self(t).Work)
	all := append(os.Environ(), "GANTRY_ENGINE=kubernetes", "GANTRY_STATE_DIR="+stateDir(root), "GANTRY_KUBERNETES_MODE="+p.mode)
	if p.volume != "" {
		all = append(all, "GANTRY_KUBERNETES_VOLUME="+p.volume, "GANTRY_KUBERNETES_AGENT_IMAGE="+os.Getenv(envImage))
	}
	r, err := fakerunner.New(root, filepath.Join(os.Getenv(envPrograms), "hook.sh"), append(all, env...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func stateDir(root string) string { return filepath.Join(root, "state") }

// image is one of the test images, by a name under which the runner can ask for it too.
func image(t *testing.T, name string) string {
	t.Helper()
	return testbed.Kubernetes(t).Registry.Addr + "/" + name
}

// ok fails the test if a call failed, and returns its result.
func ok(t *testing.T, res *fakerunner.Result) *fakerunner.Result {
	t.Helper()
	if res.Err != nil {
		t.Fatalf("%v\n%s", res.Err, res.Output())
	}
	return res
}
