// Package kubefake is a small API server in memory, for tests of what stands above kubeapi: pods with ephemeral
// containers, secrets, events, logs, access reviews and watches over real HTTP. A Kubelet, a Go function, plays the node. It
// can be told to fail, to hang up and to forget.
package kubefake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

// Namespace is the only one there is.
const Namespace = "runners"

// Server is an API server. Set its fields before its first use.
type Server struct {
	// Kubelet is called, one at a time, after every change of a pod by a client, with a copy that it may change: what it
	// returns true for becomes the pod's state.
	Kubelet func(pod *corev1.Pod) bool
	// Admit, if not nil, changes a pod that a client makes.
	Admit func(pod *corev1.Pod)
	// Before, if it returns true, has answered a request in the server's place.
	Before func(w http.ResponseWriter, r *http.Request) bool
	// Logs gives what a container has printed.
	Logs func(pod, container string) string
	// Allowed answers access reviews; nil: everything is.
	Allowed func(verb, resource string) bool

	http *httptest.Server

	mu       sync.Mutex
	version  int
	pods     map[string]*corev1.Pod
	secrets  map[string]*corev1.Secret
	events   []corev1.Event
	watchers map[chan event]string // to the pod's name
	requests []string
}

type event struct {
	Type   string      `json:"type"`
	Object *corev1.Pod `json:"object"`
}

// New starts a server; it ends with the test.
func New(t testing.TB) *Server {
	s := &Server{pods: map[string]*corev1.Pod{}, secrets: map[string]*corev1.Secret{}, watchers: map[chan event]string{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Place is where clients find it.
func (s *Server) Place() *kubeapi.Place {
	return &kubeapi.Place{Config: &rest.Config{Host: s.http.URL}, Namespace: Namespace, Source: "the test"}
}

// Requests are the calls so far, as "METHOD /path".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// HangUp closes every connection.
func (s *Server) HangUp() { s.http.CloseClientConnections() }

// Put makes or replaces a pod as the cluster itself would.
func (s *Server) Put(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(pod.DeepCopy())
}

// Pod is a copy of a pod, nil if it is not there.
func (s *Server) Pod(name string) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[name].DeepCopy()
}

// Secrets are copies of all secrets, by name.
func (s *Server) Secrets() map[string]*corev1.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*corev1.Secret{}
	for name, secret := range s.secrets {
		all[name] = secret.DeepCopy()
	}
	return all
}

// Change changes a pod that is there.
func (s *Server) Change(name string, change func(*corev1.Pod)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := s.pods[name].DeepCopy()
	change(pod)
	s.store(pod)
}

// Note adds an event about a pod.
func (s *Server) Note(pod, reason, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod, UID: s.pods[pod].UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.Now(),
	})
}

// store keeps a pod under a new version and tells the watchers.
func (s *Server) store(pod *corev1.Pod) {
	kind := "MODIFIED"
	if s.pods[pod.Name] == nil {
		kind = "ADDED"
	}
	s.stamp(&pod.ObjectMeta)
	s.pods[pod.Name] = pod
	s.tell(kind, pod)
}

func (s *Server) stamp(meta *metav1.ObjectMeta) {
	s.version++
	meta.Namespace, meta.ResourceVersion = Namespace, fmt.Sprint(s.version)
	if meta.UID == "" {
		meta.UID = types.UID(fmt.Sprint("uid-", s.version))
		meta.CreationTimestamp = metav1.Now()
	}
}

func (s *Server) tell(kind string, pod *corev1.Pod) {
	for watcher, name := range s.watchers {
		if name == pod.Name {
			watcher <- event{kind, pod.DeepCopy()}
		}
	}
}

// ServeHTTP is the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.Before != nil && s.Before(w, r) {
		return
	}
	path := strings.Trim(r.URL.Path, "/")
	switch {
	case path == "version":
		answer(w, http.StatusOK, map[string]string{"gitVersion": "v1.36.3"})
	case strings.HasSuffix(path, "/selfsubjectaccessreviews"):
		s.review(w, r)
	case strings.HasPrefix(path, "api/v1/namespaces/"+Namespace+"/"):
		s.object(w, r, strings.Split(strings.TrimPrefix(path, "api/v1/namespaces/"+Namespace+"/"), "/"))
	default:
		Refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("namespaces %q not found", strings.Split(path, "/")[min(3, len(strings.Split(path, "/"))-1)]))
	}
}

func (s *Server) object(w http.ResponseWriter, r *http.Request, words []string) {
	resource, name, sub := words[0], "", ""
	if len(words) > 1 {
		name = words[1]
	}
	if len(words) > 2 {
		sub = words[2]
	}
	switch {
	case resource == "events":
		s.listEvents(w, r)
	case resource == "secrets":
		s.secret(w, r, name)
	case sub == "log":
		s.log(w, r, name)
	case sub == "ephemeralcontainers":
		s.addEphemeral(w, r, name)
	case r.URL.Query().Get("watch") == "true":
		s.watch(w, r)
	default:
		s.pod(w, r, name)
	}
}

// Refuse answers with a Status, as the API server does.
func Refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Message: message, Reason: reason, Code: int32(code),
	})
}

// Forbid answers as the authorizer does.
func Forbid(w http.ResponseWriter, verb, resource string) {
	Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf(
		`%s is forbidden: User "system:serviceaccount:%s:runner" cannot %s resource %q in API group "" in the namespace %q`,
		resource, Namespace, verb, resource, Namespace))
}

func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text) // the client may be gone
}

func decode[T any](w http.ResponseWriter, r *http.Request) (*T, bool) {
	value := new(T)
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, value)
	}
	if err != nil {
		Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return nil, false
	}
	return value, true
}

func selected(r *http.Request, has map[string]string) bool {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	return err == nil && selector.Matches(labels.Set(has))
}
