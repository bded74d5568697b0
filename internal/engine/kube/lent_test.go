package kube_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// lenders is a namespace of runners in whose pods jobs run, and whose pods name one secret for credentials. Their Role is that
// of in-pod mode: nobody may list pods.
type lenders struct {
	*testing.T
	server *kubefake.Server
	work   string
	hides  atomic.Bool // the pod "hidden" from everybody
}

const lentName = "gantry-pull-team"

func newLenders(t *testing.T, runners ...string) *lenders {
	l := &lenders{T: t, server: kubefake.New(t), work: filepath.Join(t.TempDir(), "work")}
	if err := os.MkdirAll(filepath.Join(l.work, "_temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.server.Kubelet = func(pod *corev1.Pod) bool {
		pod.Status.EphemeralContainerStatuses = nil
		for _, c := range pod.Spec.EphemeralContainers {
			pod.Status.EphemeralContainerStatuses = append(pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{
				Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
		}
		return true
	}
	l.server.Before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/pods") && r.URL.Query().Get("watch") == "":
			kubefake.Forbid(w, "list", "pods")
		case l.hides.Load() && strings.HasSuffix(r.URL.Path, "/pods/hidden"):
			kubefake.Forbid(w, "get", "pods")
		default:
			return false
		}
		return true
	}
	for _, name := range runners {
		l.runner(name)
	}
	return l
}

func (l *lenders) runner(name string) {
	l.server.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + rand.Text())}, Spec: corev1.PodSpec{
		Volumes:          []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers:       []corev1.Container{{Name: "runner", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: l.work}}}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: lentName}},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
}

// in is the driver in a runner's pod, "" outside of any.
func (l *lenders) in(pod string) *kube.Driver {
	l.Helper()
	place := l.server.Place()
	place.Pod = pod
	d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "auto"}, Place: place, Work: l.work, AgentProgram: "/bin/true"})
	if err != nil {
		l.Fatal(err)
	}
	return d
}

// start starts a job that pulls with an account of its own.
func (l *lenders) start(pod, job string) {
	l.Helper()
	_, err := l.in(pod).StartJob(l.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: job, Create: true}, Labels: sameLabels(job), Services: []engine.ContainerSpec{{
		Name: job + "-svc", Title: "service x", Image: "registry.invalid/" + job + ":1", Labels: sameLabels(job),
		Credentials: &engine.Credentials{Username: job, Password: "p"},
	}}}, io.Discard)
	if err != nil {
		l.Fatal(err)
	}
}

// holds compares the accounts in the secret with the jobs that they are to be of.
func (l *lenders) holds(jobs ...string) {
	l.Helper()
	data := string(l.server.Secrets()[lentName].Data[corev1.DockerConfigJsonKey])
	if n := strings.Count(data, `"username"`); n != len(jobs) {
		l.Errorf("%d accounts, want %q: %s", n, jobs, data)
	}
	for _, job := range jobs {
		if !strings.Contains(data, "registry.invalid/"+job) {
			l.Errorf("the account of %s is not in %s", job, data)
		}
	}
}

func ids(all []engine.Object) (ids []string) {
	for _, o := range all {
		ids = append(ids, o.Kind+" "+o.ID)
	}
	slices.Sort(ids)
	return ids
}

// Credentials of another runner's job are not listed, whatever its labels are.
func TestAnotherRunnersCredentialsAreNotListed(t *testing.T) {
	t.Parallel()
	l := newLenders(t, "one", "two")
	l.start("one", "j1")
	l.start("two", "j2")
	l.holds("j1", "j2")
	for _, labels := range []map[string]string{{"io.gantry.runner": "abcdef"}, {"io.gantry.state": "012345"}} {
		inv, err := l.in("one").List(t.Context(), labels)
		if got := ids(inv.Others); err != nil || !slices.Equal(got, []string{"credentials j1"}) {
			t.Errorf("%v: %q, %v", labels, got, err)
		}
	}
}

// `gantry gc` finds the credentials that dead runners have left under the Role of in-pod mode, whatever the secret is called.
func TestCredentialsOfDeadRunnersAreFound(t *testing.T) {
	t.Parallel()
	l := newLenders(t, "alive", "gone", "replaced", "ended")
	for _, name := range []string{"alive", "gone", "replaced", "ended"} {
		l.start(name, "job-"+name)
	}
	deletePod(t, l.server, "gone")
	deletePod(t, l.server, "replaced")
	l.runner("replaced")
	l.server.Change("ended", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed })
	for _, place := range []string{"alive", ""} {
		inv, err := l.in(place).Orphans(t.Context())
		want := []string{"credentials job-ended", "credentials job-gone", "credentials job-replaced"}
		if got := ids(inv.Others); err != nil || !slices.Equal(got, want) || len(inv.Containers) > 0 {
			t.Fatalf("found %q and %+v, %v", got, inv.Containers, err)
		}
		if place == "" {
			if err := l.in("alive").Remove(t.Context(), inv); err != nil {
				t.Error(err)
			}
		}
	}
	l.holds("job-alive")
}

// Without anybody's `gantry gc`, the next job that lends takes the credentials of dead runners out.
func TestTheNextJobTakesCredentialsOfTheDeadOut(t *testing.T) {
	t.Parallel()
	l := newLenders(t, "alive", "gone", "next")
	l.start("alive", "j1")
	l.start("gone", "j2")
	deletePod(t, l.server, "gone")
	l.start("next", "j3")
	l.holds("j1", "j3")
}

// The pod of another runner that cannot be read is no dead one.
func TestWhatCannotBeKnownStaysLent(t *testing.T) {
	t.Parallel()
	l := newLenders(t, "hidden", "next")
	l.start("hidden", "j1")
	l.hides.Store(true)
	start := time.Now()
	l.start("next", "j2")
	l.holds("j1", "j2")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the job has waited %s to know", took)
	}
}

// The secret goes with the last of the runners that have credentials in it, unless it is somebody else's, too.
func TestLentCredentialsGoWithTheirRunners(t *testing.T) {
	t.Parallel()
	l := newLenders(t, "one", "two", "three")
	owners := func() (names []string) {
		for _, o := range l.server.Secrets()[lentName].OwnerReferences {
			names = append(names, o.Kind+" "+o.Name)
		}
		return names
	}
	l.start("one", "j1")
	l.start("two", "j2")
	if got := owners(); !slices.Equal(got, []string{"Pod one", "Pod two"}) {
		t.Errorf("owners %q", got)
	}
	api, err := kubeapi.New(l.server.Place(), nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := api.Secret(t.Context(), lentName)
	if err != nil {
		t.Fatal(err)
	}
	secret.Data[corev1.DockerConfigJsonKey] = []byte(strings.Replace(string(secret.Data[corev1.DockerConfigJsonKey]), `"auths":{`, `"auths":{"registry.example.com":{"username":"ours","password":"p"},`, 1))
	if err := api.UpdateSecret(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	l.start("three", "j3")
	if got := owners(); len(got) > 0 {
		t.Errorf("with somebody else's account in it: owners %q", got)
	}
}
