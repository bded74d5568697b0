package kubeapi_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// await receives until a pod is in a phase; "" waits until it is gone.
func await(t *testing.T, updates <-chan kubeapi.Update, phase corev1.PodPhase) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case u, ok := <-updates:
			switch {
			case !ok || u.Err != nil:
				t.Fatalf("waiting for %q: it ended with %v", phase, u.Err)
			case u.Pod == nil && phase == "", u.Pod != nil && u.Pod.Status.Phase == phase:
				return
			}
		case <-deadline:
			t.Fatalf("never %q", phase)
		}
	}
}

func setPhase(s *kubefake.Server, name string, phase corev1.PodPhase) {
	s.Change(name, func(p *corev1.Pod) { p.Status.Phase = phase })
}

// However the API server treats those who watch, a pod's changes arrive.
func TestAPodIsFollowed(t *testing.T) {
	watches := func(r *http.Request) bool { return r.URL.Query().Get("watch") == "true" }
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"watching works": nil,
		"watching is forbidden": func(w http.ResponseWriter, r *http.Request) bool {
			if watches(r) {
				kubefake.Forbid(w, "watch", "pods")
			}
			return watches(r)
		},
		"watching is too old": func(w http.ResponseWriter, r *http.Request) bool {
			if watches(r) {
				fmt.Fprint(w, `{"type":"ERROR","object":{"kind":"Status","code":410}}`)
			}
			return watches(r)
		},
		"watching breaks off in the middle": func(w http.ResponseWriter, r *http.Request) bool {
			if watches(r) {
				fmt.Fprint(w, `{"type":"MODIFIED","object":{"metadata":{"na`)
			}
			return watches(r)
		},
		"the server fails now and then": everyOther(http.StatusServiceUnavailable),
	} {
		t.Run(name, func(t *testing.T) {
			s := kubefake.New(t)
			s.Before = before
			s.Put(pod("job"))
			c := client(t, s)
			updates := c.Follow(t.Context(), "job", "")
			for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodFailed} {
				go setPhase(s, "job", phase)
				await(t, updates, phase)
			}
			go func() { _ = c.DeletePod(context.WithoutCancel(t.Context()), "job", "", 0) }() // await sees whether it worked
			await(t, updates, "")
		})
	}
}

func everyOther(code int) func(http.ResponseWriter, *http.Request) bool {
	n := make(chan int, 1)
	n <- 0
	return func(w http.ResponseWriter, _ *http.Request) bool {
		i := <-n
		n <- i + 1
		if i%2 == 0 {
			http.Error(w, "no", code)
		}
		return i%2 == 0
	}
}

func TestAConnectionThatBreaksIsMadeAgain(t *testing.T) {
	s := kubefake.New(t)
	s.Put(pod("job"))
	updates := client(t, s).Follow(t.Context(), "job", "")
	for i := range 5 {
		phase := corev1.PodPhase(fmt.Sprint("phase ", i))
		go setPhase(s, "job", phase)
		await(t, updates, phase)
		s.HangUp()
	}
}

func TestAPodThatTookTheNameIsNotTheOneFollowed(t *testing.T) {
	s := kubefake.New(t)
	s.Put(pod("job"))
	uid := string(s.Pod("job").UID)
	updates := client(t, s).Follow(t.Context(), "job", uid)
	<-updates
	go s.Change("job", func(p *corev1.Pod) { p.UID = "" })
	await(t, updates, "")
}

func TestFollowingEndsWithItsContext(t *testing.T) {
	s := kubefake.New(t)
	s.Put(pod("job"))
	ctx, cancel := context.WithCancel(t.Context())
	updates := client(t, s).Follow(ctx, "job", "")
	<-updates
	cancel()
	select {
	case u, open := <-updates:
		if open {
			t.Errorf("got %+v", u)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
