package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// endFile ends the pod of a runner that looks for it.
const endFile = "/gantry-test/end"

// A runner whose pod is deleted in the middle of a job leaves nothing: everything belongs to its pod. One whose pod has
// ended but is still there leaves its job, which `gantry gc` of another runner removes.
func TestADeadRunnerLeavesNothing(t *testing.T) {
	alongside(t)
	for _, p := range places() {
		if p.mode == rbac.Pod { // in-pod, all but credentials is in the runner's pod
			t.Run(p.name, func(t *testing.T) { deadRunner(t, p) })
		}
	}
}

func deadRunner(t *testing.T, p place) {
	alongside(t)
	if kubetest.Inside() {
		if os.Getenv("COLLECT") == "" {
			ok(t, prepare(t.Context(), t, p.runner(t)))
			return
		}
		collect(t, p)
		return
	}
	c := kubetest.Open(t)
	r, env := p.pod(t)
	r.Enter(t, env...)
	if ofJobs(t, c, r) == "" {
		t.Fatal("there is no job")
	}
	start := time.Now()
	if err := c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Pod}}); err != nil {
		t.Fatal(err)
	}
	isClean(t, c, r)
	t.Logf("everything is gone %s after the runner's pod was deleted", time.Since(start).Round(time.Millisecond))

	r, env = p.pod(t, func(spec *kubetest.RunnerSpec) {
		spec.Namespace = r.Namespace
		change := spec.Change
		spec.Change = func(pod *corev1.Pod) {
			change(pod)
			pod.Spec.Containers[0].Command = []string{"sh", "-c", "while ! test -e " + endFile + "; do sleep 0.1; done"}
		}
	})
	r.Enter(t, env...)
	end, err := r.HostPath(endFile)
	if err == nil {
		err = os.WriteFile(end, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.AwaitPod(t, r.Namespace, r.Pod, "ended", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
	if ofJobs(t, c, r) == "" {
		t.Error("the job of a runner whose pod has ended is gone: then this tests nothing")
	}
	other, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.Namespace = r.Namespace })
	other.Enter(t, append(env, "COLLECT=1")...)
	isClean(t, c, r)
}

// collect runs `gantry gc`, as another runner than the one that has died, twice.
func collect(t *testing.T, p place) {
	r := p.runner(t)
	for i := range 2 {
		cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(envPrograms), "gantry"), "gc")
		cmd.Env = r.Client.Env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("gantry gc: %v\n%s", err, out)
		}
		if removed := strings.Contains(string(out), "removed"); removed != (i == 0) {
			t.Errorf("the run %d of gantry gc says\n%s", i+1, out)
		}
	}
}

// In the runner's own pod, the credentials of a job are in a secret that other runners may use, too. It goes with the last of them.
func TestCredentialsGoWithADeadRunner(t *testing.T) {
	alongside(t)
	p := places()[0]
	if kubetest.Inside() {
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)), services(t)...))
		return
	}
	c := kubetest.Open(t)
	r, env := p.pod(t)
	r.Enter(t, env...)
	lent := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: "gantry-pull"}}
	if err := c.Get(t.Context(), lent); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Pod}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Second); c.Get(t.Context(), lent) == nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the secret is still there, with owners %v", lent.OwnerReferences)
		}
	}
}
