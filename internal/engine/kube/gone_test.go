package kube_test

import (
	"errors"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Who looks for a container whose pod was taken away learns what the cluster has noted about that.
func TestAContainerWhosePodIsGoneSaysWhatTheClusterNoted(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) { s.Kubelet = runs })
	job, err := f.StartJob(t.Context(), f.job(), &f.log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Inspect(t.Context(), job.Network+"/nobody"); !errors.Is(err, engine.ErrNotFound) || errors.Is(err, engine.ErrTaken) {
		t.Errorf("a container that never was: %v", err)
	}
	f.server.Note(job.Network, "Evicted", "The node was low on resource: memory.")
	deletePod(t, f.server, job.Network)
	_, err = f.Inspect(t.Context(), job.Services[0].ID)
	v := verdict.Of(err)
	if !errors.Is(err, engine.ErrNotFound) || !errors.Is(err, engine.ErrTaken) || v.Whose != verdict.Infrastructure ||
		!strings.Contains(err.Error(), "Evicted: The node was low on resource") {
		t.Errorf("%v: %+v", err, v)
	}
}

// What is worse because a permission is missing that gantry can do without is told, with what to add to the Role.
func TestWhatIsWorseWithoutAPermissionIsTold(t *testing.T) {
	t.Parallel()
	f := newFaked(t, kube.Settings{Mode: "pod", Volume: "none"}, func(s *kubefake.Server) {
		s.Kubelet = func(*corev1.Pod) bool { return false }
		s.Before = func(w http.ResponseWriter, r *http.Request) bool {
			watches, events := r.URL.Query().Get("watch") != "", path.Base(r.URL.Path) == "events"
			if watches || events {
				kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `User "runner" cannot do that to the resource in API group ""`)
			}
			return watches || events
		}
	})
	spec := f.job()
	spec.Timeouts.Schedule = 3 * time.Second
	go func() {
		time.Sleep(500 * time.Millisecond)
		f.server.Change(firstPod(t, f.server), func(pod *corev1.Pod) {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no cpu"}}
		})
	}()
	if _, err := f.StartJob(t.Context(), spec, &f.log); err == nil {
		t.Error("it has started")
	}
	for _, word := range []string{"resources: [pods]\n  verbs: [watch]", "resources: [events]\n  verbs: [list]"} {
		if strings.Count(f.log.String(), word) != 1 {
			t.Errorf("%q is not told once:\n%s", word, f.log.String())
		}
	}
}

// firstPod waits for a pod, and gives its name.
func firstPod(t *testing.T, s *kubefake.Server) string {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, r := range s.Requests() {
			if method, where, _ := strings.Cut(r, " "); method == http.MethodGet && path.Base(path.Dir(where)) == "pods" {
				return path.Base(where)
			}
		}
	}
	t.Error("no pod was made")
	return ""
}
