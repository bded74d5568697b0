package kube_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// sideCarOf is the side-car of a pod, nil if there is none.
func sideCarOf(pod *corev1.Pod) *corev1.Container {
	for i, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}

func ownPod(t *testing.T, kubelet func(*corev1.Pod) bool, more ...func(*kubefake.Server)) *faked {
	return newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = kubelet
		for _, change := range more {
			change(s)
		}
	})
}

// Services are native side-cars of the job's container. Without that there is nothing that they could stand beside.
func TestServicesAreSideCarsOfTheJob(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]func(*faked) engine.JobSpec{
		"with a job container": func(f *faked) engine.JobSpec { return f.wholeJob() },
		"services only":        func(f *faked) engine.JobSpec { return f.job() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := ownPod(t, runs)
			asked := spec(f)
			job, err := f.StartJob(t.Context(), asked, &f.log)
			if err != nil {
				t.Fatalf("%v\n%s", err, f.log.String())
			}
			c := sideCarOf(f.server.Pod(job.Network))
			if found := c != nil && c.Name == "db"; found != (asked.Container != nil) {
				t.Errorf("side-car %+v", c)
			}
		})
	}
}

// A cluster that is too old gets the services as ordinary containers: from there, they would never end.
func TestAClusterWithoutSideCarsGetsOrdinaryContainers(t *testing.T) {
	t.Parallel()
	refuse := func(pod *corev1.Pod) bool {
		if sideCarOf(pod) == nil {
			return runs(pod)
		}
		pod.Spec.NodeName, pod.Status.Phase, pod.Status.Reason = "node1", corev1.PodFailed, "InitContainerRestartPolicyForbidden"
		return true
	}
	drop := func(s *kubefake.Server) {
		s.Admit = func(pod *corev1.Pod) {
			for i := range pod.Spec.InitContainers {
				pod.Spec.InitContainers[i].RestartPolicy = nil
			}
		}
	}
	for name, f := range map[string]*faked{
		"the API server": ownPod(t, runs, drop),
		"the kubelet":    ownPod(t, refuse),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job, err := f.StartJob(t.Context(), f.wholeJob(), &f.log)
			if err != nil {
				t.Fatalf("%v\n%s", err, f.log.String())
			}
			pod := f.server.Pod(job.Network)
			if len(pod.Spec.InitContainers) > 0 || len(pod.Spec.Containers) != 3 {
				t.Errorf("%d containers before %d", len(pod.Spec.InitContainers), len(pod.Spec.Containers))
			}
			if !strings.Contains(f.log.String(), "the cluster knows no side-cars") {
				t.Errorf("the log does not tell: %s", f.log.String())
			}
			inv, err := f.List(t.Context(), map[string]string{"io.gantry.job": "j1"})
			if err != nil || len(inv.Containers) != 2 {
				t.Errorf("there are %+v (%v)", inv, err)
			}
		})
	}
}

// crashed has the node start a side-car again.
func crashed(pod *corev1.Pod) bool {
	runs(pod)
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		s.RestartCount = 1
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}
	}
	return true
}

// The node starts a side-car that crashes again. Its data are gone, so that the job is told of the crash.
func TestAServiceThatIsStartedAgainHasFailed(t *testing.T) {
	t.Parallel()
	f := ownPod(t, crashed)
	_, err := f.StartJob(t.Context(), f.wholeJob(), &f.log)
	if v := verdict.Of(err); !errors.Is(err, engine.ErrUnhealthy) || v.Whose != verdict.Workflow || !strings.Contains(err.Error(), "service db (registry.invalid/db:1) exited with status 3") {
		t.Errorf("%v: %+v\n%s", err, v, f.log.String())
	}

	f = ownPod(t, runs)
	job, err := f.StartJob(t.Context(), f.wholeJob(), &f.log)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	f.server.Change(job.Network, func(pod *corev1.Pod) { crashed(pod) })
	status, err := f.Inspect(t.Context(), job.Services[0].ID)
	if err != nil || status.Running || status.ExitCode != 3 {
		t.Errorf("%+v (%v)", status, err)
	}
}

// Where gantry may not run programs in pods, the node checks whether services are healthy.
func TestTheNodeChecksServicesWhereGantryMayNot(t *testing.T) {
	t.Parallel()
	f := ownPod(t, runs, func(s *kubefake.Server) {
		s.Allowed = func(verb, resource string) bool { return resource != "pods/exec" }
	})
	job, err := f.StartJob(t.Context(), f.wholeJob("--health-cmd", "true"), &f.log)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	if c := sideCarOf(f.server.Pod(job.Network)); c == nil || c.StartupProbe == nil {
		t.Errorf("side-car %+v", c)
	}
	if !strings.Contains(f.log.String(), "may not create pods/exec") || !strings.Contains(f.log.String(), "verbs: [create]") {
		t.Errorf("the log does not tell: %s", f.log.String())
	}
	status, err := f.Inspect(t.Context(), job.Services[0].ID)
	if err != nil || status.Health != "healthy" {
		t.Errorf("%+v (%v)", status, err)
	}
}
