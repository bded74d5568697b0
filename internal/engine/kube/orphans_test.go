package kube_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// What jobs left is found when their runner's pod is gone, has been replaced, or has ended; nothing else is touched.
func TestOrphansOfDeadRunners(t *testing.T) {
	t.Parallel()
	s := kubefake.New(t)
	s.Kubelet = func(pod *corev1.Pod) bool { return len(pod.OwnerReferences) > 0 && runs(pod) }
	runner := func(name string, phase corev1.PodPhase) {
		s.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "runner", Image: "r"}}},
			Status: corev1.PodStatus{Phase: phase}})
	}
	open := func(pod string) *kube.Driver {
		place := s.Place()
		place.Pod = pod
		d, err := kube.New(kube.Options{Settings: kube.Settings{Mode: "pod", Volume: "none"}, Place: place, Work: fakeWork, AgentProgram: "/a"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, name := range []string{"alive", "gone", "replaced", "ended"} {
		runner(name, corev1.PodRunning)
		labels := map[string]string{"io.gantry.job": name}
		_, err := open(name).StartJob(t.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: name, Create: true}, Labels: labels, Services: []engine.ContainerSpec{{
			Name: name + "-db", Title: "service db", Image: "registry.invalid/db:1", Labels: labels, Env: map[string]string{"A": "b"},
		}}}, t.Output())
		if err != nil {
			t.Fatal(err)
		}
	}
	deletePod(t, s, "gone")
	deletePod(t, s, "replaced")
	runner("replaced", corev1.PodRunning)
	runner("ended", corev1.PodSucceeded)
	foreign := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "foreign", OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: "gone", UID: "x"}}}}
	s.Put(foreign)

	d := open("alive")
	inv, err := d.Orphans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range inv.Containers {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"ended-db", "gone-db", "replaced-db"}) || len(inv.Others) != 3 {
		t.Errorf("found %q and %d secrets", names, len(inv.Others))
	}
	if err := d.Remove(t.Context(), inv); err != nil {
		t.Error(err)
	}
	if left, err := d.Orphans(t.Context()); err != nil || len(left.Containers)+len(left.Others) > 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	if s.Pod("foreign") == nil || len(s.Secrets()) != 1 {
		t.Error("what is others' was removed")
	}
}
