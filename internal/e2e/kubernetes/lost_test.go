package kubernetes

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// A step whose pod is deleted, or whose container is killed because its memory is used up, fails within seconds, and says
// why and whose problem it is.
func TestAStepWhosePodGoesAwaySaysWhy(t *testing.T) {
	alongside(t)
	for _, p := range places() {
		if p.mode != rbac.Pod {
			continue // the runner's own pod would take the runner with it
		}
		t.Run(p.name, func(t *testing.T) {
			alongside(t)
			if p.outside(t) {
				return
			}
			r := p.runner(t)
			for what, seconds := range map[string]int64{"deleted at once": 0, "deleted as by kubectl": 30} {
				for kind, step := range map[string]func(*testing.T, *fakerunner.Runner, string) *fakerunner.Result{"script": scriptStep, "action": actionStep} {
					ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
					loses(t, r, step, kind+", pod "+what, "echo begun; sleep 60", func() { deleteJobPod(t, seconds) }, "gantry: infrastructure: ", "Killing: Stopping container")
				}
			}
			job := r.JobContainer(image(t, testbed.Busybox))
			job.CreateOptions = "--memory 48m"
			ok(t, r.Prepare(t.Context(), job, hook.Container{Image: image(t, testbed.Busybox), EntryPoint: "sleep", EntryPointArgs: []string{"1000"}}))
			loses(t, r, scriptStep, "out of memory", "echo begun; tail /dev/zero", func() {}, "gantry: workflow: ", "memory")
			// What files in memory take is no process's, so that the kernel kills the largest: the container's first.
			loses(t, r, scriptStep, "out of memory, agent and all", "echo begun; exec dd if=/dev/zero of=/dev/shm/x bs=64k", func() {},
				"gantry: workflow: ", "the job container was killed because its memory was used up")
			if said := ok(t, r.Cleanup(t.Context())).Output(); strings.Contains(said, "has failed") {
				t.Errorf("the service that the node ended with the job is said to have failed:\n%s", said)
			}
		})
	}
}

// deleteJobPod deletes the pod of the job, as somebody else in the cluster.
func deleteJobPod(t *testing.T, grace int64) {
	c, self := kubetest.Open(t), kubetest.Self(t)
	var pods corev1.PodList
	if err := c.List(t.Context(), self.Namespace, &pods); err != nil {
		t.Error(err)
	}
	for _, pod := range pods.Items {
		if pod.Labels["io.gantry/job"] == "" || pod.DeletionTimestamp != nil {
			continue
		}
		err := c.Request("DELETE", self.Namespace, &corev1.Pod{}).Name(pod.Name).Body(&metav1.DeleteOptions{GracePeriodSeconds: &grace}).Do(t.Context()).Error()
		if err != nil {
			t.Error(err)
		}
	}
}

// loses takes a step's container away from it once it has printed "begun".
func loses(t *testing.T, r *fakerunner.Runner, step func(*testing.T, *fakerunner.Runner, string) *fakerunner.Result, what, text string, fault func(), words ...string) {
	t.Helper()
	out := &notice{at: []byte("begun\n"), noticed: make(chan bool, 1)}
	r.Client.Stdout = out
	defer func() { r.Client.Stdout = nil }()
	lost := make(chan time.Time, 1)
	go func() {
		<-out.noticed
		fault()
		lost <- time.Now()
	}()
	res := step(t, r, text)
	took := time.Since(<-lost)
	if res.Err == nil || res.ExitCode == 0 {
		t.Errorf("%s: the step ended with %d (%v)", what, res.ExitCode, res.Err)
	}
	if took > 10*time.Second {
		t.Errorf("%s: it took %s until the step failed", what, took)
	}
	for _, word := range words {
		if !strings.Contains(res.Output(), word) {
			t.Errorf("%s: %q is not said", what, word)
		}
	}
	t.Logf("%s: the step failed after %s:\n%s", what, took.Round(time.Millisecond), res.Output())
}

// A service that crashes while the job runs is shown at its end, with what it had printed before: also where the node has started
// it again.
func TestAServiceThatCrashesLaterIsShownAtTheEnd(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if p.outside(t) {
			return
		}
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)), hook.Container{Image: image(t, testbed.Busybox), EntryPoint: "sh",
			EntryPointArgs: strings.Split(`-c "echo it begins; nc -l -p 7000 >/dev/null; echo it crashes; exit 3"`, " ")}))
		ok(t, scriptStep(t, r, "for i in $(seq 300); do if nc localhost 7000 </dev/null; then exit; fi; sleep 0.1; done; exit 1"))
		for end := time.Now().Add(30 * time.Second); !anyHasCrashed(t); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the service runs on")
			}
		}
		said := ok(t, r.Cleanup(t.Context())).Output()
		for _, words := range []string{"service ", "has failed; the end of its log:", "it begins\nit crashes\n"} {
			if !strings.Contains(said, words) {
				t.Errorf("%q is not said:\n%s", words, said)
			}
		}
	})
}

// anyHasCrashed tells that a container of the namespace has ended with status 3.
func anyHasCrashed(t *testing.T) bool {
	t.Helper()
	var pods corev1.PodList
	if err := kubetest.Open(t).List(t.Context(), kubetest.Self(t).Namespace, &pods); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
		all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
		return slices.ContainsFunc(all, func(s corev1.ContainerStatus) bool {
			return slices.ContainsFunc([]corev1.ContainerState{s.State, s.LastTerminationState}, func(state corev1.ContainerState) bool {
				return state.Terminated != nil && state.Terminated.ExitCode == 3
			})
		})
	})
}
