package kube_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// sameLabels are those of two runners of one scale set whose short names are alike, and with them their state folders'.
func sameLabels(job string) map[string]string {
	return map[string]string{"io.gantry.job": job, "io.gantry.runner": "abcdef", "io.gantry.state": "012345", "io.gantry.role": "service"}
}

// crowd is a namespace with many runners.
type crowd struct {
	*testing.T
	server *kubefake.Server
}

func newCrowd(t *testing.T, runners ...string) *crowd {
	c := &crowd{t, kubefake.New(t)}
	c.server.Kubelet = func(pod *corev1.Pod) bool { return pod.Labels["io.gantry/job"] != "" && runs(pod) }
	for _, name := range runners {
		c.runner(name)
	}
	return c
}

func (c *crowd) runner(name string) {
	c.server.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "runner", Image: "r"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}})
}

// in is the driver in a runner's pod, "" outside of any.
func (c *crowd) in(pod string, labels map[string]string) *kube.Driver {
	c.Helper()
	place := c.server.Place()
	place.Pod = pod
	d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "pod", Volume: "none", AgentImage: "agent:1", Labels: labels}, Place: place,
		Work: fakeWork, AgentProgram: "/a"})
	if err != nil {
		c.Fatal(err)
	}
	return d
}

// start starts a job whose pod has two secrets.
func (c *crowd) start(d *kube.Driver, job string) {
	c.Helper()
	_, err := d.StartJob(c.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: job, Create: true}, Labels: sameLabels(job), Services: []engine.ContainerSpec{{
		Name: job + "-db", Title: "service db", Image: "registry.invalid/db:1", Labels: sameLabels(job), Env: map[string]string{"A": "b"},
		Credentials: &engine.Credentials{Username: "u", Password: "p"},
	}}}, c.Output())
	if err != nil {
		c.Fatal(err)
	}
}

// shows compares a list with the jobs that it is to have, each with a container and two secrets.
func (c *crowd) shows(d *kube.Driver, labels map[string]string, jobs ...string) engine.Inventory {
	c.Helper()
	inv, err := d.List(c.Context(), labels)
	if err != nil {
		c.Fatal(err)
	}
	var want, got []string
	for _, job := range jobs {
		want = append(want, "container "+job, "secret "+job, "secret "+job)
	}
	for _, container := range inv.Containers {
		got = append(got, "container "+container.Labels["io.gantry.job"])
	}
	for _, o := range inv.Others {
		got = append(got, o.Kind+" "+o.Labels["io.gantry.job"])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.Errorf("with the labels %v there are %q, want %q", labels, got, want)
	}
	return inv
}

// Labels do not tell runners of one namespace apart. What another runner's pod owns is not this one's to list, and so not
// to remove, at the end of a job (by the runner's label) or by `gantry gc` (by the state folder's); and nobody is asked for it.
func TestAnotherRunnersJobIsNotListed(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "one", "two")
	one, two := c.in("one", nil), c.in("two", nil)
	c.start(one, "j1")
	c.start(two, "j2")
	byRunner, byState := map[string]string{"io.gantry.runner": "abcdef"}, map[string]string{"io.gantry.state": "012345"}
	before := len(c.server.Requests())
	inv := c.shows(one, byRunner, "j1")
	asked := strings.Join(c.server.Requests()[before:], "\n")
	if strings.Contains(asked, "pods/two") {
		t.Errorf("a list asks about the other's pod:\n%s", asked)
	}
	c.shows(one, byState, "j1")
	c.shows(two, byState, "j2")
	if err := one.Remove(t.Context(), inv); err != nil {
		t.Error(err)
	}
	c.shows(one, byRunner)
	c.shows(two, byRunner, "j2")
	if orphans, err := one.Orphans(t.Context()); err != nil || orphans.Len() > 0 {
		t.Errorf("orphans: %+v, %v", orphans, err)
	}
}

// A list of everything is one: `gantry gc --all` asks for it by role.
func TestEverythingIsEverybodys(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "one", "two")
	c.start(c.in("one", nil), "j1")
	c.start(c.in("two", nil), "j2")
	inv, err := c.in("one", nil).List(t.Context(), map[string]string{"io.gantry.role": "service"})
	if err != nil || len(inv.Containers) != 2 {
		t.Errorf("containers %+v, %v", inv.Containers, err)
	}
	inv, err = c.in("one", nil).List(t.Context(), map[string]string{"io.gantry.role": "network"})
	if err != nil || len(inv.Others) != 4 {
		t.Errorf("secrets %+v, %v", inv.Others, err)
	}
}

// A runner in no pod goes by labels, and so do all where nobody owns an object. A runner whose pod was made anew, by the same
// name, removes what was left by the one before.
func TestWhatIsNoOtherRunnersIsListed(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"io.gantry.runner": "abcdef"}
	c := newCrowd(t, "one")
	c.start(c.in("", nil), "j0")
	c.start(c.in("one", nil), "j1")
	c.shows(c.in("", nil), labels, "j0", "j1")
	c.shows(c.in("one", nil), labels, "j0", "j1")
	deletePod(t, c.server, "one")
	c.runner("one")
	c.shows(c.in("one", nil), labels, "j0", "j1")
}

// What an administrator's labels are called is no way to lose a job.
func TestGantrysOwnLabelsStay(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, "one")
	d := c.in("one", map[string]string{"io.gantry/job": "build", "io.gantry/runner": "x", "io.gantry/job-name": "build", "runner-pod": "x"})
	c.start(d, "j1")
	c.shows(d, map[string]string{"io.gantry.job": "j1", "io.gantry.runner": "abcdef"}, "j1")
	for name, secret := range c.server.Secrets() {
		if l := secret.Labels; l["io.gantry/job-name"] != "build" || l["runner-pod"] != "one" {
			t.Errorf("secret %s: %v", name, l)
		}
	}
}
