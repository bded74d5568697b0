package kube_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// These tests are about how the agent comes into a pod that shares nothing with the runner.

const bringsAgent = "gantry-agent"

// agentFails starts a job's services, and shows what the node says of the container beside them that brings the agent.
func agentFails(t *testing.T, said corev1.ContainerState, change func(*corev1.Pod)) (*faked, error) {
	f := agentSays(t, said, change)
	_, err := f.StartJob(t.Context(), f.job(), &f.log)
	return f, err
}

func agentSays(t *testing.T, said corev1.ContainerState, change func(*corev1.Pod)) *faked {
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			runs(pod)
			for i := range pod.Status.ContainerStatuses {
				if s := &pod.Status.ContainerStatuses[i]; s.Name == bringsAgent {
					s.State = said
				}
			}
			change(pod)
			return true
		}
	})
	return f
}

func waitsWith(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// The agent comes first, and at once: containers are started in their order, each when the one before is ready.
func TestTheAgentComesBesideTheJob(t *testing.T) {
	t.Parallel()
	var made *corev1.Pod
	_, err := agentFails(t, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}, func(pod *corev1.Pod) { made = pod })
	if err != nil {
		t.Fatal(err)
	}
	first := made.Spec.Containers[0]
	if first.Name != bringsAgent || len(made.Spec.InitContainers) > 0 || first.Lifecycle.PostStart.Exec == nil {
		t.Errorf("%+v after %+v", first, made.Spec.InitContainers)
	}
}

// Where it cannot come at once, the pod is made again, and waits for it.
func TestAnAgentThatIsLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]corev1.ContainerState{
		"pull":   waitsWith("ErrImagePull", "dial tcp 10.0.0.1:443: connect: connection refused"),
		"killed": {Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last *corev1.Pod
			f, err := agentFails(t, said, func(pod *corev1.Pod) { last = pod })
			if err != nil {
				t.Fatalf("%v\n%s", err, f.log.String())
			}
			if init := last.Spec.InitContainers; len(init) != 1 || init[0].Name != bringsAgent || len(last.Spec.Containers) != 1 {
				t.Errorf("the pod has %+v before %+v", init, last.Spec.Containers)
			}
			if !strings.Contains(f.log.String(), "the agent did not come at once") {
				t.Errorf("the log does not tell: %s", f.log.String())
			}
			if inv, err := f.List(t.Context(), map[string]string{"io.gantry.job": "j1"}); err != nil || len(inv.Containers) != 1 {
				t.Errorf("there are %+v (%v)", inv, err)
			}
		})
	}
}

// The job's container has nothing to begin with then, whatever the node's runtime calls that.
func TestAJobThatBeganWithoutItsAgentBeginsAgain(t *testing.T) {
	t.Parallel()
	f := agentSays(t, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}, func(pod *corev1.Pod) {
		if pod.Spec.InitContainers[0].Name == bringsAgent {
			return
		}
		for i := range pod.Status.ContainerStatuses {
			if s := &pod.Status.ContainerStatuses[i]; s.Name == "job" {
				s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "it would not"}}
			}
		}
	})
	spec := f.wholeJob()
	if _, err := f.StartJob(t.Context(), spec, &f.log); err != nil || !strings.Contains(f.log.String(), "the agent did not come at once") {
		t.Errorf("%v\n%s", err, f.log.String())
	}
}

// What keeps it away for good is told as such.
func TestAnAgentThatNeverComes(t *testing.T) {
	t.Parallel()
	said := waitsWith("ErrImagePull", "agent:1: not found")
	f, err := agentFails(t, said, func(pod *corev1.Pod) {
		if len(pod.Spec.InitContainers) > 0 {
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: bringsAgent, State: said}}
			pod.Status.ContainerStatuses = nil
		}
	})
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "kubernetes.agent_image") {
		t.Errorf("%v: %+v\n%s", err, v, f.log.String())
	}
}
