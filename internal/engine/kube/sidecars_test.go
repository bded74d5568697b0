package kube_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/podspec/template"
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

// drop has the API server leave out what it does not know.
func drop(s *kubefake.Server) {
	s.Admit = func(pod *corev1.Pod) {
		for i := range pod.Spec.InitContainers {
			pod.Spec.InitContainers[i].RestartPolicy = nil
		}
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
	reject := func(s *kubefake.Server) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if err != nil || r.Method != http.MethodPost || !bytes.Contains(body, []byte(`"restartPolicy":"Always"`)) {
				return false
			}
			kubefake.Refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "spec.initContainers[0].startupProbe: Forbidden: may not be set")
			return true
		}
	}
	for name, f := range map[string]*faked{
		"the API server drops what it does not know":        ownPod(t, runs, drop),
		"the API server does not accept probes of the rest": ownPod(t, runs, reject),
		"the kubelet refuses the pod":                       ownPod(t, refuse),
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

// What a template adds cannot be had otherwise.
func TestSideCarsOfATemplateNeedACluster(t *testing.T) {
	t.Parallel()
	parsed, problems := template.Parse("t.yaml", []byte("spec: {initContainers: [{name: mesh, image: mesh:1, restartPolicy: Always}]}"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, cluster := range map[string]func(*kubefake.Server){
		"the kubelet": func(s *kubefake.Server) {
			s.Kubelet = func(pod *corev1.Pod) bool {
				pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "InitContainerRestartPolicyForbidden"
				return true
			}
		},
		"the API server": drop,
	} {
		f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none", Template: parsed}, cluster)
		_, err := f.StartJob(t.Context(), f.wholeJob(), &f.log)
		if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "template") {
			t.Errorf("%s: %v: %+v\n%s", name, err, v, f.log.String())
		}
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

// The node ends side-cars when the job's container has ended. That is no failure of theirs.
func TestAServiceThatEndsWithTheJobHasNotFailed(t *testing.T) {
	t.Parallel()
	f := ownPod(t, runs, func(s *kubefake.Server) {
		s.Allowed = func(verb, resource string) bool { return resource != "pods/exec" } // so that it has a probe
	})
	job, err := f.StartJob(t.Context(), f.wholeJob("--health-cmd", "true"), &f.log)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	for _, first := range []string{"db", "job"} {
		f.server.Change(job.Network, func(pod *corev1.Pod) {
			runs(pod)
			end := metav1.Now()
			for _, name := range []string{first, map[string]string{"db": "job", "job": "db"}[first]} {
				for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
					for i := range all {
						if all[i].Name == name {
							all[i].State, all[i].Started = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, FinishedAt: end}}, new(bool)
						}
					}
				}
				end.Time = end.Add(2 * time.Second)
			}
		})
		status, err := f.Inspect(t.Context(), job.Services[0].ID)
		if failed := !status.Running || status.Health == "unhealthy"; err != nil || failed != (first == "db") {
			t.Errorf("first the %s: %+v (%v)", first, status, err)
		}
	}
}

// Where gantry may run programs, and cannot, the pod is made again for the node to check.
func TestTheNodeChecksServicesWhereExecFails(t *testing.T) {
	t.Parallel()
	f := ownPod(t, runs, func(s *kubefake.Server) {
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/exec") {
				return false
			}
			kubefake.Forbid(w, "create", "pods/exec")
			return true
		}
	})
	job, err := f.StartJob(t.Context(), f.wholeJob("--health-cmd", "true"), &f.log)
	if err != nil || !strings.Contains(f.log.String(), "cannot check the health") {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	if c := sideCarOf(f.server.Pod(job.Network)); c == nil || c.StartupProbe == nil {
		t.Errorf("side-car %+v", c)
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
