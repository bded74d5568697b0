package podclient

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// cluster is an API server that knows pods of one namespace. A pod that is deleted is there for one more look.
type cluster struct {
	mu      sync.Mutex
	pods    []corev1.Pod
	deleted []string
	refuse  string // what it says to everything, if not ""
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.TrimPrefix(strings.TrimPrefix(req.URL.Path, "/api/v1/namespaces/ns/pods"), "/")
	i := slices.IndexFunc(c.pods, func(p corev1.Pod) bool { return p.Name == name })
	switch {
	case c.refuse != "":
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{Message: c.refuse})
	case req.Method == http.MethodPost:
		var pod corev1.Pod
		_ = json.NewDecoder(req.Body).Decode(&pod)
		pod.Status.Phase = corev1.PodRunning
		c.pods = append(c.pods, pod)
		_ = json.NewEncoder(w).Encode(pod)
	case name == "":
		_ = json.NewEncoder(w).Encode(corev1.PodList{Items: c.pods})
	case i < 0:
		w.WriteHeader(http.StatusNotFound)
	case req.Method == http.MethodDelete:
		c.deleted = append(c.deleted, name)
		_ = json.NewEncoder(w).Encode(c.pods[i])
	default:
		_ = json.NewEncoder(w).Encode(c.pods[i])
		if slices.Contains(c.deleted, name) {
			c.pods = slices.Delete(c.pods, i, i+1)
		}
	}
}

// client is one of a pod named "runner" in that cluster.
func (c *cluster) client(t *testing.T, environ ...string) (*Client, error) {
	t.Helper()
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	account := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string][]byte{"ca.crt": ca, "token": []byte("token"), "namespace": []byte("ns\n")} {
		if err := os.WriteFile(filepath.Join(account, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	environ = append([]string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port, "HOSTNAME=runner"}, environ...)
	return Find(t.Context(), Options{Environ: environ, Account: account})
}

// good is a client that was found.
func (c *cluster) good(t *testing.T, environ ...string) *Client {
	t.Helper()
	found, err := c.client(t, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func pod(name string, containers ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": name}}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: c, Image: "image:" + c, Env: []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "S", ValueFrom: &corev1.EnvVarSource{}}},
		})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c, ContainerID: "containerd://0123-" + name + "-" + c, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	}
	return p
}

// runnersPod has two containers that were added to it, of which one has ended.
func runnersPod() corev1.Pod {
	p := pod("runner", "runner")
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for _, name := range []string{"added", "ended", "waiting", "new"} {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}})
	}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{
		{Name: "added", State: running}, {Name: "waiting", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}},
		{Name: "ended", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
	}
	return p
}

func TestOnlyARunnersPodCanTell(t *testing.T) {
	if _, err := Find(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "in a runner's pod") {
		t.Errorf("outside of a pod: %v", err)
	}
	if _, err := (&cluster{pods: []corev1.Pod{pod("another", "x")}}).client(t); err == nil || !strings.Contains(err.Error(), "ACTIONS_RUNNER_POD_NAME") {
		t.Errorf("in a pod of another name: %v", err)
	}
	if _, err := (&cluster{refuse: "pods is forbidden"}).client(t); err == nil || !strings.Contains(err.Error(), "pods is forbidden") {
		t.Errorf("without the right to list pods: %v", err)
	}
}

func TestContainersAreThoseOfOtherPodsAndThoseAdded(t *testing.T) {
	job, always := pod("job", "job", "redis"), corev1.ContainerRestartPolicyAlways
	job.Spec.InitContainers = []corev1.Container{{Name: "prepares"}, {Name: "postgres", RestartPolicy: &always}}
	c := (&cluster{pods: []corev1.Pod{runnersPod(), job}}).good(t)
	all, err := c.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, one := range all {
		ids = append(ids, one.ID)
	}
	if want := []string{"runner/added", "runner/new", "job/job", "job/redis", "job/postgres"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
	if !slices.Equal(all[2].Env, []string{"A=b"}) || all[2].Labels["of"] != "job" {
		t.Errorf("%+v", all[2])
	}
}

// What has prepared a pod and ended well is over, as an init container is; in a pod that has ended as a whole, something is left.
func TestWhatHasPreparedAPodDoesNotCount(t *testing.T) {
	goesOn, ended := pod("job", "prepares", "job"), pod("left", "job")
	for p, phase := range map[*corev1.Pod]corev1.PodPhase{&goesOn: corev1.PodRunning, &ended: corev1.PodSucceeded} {
		p.Status.Phase = phase
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	}
	all, err := (&cluster{pods: []corev1.Pod{runnersPod(), goesOn, ended}}).good(t).Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, one := range all[2:] { // the first are in the runner's pod
		ids = append(ids, one.ID)
	}
	if want := []string{"job/job", "left/job"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
}

// Hooks call containers by different names.
func TestAContainerIsFoundByAnyOfItsNames(t *testing.T) {
	c := (&cluster{pods: []corev1.Pod{runnersPod(), pod("job", "job", "redis")}}).good(t)
	for name, image := range map[string]string{"job/redis": "image:redis", "0123-job-redis": "image:redis", "job": "image:job"} {
		facts, err := c.Inspect(t.Context(), name)
		if err != nil || facts.Image != image || !facts.Running {
			t.Errorf("%s: %+v, %v", name, facts, err)
		}
	}
	for _, gone := range []string{"job/x", "runner/ended", ""} {
		if there, err := c.Exists(t.Context(), "container", gone); there || err != nil {
			t.Errorf("%q is there: %v, %v", gone, there, err)
		}
	}
}

func TestPodsAreMadeAndRemoved(t *testing.T) {
	made := &cluster{pods: []corev1.Pod{runnersPod(), pod("job", "job", "redis")}}
	c := made.good(t)
	if err := c.Start(t.Context(), "foreign", "busybox"); err != nil {
		t.Fatal(err)
	}
	if env := made.pods[2].Spec.Containers[0].Env; len(env) != 1 || env[0].Name != conformance.TokenVariable {
		t.Errorf("a stranger's pod has %v", env)
	}
	if err := c.Kill(t.Context(), "nobody"); !errors.Is(err, errGone) {
		t.Errorf("killing what is not there: %v", err)
	}
	what := conformance.Inventory{Containers: []string{"job/job", "job/redis", "foreign", "gone/already"}}
	if err := c.Remove(t.Context(), what); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(t.Context(), "runner/added"); !errors.Is(err, conformance.ErrImpossible) {
		t.Errorf("a container of the runner's pod: %v", err)
	}
	if !slices.Equal(made.deleted, []string{"job", "foreign"}) {
		t.Errorf("%q were deleted", made.deleted)
	}
}

// The suite's images go to a registry that nodes know, and come from there.
func TestImagesArePublished(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	own, err := images.Serve("127.0.0.1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	image, err := (&images.Image{Architecture: "amd64", OS: "linux"}).With(images.File{Path: "a", Content: []byte("text"), Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	image.Config.Cmd = []string{"program"}
	if err := own.Add("conform/x", "1", image); err != nil {
		t.Fatal(err)
	}
	to := strings.TrimPrefix(server.URL, "http://") + "/prefix"
	c := &Client{opts: Options{Publish: to}}
	published, err := c.Publish(t.Context(), own.Addr+"/conform/x:1")
	if err != nil || published != to+"/conform/x:1" {
		t.Fatalf("%s, %v", published, err)
	}
	byDigest, err := c.Publish(t.Context(), own.Addr+"/conform/x@"+own.Digest("conform/x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{published, byDigest} {
		got, err := c.Image(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got.File("a"); err != nil || string(text) != "text" || !slices.Equal(got.Config.Cmd, image.Config.Cmd) {
			t.Errorf("%s has %q, %+v: %v", name, text, got.Config, err)
		}
	}
	if _, err := (&Client{}).Publish(t.Context(), own.Addr+"/conform/x:1"); err == nil {
		t.Error("published to nowhere")
	}
}

// What tells a hook that it is in a pod reaches it, although other variables of a runner do not.
func TestTheHookKnowsItsPod(t *testing.T) {
	c := (&cluster{pods: []corev1.Pod{runnersPod()}}).good(t, "ACTIONS_RUNNER_POD_NAME=runner", "ACTIONS_RUNNER_CLAIM_NAME=claim", "ACTIONS_X=y")
	kept, err := c.Open("", nil)
	if want := []string{"ACTIONS_RUNNER_POD_NAME=runner", "ACTIONS_RUNNER_CLAIM_NAME=claim"}; err != nil || !slices.Equal(kept, want) {
		t.Errorf("%q, %v", kept, err)
	}
}
