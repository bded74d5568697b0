package kubeapi_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func client(t *testing.T, s *kubefake.Server) *kubeapi.Client {
	t.Helper()
	c, err := kubeapi.New(s.Place(), nil)
	if err != nil {
		t.Fatal(err)
	}
	kubeapi.Hurry(c, func(time.Duration) {})
	return c
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{kubeapi.NonceLabel: "n1"}}}
}

// A server that stumbles in any of these ways is asked again, and what was to be made is there once.
func TestWhatPassesIsTriedAgain(t *testing.T) {
	status := func(code int, header ...string) func(*kubefake.Server, http.ResponseWriter, *http.Request) {
		return func(_ *kubefake.Server, w http.ResponseWriter, _ *http.Request) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			http.Error(w, "no", code)
		}
	}
	for name, stumble := range map[string]func(*kubefake.Server, http.ResponseWriter, *http.Request){
		"too many requests": status(http.StatusTooManyRequests, "Retry-After", "1"),
		"internal error":    status(http.StatusInternalServerError),
		"bad gateway":       status(http.StatusBadGateway),
		"unavailable":       status(http.StatusServiceUnavailable),
		"gateway timeout":   status(http.StatusGatewayTimeout),
		"not ready yet": func(_ *kubefake.Server, w http.ResponseWriter, _ *http.Request) {
			kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "x" is forbidden: not yet ready to handle request`)
		},
		"hangs up": func(_ *kubefake.Server, w http.ResponseWriter, _ *http.Request) { hangUp(w) },
		"garbage": func(_ *kubefake.Server, w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"metadata":`)) // the test sees what comes of it
		},
		"does it, and hangs up": func(s *kubefake.Server, w http.ResponseWriter, _ *http.Request) {
			s.Put(pod("job"))
			hangUp(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubefake.New(t)
			var calls atomic.Int32
			s.Before = func(w http.ResponseWriter, r *http.Request) bool {
				stumbles := r.Method == http.MethodPost && calls.Add(1) <= 3
				if stumbles {
					stumble(s, w, r)
				}
				return stumbles
			}
			made, err := client(t, s).CreatePod(t.Context(), pod("job"))
			if err != nil || made.Name != "job" || s.Pod("job") == nil {
				t.Errorf("made %+v: %v", made, err)
			}
			if n := calls.Load(); n < 2 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset, where it can be had
	_ = conn.Close()
}

func TestTheServersWishForPatienceIsHeard(t *testing.T) {
	s := kubefake.New(t)
	first := true
	s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
		stumbles := first
		if first = false; stumbles {
			w.Header().Set("Retry-After", "7")
			http.Error(w, "slow down", http.StatusTooManyRequests)
		}
		return stumbles
	}
	s.Put(pod("job"))
	c := client(t, s)
	var pauses []time.Duration
	kubeapi.Hurry(c, func(d time.Duration) { pauses = append(pauses, d) })
	if _, err := c.Pod(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if len(pauses) != 1 || pauses[0] < 7*time.Second {
		t.Errorf("waited for %v", pauses)
	}
}

func TestPausesGrow(t *testing.T) {
	s := kubefake.New(t)
	s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return true
	}
	c := client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var pauses []time.Duration
	kubeapi.Hurry(c, func(d time.Duration) {
		if pauses = append(pauses, d); len(pauses) == 12 {
			cancel()
		}
	})
	_, err := c.Pod(ctx, "job")
	if v := verdict.Of(err); !errors.Is(err, context.Canceled) || !errors.Is(err, engine.ErrUnavailable) || v.Whose != verdict.Infrastructure || v.Hint == "" {
		t.Errorf("%v: %+v", err, v)
	}
	if len(pauses) != 12 || slices.Max(pauses) > 10*time.Second || pauses[11] < 2*time.Second || pauses[0] > time.Second {
		t.Errorf("waited for %v", pauses)
	}
}

func TestRefusalsAreNotTriedAgainAndSayWhoseTheyAre(t *testing.T) {
	forbidden := func(message string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, message)
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		cause  error
		whose  verdict.Whose
		hint   string
	}{
		"a missing permission": {func(w http.ResponseWriter) { kubefake.Forbid(w, "create", "pods") },
			kubeapi.ErrForbidden, verdict.Configuration, kubefake.Namespace},
		"a used up quota": {forbidden(`pods "job" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2`),
			kubeapi.ErrQuota, verdict.Infrastructure, "ResourceQuota"},
		"a quota that is not known yet": {forbidden(`pods "job" is forbidden: status unknown for quota: small`),
			kubeapi.ErrQuota, verdict.Infrastructure, "ResourceQuota"},
		"a quota that wants limits": {forbidden(`pods "job" is forbidden: failed quota: small: must specify limits.cpu for: job; limits.memory for: job`),
			kubeapi.ErrInvalid, verdict.Configuration, "limits.cpus"},
		"pod security": {forbidden(`pods "job" is forbidden: violates PodSecurity "restricted:latest": privileged`),
			kubeapi.ErrPodSecurity, verdict.Configuration, "root"},
		"a webhook": {forbidden(`admission webhook "policy.example" denied the request: no latest tags`),
			nil, verdict.Configuration, "admission"},
		"a namespace that is not there": {func(w http.ResponseWriter) {
			kubefake.Refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, `namespaces "runners" not found`)
		}, engine.ErrNotFound, verdict.Configuration, "ACTIONS_RUNNER_KUBERNETES_NAMESPACE"},
		"an expired token": {func(w http.ResponseWriter) {
			kubefake.Refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
		}, kubeapi.ErrForbidden, verdict.Configuration, "token"},
		"a pod that makes no sense": {func(w http.ResponseWriter) {
			kubefake.Refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, `Pod "job" is invalid: spec.containers: Required value`)
		}, kubeapi.ErrInvalid, verdict.Configuration, "template"},
		"somebody else's pod": {func(w http.ResponseWriter) {
			kubefake.Refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, `pods "job" already exists`)
		}, kubeapi.ErrConflict, verdict.Infrastructure, "names"},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubefake.New(t)
			posts := 0
			s.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					posts++
					c.answer(w)
				}
				return r.Method == http.MethodPost
			}
			_, err := client(t, s).CreatePod(t.Context(), pod("job"))
			v := verdict.Of(err)
			if err == nil || c.cause != nil && !errors.Is(err, c.cause) || v.Whose != c.whose || !strings.Contains(v.Hint, c.hint) || v.Output == "" {
				t.Errorf("%v: %+v", err, v)
			}
			if posts != 1 {
				t.Errorf("tried %d times", posts)
			}
		})
	}
}

func TestAPodOfTheSameNameThatIsNotOursIsNoSuccess(t *testing.T) {
	s := kubefake.New(t)
	other := pod("job")
	other.Labels = map[string]string{kubeapi.NonceLabel: "n2"}
	s.Put(other)
	if _, err := client(t, s).CreatePod(t.Context(), pod("job")); !errors.Is(err, kubeapi.ErrConflict) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsGoneIsDeleted(t *testing.T) {
	s := kubefake.New(t)
	s.Put(pod("job"))
	c := client(t, s)
	if err := c.DeletePod(t.Context(), "job", "another-uid", 0); err != nil || s.Pod("job") == nil {
		t.Errorf("a pod that took its place was deleted (%v)", err)
	}
	for range 2 {
		if err := errors.Join(c.DeletePod(t.Context(), "job", "", 0), c.DeleteSecret(t.Context(), "none", "")); err != nil {
			t.Error(err)
		}
	}
}

func TestNobodyThereIsUnavailable(t *testing.T) {
	place := &kubeapi.Place{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Namespace: "x", Source: "the test"}
	c, err := kubeapi.New(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = c.Version(ctx)
	if v := verdict.Of(err); !errors.Is(err, engine.ErrUnavailable) || v.Whose != verdict.Infrastructure || !strings.Contains(v.Hint, "127.0.0.1:1") {
		t.Errorf("%v: %+v", err, v)
	}
}

func TestAccessReviews(t *testing.T) {
	s := kubefake.New(t)
	s.Allowed = func(verb, resource string) bool { return verb == "patch" && resource == "pods/ephemeralcontainers" }
	c := client(t, s)
	for access, want := range map[kubeapi.Access]bool{
		{Verb: "patch", Resource: "pods/ephemeralcontainers"}: true,
		{Verb: "create", Resource: "pods"}:                    false,
	} {
		if got, err := c.May(t.Context(), access); err != nil || got != want {
			t.Errorf("%s: %t, %v", access, got, err)
		}
	}
}

// A server that has just been started does not know the cluster's rules for a moment: what it has allowed before is asked
// again.
func TestWhatWasAllowedBeforeIsAskedAgain(t *testing.T) {
	s := kubefake.New(t)
	s.Put(pod("job"))
	var forgets atomic.Int32
	s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
		if forgets.Add(-1) < 0 {
			return false
		}
		kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "job" is forbidden: User "runner" cannot get resource "pods"`)
		return true
	}
	c := client(t, s)
	forgets.Store(1)
	if _, err := c.Pod(t.Context(), "job"); !errors.Is(err, kubeapi.ErrForbidden) {
		t.Errorf("what was never allowed: %v", err)
	}
	forgets.Store(0)
	if _, err := c.Pod(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	forgets.Store(3)
	if _, err := c.Pod(t.Context(), "job"); err != nil {
		t.Errorf("what was allowed before: %v", err)
	}
}

// A namespace that is missing, or wrong, looks like one that is forbidden to an account of another one.
func TestAForbiddenNamespaceMayBeTheWrongOne(t *testing.T) {
	s := kubefake.New(t)
	s.Before = func(w http.ResponseWriter, _ *http.Request) bool {
		kubefake.Forbid(w, "get", "pods")
		return true
	}
	place := s.Place()
	place.Home = "elsewhere"
	c, err := kubeapi.New(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Pod(t.Context(), "job")
	for _, word := range []string{"is the namespace " + kubefake.Namespace + " there", "ACTIONS_RUNNER_KUBERNETES_NAMESPACE", "elsewhere", "verbs: [get]"} {
		if hint := verdict.Of(err).Hint; !strings.Contains(hint, word) {
			t.Errorf("%q is not in %q", word, hint)
		}
	}
}
