package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
)

// NonceLabel marks what one call made, so that it is recognised when the answer was lost.
const NonceLabel = "io.gantry/nonce"

// Pod reads a pod; one that does not exist is engine.ErrNotFound.
func (c *Client) Pod(ctx context.Context, name string) (*corev1.Pod, error) {
	pod := new(corev1.Pod)
	return pod, c.do(ctx, call{verb: "get", resource: "pods", name: name}, pod)
}

// Pods lists the pods that carry all labels, of those that CreatePod has made: they have a NonceLabel.
func (c *Client) Pods(ctx context.Context, labels map[string]string) ([]corev1.Pod, error) {
	list := new(corev1.PodList)
	err := c.do(ctx, call{verb: "list", resource: "pods", query: selecting(labels)}, list)
	return list.Items, err
}

// CreatePod makes a pod. One with the same name is the answer if the same spec's call made it before.
func (c *Client) CreatePod(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	made := new(corev1.Pod)
	err := c.do(ctx, call{verb: "create", resource: "pods", body: pod}, made)
	if !errors.Is(err, ErrConflict) {
		return made, err
	}
	there, getErr := c.Pod(ctx, pod.Name)
	if getErr == nil && sameNonce(there.Labels, pod.Labels) {
		return there, nil
	}
	return nil, err
}

func sameNonce(a, b map[string]string) bool {
	return a[NonceLabel] != "" && a[NonceLabel] == b[NonceLabel]
}

// AddEphemeral adds ephemeral containers to a pod that runs. Those that it has under the same name already stay as
// they are, so it can be called again.
func (c *Client) AddEphemeral(ctx context.Context, pod string, add ...corev1.EphemeralContainer) (*corev1.Pod, error) {
	patch := map[string]any{"spec": map[string]any{"ephemeralContainers": add}}
	made := new(corev1.Pod)
	return made, c.do(ctx, call{verb: "patch", resource: "pods", sub: "ephemeralcontainers", name: pod, body: patch}, made)
}

// DeletePod deletes a pod, which has grace seconds to end; uid "" is any pod of that name. What is gone is no error.
func (c *Client) DeletePod(ctx context.Context, name, uid string, grace int64) error {
	options := deleting(uid)
	options.GracePeriodSeconds = &grace
	return gone(c.do(ctx, call{verb: "delete", resource: "pods", name: name, body: options}, nil))
}

func deleting(uid string) *metav1.DeleteOptions {
	options := &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(uid)
	}
	return options
}

// gone makes success of the absence, or the replacement, of what was to be deleted.
func gone(err error) error {
	if errors.Is(err, engine.ErrNotFound) || errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// CreateSecret makes a secret, as CreatePod makes a pod.
func (c *Client) CreateSecret(ctx context.Context, secret *corev1.Secret) error {
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	err := c.do(ctx, call{verb: "create", resource: "secrets", body: secret}, nil)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	there, getErr := c.Secret(ctx, secret.Name)
	if getErr == nil && sameNonce(there.Labels, secret.Labels) {
		return nil
	}
	if errors.Is(getErr, ErrForbidden) {
		return getErr
	}
	return err
}

// TrySecret asks for a secret as if one were to be made; nothing is. It tells whether there is such a namespace, and
// whether it takes secrets.
func (c *Client) TrySecret(ctx context.Context) error {
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{GenerateName: "gantry-try-"}}
	return c.do(ctx, call{verb: "create", resource: "secrets", body: secret, query: url.Values{"dryRun": {"All"}}}, nil)
}

// UpdateSecret replaces a secret that was read before; ErrConflict if it has changed since.
func (c *Client) UpdateSecret(ctx context.Context, secret *corev1.Secret) error {
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	return c.do(ctx, call{verb: "update", resource: "secrets", name: secret.Name, body: secret}, nil)
}

// Secret reads a secret; one that does not exist is engine.ErrNotFound.
func (c *Client) Secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := new(corev1.Secret)
	return secret, c.do(ctx, call{verb: "get", resource: "secrets", name: name}, secret)
}

// Secrets lists the secrets that carry all labels, of those that have a NonceLabel.
func (c *Client) Secrets(ctx context.Context, labels map[string]string) ([]corev1.Secret, error) {
	list := new(corev1.SecretList)
	err := c.do(ctx, call{verb: "list", resource: "secrets", query: selecting(labels)}, list)
	return list.Items, err
}

// MarkedSecrets lists the secrets that have a label, whatever its value is, and need no NonceLabel.
func (c *Client) MarkedSecrets(ctx context.Context, label string) ([]corev1.Secret, error) {
	list := new(corev1.SecretList)
	err := c.do(ctx, call{verb: "list", resource: "secrets", query: url.Values{"labelSelector": {label}}}, list)
	return list.Items, err
}

// DeleteSecret deletes a secret. What is gone is no error.
func (c *Client) DeleteSecret(ctx context.Context, name, uid string) error {
	return gone(c.do(ctx, call{verb: "delete", resource: "secrets", name: name, body: deleting(uid)}, nil))
}

// Logs opens the last lines of what a container has printed; with previous, before it was started again.
func (c *Client) Logs(ctx context.Context, pod, container string, lines int, previous bool) (io.ReadCloser, error) {
	q := call{verb: "get", resource: "pods", sub: "log", name: pod, query: url.Values{
		"container": {container}, "tailLines": {strconv.Itoa(lines)}, "previous": {strconv.FormatBool(previous)},
	}}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		body, err := c.open(ctx, q)
		if err == nil || !passing(err) || pause > maxPause/4 {
			return body, c.refusal(q, err)
		}
		if !c.pause(ctx, max(asked(err), jitter(pause))) {
			return nil, c.refusal(q, err)
		}
	}
}

// Access is one permission.
type Access struct{ Verb, Group, Resource string }

// String is the form of `kubectl auth can-i`.
func (a Access) String() string {
	if a.Group != "" {
		return a.Verb + " " + a.Resource + "." + a.Group
	}
	return a.Verb + " " + a.Resource
}

// May asks whether the service account has a permission in the namespace.
func (c *Client) May(ctx context.Context, a Access) (bool, error) {
	resource, sub, _ := strings.Cut(a.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: c.place.Namespace, Verb: a.Verb, Group: a.Group, Resource: resource, Subresource: sub,
		}},
	}
	answer := new(authorizationv1.SelfSubjectAccessReview)
	err := c.do(ctx, call{verb: "create", group: "authorization.k8s.io", resource: "selfsubjectaccessreviews", body: review, cluster: true}, answer)
	if err != nil {
		return false, fmt.Errorf("asking whether it is allowed to %s: %w", a, err)
	}
	return answer.Status.Allowed, nil
}

// Version is the API server's, as "v1.36.3".
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct{ GitVersion string }
	err := c.do(ctx, call{verb: "get", path: "version", cluster: true}, &answer)
	return answer.GitVersion, err
}

// selecting asks for objects of ours by their labels. What others have made is never listed, so that it is never removed.
func selecting(labels map[string]string) url.Values {
	all := []string{NonceLabel}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, name+"="+labels[name])
	}
	return url.Values{"labelSelector": {strings.Join(all, ",")}}
}
