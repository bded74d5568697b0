package kube_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// These tests are about how long something waits for room in the cluster, and what it says.

// A quota that is used up is waited for, and told.
func TestAQuotaIsWaitedFor(t *testing.T) {
	t.Parallel()
	full := make(chan bool, 1)
	full <- true
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = runs
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/pods") {
				return false
			}
			select {
			case <-full:
				kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=9, limited: pods=9`)
				return true
			default:
				return false
			}
		}
	})
	if _, err := f.StartJob(t.Context(), f.job(), &f.log); err != nil || !strings.Contains(f.log.String(), "exceeded quota: small") {
		t.Errorf("%v\n%s", err, f.log.String())
	}
}

func TestAQuotaIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			pods := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/pods")
			if pods {
				kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "x" is forbidden: exceeded quota: small`)
			}
			return pods
		}
	})
	spec := f.job()
	spec.Timeouts.Schedule = time.Second
	_, err := f.StartJob(t.Context(), spec, &f.log)
	if v := verdict.Of(err); !errors.Is(err, kubeapi.ErrQuota) || v.Whose != verdict.Infrastructure || !strings.Contains(v.Hint, "ResourceQuota") || !strings.Contains(err.Error(), "timeouts.schedule") {
		t.Errorf("%v: %+v", err, v)
	}
}

// unschedulable is a cluster whose nodes have no room.
func unschedulable(s *kubefake.Server) {
	s.Kubelet = func(pod *corev1.Pod) bool {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available: 3 Insufficient cpu.",
		}}
		return true
	}
}

// waitsForANode starts something for which there is no node, and has two seconds.
func (f *faked) waitsForANode(run func() error) {
	f.Helper()
	start := time.Now()
	err := run()
	v := verdict.Of(err)
	if err == nil || v.Whose != verdict.Infrastructure || !strings.Contains(err.Error(), "Insufficient cpu") || !strings.Contains(v.Hint, "timeouts.schedule") {
		f.Errorf("%v: %+v", err, v)
	}
	if took := time.Since(start); took < 2*time.Second || took > 10*time.Second {
		f.Errorf("it took %s", took)
	}
	if !strings.Contains(f.log.String(), "3 Insufficient cpu") {
		f.Errorf("the log does not tell: %s", f.log.String())
	}
}

// A pod for which there is no node waits as long as it may, and no shorter because its start may take less; the reason is
// told at once.
func TestAPodWithoutANodeWaits(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, unschedulable)
	spec := f.job()
	spec.Timeouts.Schedule, spec.Timeouts.Start = 2*time.Second, time.Millisecond
	f.waitsForANode(func() error {
		_, err := f.StartJob(t.Context(), spec, &f.log)
		return err
	})
}

// So does the pod of a container action in a job without one.
func TestAStepWithoutANodeWaits(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none", Step: engine.Timeouts{Schedule: 2 * time.Second, Start: time.Millisecond}}, unschedulable)
	spec := f.job().Services[0]
	f.waitsForANode(func() error {
		c, err := f.StartStep(t.Context(), spec, "", &f.log)
		if err == nil {
			<-c.Gone
			err = c.Err()
		}
		return err
	})
}

// A pod that its node refuses each time is not made for ever.
func TestAPodThatItsNodeAlwaysRefuses(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "OutOfcpu", "Node didn't have enough resource: cpu"
			return true
		}
	})
	spec := f.job()
	spec.Timeouts.Schedule = 2 * time.Second
	start := time.Now()
	_, err := f.StartJob(t.Context(), spec, &f.log)
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Infrastructure || !strings.Contains(err.Error(), "timeouts.schedule") || !strings.Contains(err.Error(), "OutOfcpu") {
		t.Errorf("%v: %+v", err, v)
	}
	if took := time.Since(start); took < 2*time.Second || took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// What no node will ever give fails at once, however long a pod may wait.
func TestWhatCannotBeScheduledFailsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			pod.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: `0/1 nodes are available: persistentvolumeclaim "work" not found.`,
			}}
			return true
		}
	})
	spec := f.job()
	spec.Timeouts.Schedule = time.Hour
	start := time.Now()
	_, err := f.StartJob(t.Context(), spec, &f.log)
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "ACTIONS_RUNNER_CLAIM_NAME") || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s: %+v", err, time.Since(start), v)
	}
}

// An image that a step cannot get is not waited for for ever.
func TestAStepsImageThatDoesNotCome(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none", Step: engine.Timeouts{Start: time.Second}}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			pod.Spec.NodeName = "node1"
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason: "ErrImagePull", Message: "dial tcp 10.0.0.1:443: connect: connection refused"}}}}
			return true
		}
	})
	spec := f.job().Services[0]
	spec.PullTimeout = time.Second
	c, err := f.StartStep(t.Context(), spec, "", &f.log)
	if err == nil {
		<-c.Gone
		err = c.Err()
	}
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Infrastructure || !strings.Contains(err.Error(), "timeouts.pull and timeouts.start") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v: %+v", err, v)
	}
}

// An image may take minutes to come. A step's container is there for its caller, who does not wait for long, when it runs.
func TestAStepIsThereWhenItsContainerRuns(t *testing.T) {
	t.Parallel()
	made := make(chan string, 1)
	state := func(pod *corev1.Pod, s corev1.ContainerState) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", State: s}}
	}
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			pod.Spec.NodeName = "node1"
			state(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
			made <- pod.Name
			return true
		}
	})
	there := make(chan error, 1)
	go func() {
		_, err := f.StartStep(t.Context(), f.job().Services[0], "", &f.log)
		there <- err
	}()
	name := <-made
	select {
	case err := <-there:
		t.Fatalf("the image is still being pulled, and the step is there: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	f.server.Change(name, func(pod *corev1.Pod) { state(pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}) })
	if err := <-there; err != nil {
		t.Error(err)
	}
}
