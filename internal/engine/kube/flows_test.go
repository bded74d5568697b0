package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// These tests show a cluster that misbehaves in ways that a real one cannot be made to on demand.

const fakeWork = "/home/runner/_work"

// faked is a driver in front of an API server in memory.
type faked struct {
	*testing.T
	*kube.Driver
	server *kubefake.Server
	log    safeLog
}

// safeLog may be read while others write.
type safeLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newFaked(t *testing.T, settings kube.Settings, prepare func(*kubefake.Server)) *faked {
	t.Helper()
	f := &faked{T: t, server: kubefake.New(t)}
	prepare(f.server)
	place := f.server.Place()
	settings.AgentImage = "agent:1"
	d, err := kube.New(kube.Options{Settings: settings, Place: place, Work: fakeWork, AgentProgram: "/opt/gantry-agent"})
	if err != nil {
		t.Fatal(err)
	}
	f.Driver = d
	return f
}

func (f *faked) job(options ...string) engine.JobSpec {
	labels := map[string]string{"io.gantry.job": "j1", "io.gantry.runner": "r1"}
	return engine.JobSpec{
		Network: engine.NetworkSpec{Name: "gantry-j1", Create: true}, Labels: labels,
		Services: []engine.ContainerSpec{{
			Name: "gantry-j1-db", Title: "service db", Image: "registry.invalid/db:1", Labels: labels, Aliases: []string{"db"},
			Env: map[string]string{"PASSWORD": "secret"}, Options: options,
		}},
		Timeouts: engine.Timeouts{Pull: 20 * time.Second, Start: 20 * time.Second, Health: 20 * time.Second},
	}
}

// wholeJob has a job container, too.
func (f *faked) wholeJob(options ...string) engine.JobSpec {
	spec := f.job(options...)
	spec.Container = &engine.ContainerSpec{
		Name: "gantry-j1-job", Title: "job container", Image: "registry.invalid/node:1", Labels: spec.Labels,
		Entrypoint: agent.MountPoint + "/" + agent.BinaryName, Args: []string{"serve"},
		Mounts: []engine.Mount{{Source: fakeWork, Target: "/__w"}, {Source: fakeWork + "/_temp/.gantry/j1/s", Target: agent.MountPoint}},
	}
	return spec
}

// runs makes all containers of a pod run.
func runs(pod *corev1.Pod) bool {
	pod.Spec.NodeName, pod.Status.Phase, pod.Status.PodIP = "node1", corev1.PodRunning, "10.0.0.7"
	pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses = nil, nil
	for _, c := range pod.Spec.InitContainers {
		s := running(c.Name)
		if c.RestartPolicy == nil {
			s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
		}
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, s)
	}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, running(c.Name))
	}
	return true
}

func running(container string) corev1.ContainerStatus {
	yes := true
	return corev1.ContainerStatus{
		Name: container, ContainerID: "containerd://" + container, Started: &yes, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}
}

// A pod that its node refuses is made again, until it finds room.
func TestAPodThatItsNodeRefusesIsMadeAgain(t *testing.T) {
	t.Parallel()
	refusals := 2
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			if refusals > 0 {
				refusals--
				pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "OutOfcpu", "Node didn't have enough resource: cpu"
				return true
			}
			return runs(pod)
		}
	})
	job, err := f.StartJob(t.Context(), f.job(), &f.log)
	if err != nil || f.server.Pod(job.Network) == nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	if !strings.Contains(f.log.String(), "OutOfcpu") {
		t.Errorf("the log does not tell: %s", f.log.String())
	}
	inv, err := f.List(t.Context(), map[string]string{"io.gantry.job": "j1"})
	if err != nil || len(inv.Containers) != 1 {
		t.Errorf("there are %+v (%v)", inv, err)
	}
}

// What the cluster only notes as an event is told, and is in the error when the time is over.
func TestAVolumeThatCannotBeMountedIsTold(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			pod.Spec.NodeName = "node1"
			go s.Note(pod.Name, "FailedMount", `MountVolume.SetUp failed for volume "cache": secret "s" not found`)
			return true
		}
	})
	spec := f.job()
	spec.Timeouts = engine.Timeouts{Pull: time.Second, Start: 2 * time.Second}
	_, err := f.StartJob(t.Context(), spec, &f.log)
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || !strings.Contains(err.Error(), `secret "s" not found`) {
		t.Errorf("%v: %+v", err, v)
	}
	if !strings.Contains(f.log.String(), "FailedMount") {
		t.Errorf("the log does not tell: %s", f.log.String())
	}
}

// A pod that is deleted while its job starts fails it at once.
func TestAPodThatIsDeletedFailsItsJob(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool {
			go deletePod(t, s, pod.Name)
			return false
		}
	})
	start := time.Now()
	_, err := f.StartJob(t.Context(), f.job(), &f.log)
	if v := verdict.Of(err); !errors.Is(err, engine.ErrNotFound) || v.Whose != verdict.Infrastructure || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s: %+v", err, time.Since(start), v)
	}
}

func deletePod(t *testing.T, s *kubefake.Server, name string) {
	c, err := kubeapi.New(s.Place(), nil)
	if err == nil {
		err = c.DeletePod(context.WithoutCancel(t.Context()), name, "", 0)
	}
	if err != nil {
		t.Error(err)
	}
}

// The connection may break at any time while a job starts and is removed: there is one pod, then none, and no secret.
func TestABrokenConnectionLeavesOnePodOrNone(t *testing.T) {
	t.Parallel()
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			n := 0
			var mu sync.Mutex
			f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
				s.Kubelet = runs
				s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
					mu.Lock()
					defer mu.Unlock()
					n++
					if (n*2654435761+seed*40503)>>7%5 == 0 {
						panic(http.ErrAbortHandler) // the connection ends without an answer
					}
					return false
				}
			})
			job, err := f.StartJob(t.Context(), f.job(), &f.log)
			if err != nil {
				t.Fatalf("%v\n%s", err, f.log.String())
			}
			if len(f.server.Secrets()) != 1 || f.server.Pod(job.Network) == nil {
				t.Errorf("there are %d secrets", len(f.server.Secrets()))
			}
			inv, err := f.List(t.Context(), map[string]string{"io.gantry.runner": "r1"})
			if err != nil || len(inv.Containers) != 1 || len(inv.Others) != 1 {
				t.Fatalf("listed %+v (%v)", inv, err)
			}
			for range 2 {
				if err := f.Remove(t.Context(), inv); err != nil {
					t.Error(err)
				}
			}
			if f.server.Pod(job.Network) != nil || len(f.server.Secrets()) > 0 {
				t.Error("something is left")
			}
		})
	}
}

// The pod carries who made it, so that the cluster removes it with its runner; its secret is another object.
func TestWhatIsMadeBelongsToTheRunner(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none", Labels: map[string]string{"io.gantry/repository": "a-b"}}, func(s *kubefake.Server) {
		s.Kubelet = func(pod *corev1.Pod) bool { return pod.Name != "runner-1" && runs(pod) }
		s.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "runner-1", UID: "u1"}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "runner", Image: "runner:1"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "own"}, {Name: "gantry-pull"}},
		}})
	})
	place := f.server.Place()
	place.Pod = "runner-1"
	d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "pod", Volume: "none", Labels: map[string]string{"io.gantry/repository": "a-b"}}, Place: place, Work: fakeWork, AgentProgram: "/opt/gantry-agent"})
	if err != nil {
		t.Fatal(err)
	}
	spec := f.job()
	spec.Services[0].Credentials = &engine.Credentials{Username: "u", Password: "p"}
	job, err := d.StartJob(t.Context(), spec, &f.log)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	pod := f.server.Pod(job.Network)
	objects := []metav1.ObjectMeta{pod.ObjectMeta}
	for _, s := range f.server.Secrets() {
		objects = append(objects, s.ObjectMeta)
	}
	if len(objects) != 3 {
		t.Errorf("%d objects, want the pod and two secrets", len(objects))
	}
	for _, o := range objects {
		if len(o.OwnerReferences) != 1 || o.OwnerReferences[0].UID != "u1" || o.Labels["runner-pod"] != "runner-1" || o.Labels["io.gantry/job"] != "j1" {
			t.Errorf("%s: %+v %v", o.Name, o.OwnerReferences, o.Labels)
		}
	}
	if pod.Labels["io.gantry/repository"] != "a-b" || pod.Spec.Containers[0].Image != "runner:1" {
		t.Errorf("%v, agent from %q", pod.Labels, pod.Spec.Containers[0].Image)
	}
	if names := pod.Spec.ImagePullSecrets; len(names) != 2 || names[0].Name != "own" {
		t.Errorf("pull secrets %v", names)
	}
	if text, err := json.Marshal(pod); err != nil || strings.Contains(string(text), `"secret"`) && strings.Contains(string(text), `"value":"secret"`) {
		t.Errorf("the pod shows the password: %s %v", text, err)
	}
}

// Credentials of several jobs share a secret in the runner's namespace, and each job takes its own back.
func TestCredentialsAreLentAndTakenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(filepath.Join(work, "_temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := kubefake.New(t)
	s.Kubelet = func(pod *corev1.Pod) bool {
		pod.Status.EphemeralContainerStatuses = nil
		for _, c := range pod.Spec.EphemeralContainers {
			pod.Status.EphemeralContainerStatuses = append(pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{
				Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
		}
		return true
	}
	drivers := map[string]*kube.Driver{}
	for _, runner := range []string{"a", "b"} {
		s.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: runner}, Spec: corev1.PodSpec{
			Volumes:          []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Containers:       []corev1.Container{{Name: "runner", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: work}}}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "gantry-pull"}},
		}})
		place := s.Place()
		place.Pod = runner
		d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "in-pod"}, Place: place, Work: work, AgentProgram: "/bin/true"})
		if err != nil {
			t.Fatal(err)
		}
		drivers[runner] = d
	}
	spec := func(job, image string) engine.JobSpec {
		labels := map[string]string{"io.gantry.job": job}
		return engine.JobSpec{Network: engine.NetworkSpec{Name: job, Create: true}, Labels: labels, Services: []engine.ContainerSpec{{
			Name: job + "-svc", Title: "service x", Image: image, Labels: labels, Credentials: &engine.Credentials{Username: job, Password: "p"},
		}}}
	}
	var wg sync.WaitGroup
	for job, runner := range map[string]string{"j1": "a", "j2": "b"} {
		wg.Go(func() {
			if _, err := drivers[runner].StartJob(t.Context(), spec(job, "registry.invalid/"+job+":1"), io.Discard); err != nil {
				t.Errorf("%s: %v", job, err)
			}
		})
	}
	wg.Wait()
	lent := func() string { return string(s.Secrets()["gantry-pull"].Data[corev1.DockerConfigJsonKey]) }
	if !strings.Contains(lent(), "registry.invalid/j1") || !strings.Contains(lent(), "registry.invalid/j2") {
		t.Errorf("lent: %s", lent())
	}
	inv, err := drivers["a"].List(t.Context(), map[string]string{"io.gantry.job": "j1"})
	if err != nil || !slices.ContainsFunc(inv.Others, func(o engine.Object) bool { return o.ID == "j1" }) {
		t.Fatalf("listed %+v (%v)", inv, err)
	}
	inv.Containers = nil
	for range 2 {
		if err := drivers["a"].Remove(t.Context(), inv); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(lent(), "registry.invalid/j1") || !strings.Contains(lent(), "registry.invalid/j2") {
		t.Errorf("after the end of one: %s", lent())
	}
}

// Without a secret to lend them through, in-pod mode says what the runner's pod has to name.
func TestCredentialsNeedASecretThatThePodNames(t *testing.T) {
	t.Parallel()
	work := filepath.Join(t.TempDir(), "work")
	if err := os.MkdirAll(filepath.Join(work, "_temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := newFaked(t, kube.Settings{Mode: "in-pod"}, func(s *kubefake.Server) {
		s.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Containers: []corev1.Container{{Name: "runner", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: work}}}},
		}})
	})
	place := f.server.Place()
	place.Pod = "a"
	d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "in-pod"}, Place: place, Work: work, AgentProgram: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	spec := f.job()
	spec.Services[0].Credentials = &engine.Credentials{Username: "u", Password: "p"}
	_, err = d.StartJob(t.Context(), spec, &f.log)
	if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "imagePullSecrets") {
		t.Errorf("%v: %+v", err, v)
	}
}

// An ephemeral container that has ended by itself is there until its folder is removed, as clean-up does, and then never again.
func TestAContainerThatHasEndedIsRemovedOnce(t *testing.T) {
	folder := t.TempDir()
	f := newFaked(t, kube.Settings{Mode: "in-pod"}, func(s *kubefake.Server) {
		c := corev1.EphemeralContainer{}
		c.Name = "gantry-1-job"
		c.Env = []corev1.EnvVar{{Name: "GANTRY_LABELS", Value: fmt.Sprintf(`{"name":"x","labels":{"io.gantry.job":"j1"},"folder":%q}`, folder)}}
		s.Put(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{c}, Containers: []corev1.Container{{Name: "runner"}}},
			Status: corev1.PodStatus{EphemeralContainerStatuses: []corev1.ContainerStatus{{
				Name: "gantry-1-job", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}},
			}}},
		})
	})
	place := f.server.Place()
	place.Pod = "a"
	d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "in-pod"}, Place: place, Work: fakeWork, AgentProgram: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		inv, err := d.List(t.Context(), map[string]string{"io.gantry.job": "j1"})
		if err != nil || len(inv.Containers) != want {
			t.Errorf("listed %+v (%v), want %d", inv, err, want)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
	}
}
