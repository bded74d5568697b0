package kubefake

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	review, ok := decode[authorizationv1.SelfSubjectAccessReview](w, r)
	if !ok {
		return
	}
	a := review.Spec.ResourceAttributes
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	review.Status.Allowed = s.Allowed == nil || s.Allowed(a.Verb, resource)
	answer(w, http.StatusCreated, review)
}

func (s *Server) pod(w http.ResponseWriter, r *http.Request, name string) {
	switch r.Method {
	case http.MethodPost:
		s.createPod(w, r)
	case http.MethodDelete:
		s.deletePod(w, r, name)
	default:
		s.readPod(w, r, name)
	}
}

func (s *Server) readPod(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "" {
		if pod := s.pods[name]; pod != nil {
			answer(w, http.StatusOK, pod)
			return
		}
		missing(w, "pods", name)
		return
	}
	list := corev1.PodList{}
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		if pod := s.pods[name]; selected(r, pod.Labels) {
			list.Items = append(list.Items, *pod)
		}
	}
	answer(w, http.StatusOK, list)
}

func missing(w http.ResponseWriter, resource, name string) {
	Refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", resource, name))
}

func exists(w http.ResponseWriter, resource, name string) {
	Refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", resource, name))
}

func (s *Server) createPod(w http.ResponseWriter, r *http.Request) {
	pod, ok := decode[corev1.Pod](w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	if s.pods[pod.Name] != nil {
		s.mu.Unlock()
		exists(w, "pods", pod.Name)
		return
	}
	pod.Status.Phase = corev1.PodPending
	if s.Admit != nil {
		s.Admit(pod)
	}
	s.store(pod)
	answer(w, http.StatusCreated, pod)
	s.mu.Unlock()
	s.act(pod.Name)
}

// act lets the kubelet see a pod.
func (s *Server) act(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := s.pods[name].DeepCopy()
	if s.Kubelet != nil && pod != nil && s.Kubelet(pod) {
		s.store(pod)
	}
}

func (s *Server) deletePod(w http.ResponseWriter, r *http.Request, name string) {
	options, ok := decode[metav1.DeleteOptions](w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := s.pods[name]
	if pod == nil {
		missing(w, "pods", name)
		return
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != pod.UID {
		Refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "the UID in the precondition does not match")
		return
	}
	delete(s.pods, name)
	s.tell("DELETED", pod)
	answer(w, http.StatusOK, pod)
}

// addEphemeral merges as the server does: by name, and what is there stays.
func (s *Server) addEphemeral(w http.ResponseWriter, r *http.Request, name string) {
	patch, ok := decode[corev1.Pod](w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	pod := s.pods[name].DeepCopy()
	if pod == nil {
		s.mu.Unlock()
		missing(w, "pods", name)
		return
	}
	for _, add := range patch.Spec.EphemeralContainers {
		if !slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == add.Name }) {
			pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, add)
		}
	}
	s.store(pod)
	answer(w, http.StatusOK, pod)
	s.mu.Unlock()
	s.act(name)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	events := make(chan event, 1000)
	s.mu.Lock()
	s.watchers[events] = name
	if pod := s.pods[name]; pod == nil {
		events <- event{"DELETED", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}}
	} else if pod.ResourceVersion != r.URL.Query().Get("resourceVersion") {
		events <- event{"MODIFIED", pod.DeepCopy()}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, events)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := json.NewEncoder(w)
	for {
		w.(http.Flusher).Flush()
		select {
		case e := <-events:
			if out.Encode(e) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) secret(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.secrets[name]
	switch {
	case r.Method == http.MethodPost, r.Method == http.MethodPut:
		s.writeSecret(w, r)
	case name == "":
		list := corev1.SecretList{}
		for _, secret := range s.secrets {
			if selected(r, secret.Labels) {
				list.Items = append(list.Items, *secret)
			}
		}
		answer(w, http.StatusOK, list)
	case there == nil:
		missing(w, "secrets", name)
	case r.Method == http.MethodDelete:
		delete(s.secrets, name)
		answer(w, http.StatusOK, there)
	default:
		answer(w, http.StatusOK, there)
	}
}

func (s *Server) writeSecret(w http.ResponseWriter, r *http.Request) {
	secret, ok := decode[corev1.Secret](w, r)
	if !ok {
		return
	}
	there := s.secrets[secret.Name]
	switch {
	case r.Method == http.MethodPost && there != nil:
		exists(w, "secrets", secret.Name)
		return
	case r.Method == http.MethodPut && (there == nil || there.ResourceVersion != secret.ResourceVersion):
		Refuse(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
		return
	}
	s.stamp(&secret.ObjectMeta)
	s.secrets[secret.Name] = secret
	answer(w, http.StatusOK, secret)
}

func (s *Server) listEvents(w http.ResponseWriter, r *http.Request) {
	selector := r.URL.Query().Get("fieldSelector")
	s.mu.Lock()
	defer s.mu.Unlock()
	list := corev1.EventList{}
	for _, e := range s.events {
		if o := e.InvolvedObject; selector == "involvedObject.uid="+string(o.UID) || selector == "involvedObject.kind=Pod,involvedObject.name="+o.Name {
			list.Items = append(list.Items, e)
		}
	}
	answer(w, http.StatusOK, list)
}

func (s *Server) log(w http.ResponseWriter, r *http.Request, name string) {
	if s.Pod(name) == nil {
		missing(w, "pods", name)
		return
	}
	if s.Logs != nil {
		_, _ = io.WriteString(w, s.Logs(name, r.URL.Query().Get("container"))) // the client may be gone
	}
}
