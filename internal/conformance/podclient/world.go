package podclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// patience is how long pods are waited for.
const patience = 2 * time.Minute

// Start starts a pod that sleeps and is marked as nobody's.
func (c *Client) Start(ctx context.Context, name, image string) error {
	return c.start(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "sleep", Image: image, Command: []string{"sleep", "100000"},
				Env: []corev1.EnvVar{{Name: conformance.TokenVariable, Value: "nobody"}},
			}},
		},
	})
}

// start makes a pod and waits until it runs.
func (c *Client) start(ctx context.Context, pod *corev1.Pod) error {
	pod.APIVersion, pod.Kind = "v1", "Pod"
	if err := c.do(ctx, http.MethodPost, "", pod, &corev1.Pod{}); err != nil {
		return err
	}
	var now corev1.Pod
	return await(ctx, "the pod "+pod.Name+" runs", func() (bool, error) {
		if err := c.do(ctx, http.MethodGet, pod.Name, nil, &now); err != nil {
			return false, err
		}
		for _, s := range now.Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil && slices.Contains([]string{"ImagePullBackOff", "InvalidImageName"}, w.Reason) {
				return false, fmt.Errorf("the image %s cannot be pulled: %s", s.Image, w.Message)
			}
		}
		return now.Status.Phase == corev1.PodRunning, nil
	})
}

// await asks until something is so.
func await(ctx context.Context, what string, so func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		ok, err := so()
		switch {
		case ok || err != nil:
			return err
		case time.Now().After(end):
			return fmt.Errorf("waiting until %s: it is not so after %s", what, patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Enter runs a program by an exec of the API server.
func (c *Client) Enter(ctx context.Context, container string, program ...string) (int, error) {
	m, err := c.find(ctx, container)
	if err != nil {
		return 0, err
	}
	target := c.url(m.pod.Name, "exec")
	target.RawQuery = url.Values{
		"container": {m.spec.Name}, "command": program, "stdout": {"true"}, "stderr": {"true"},
	}.Encode()
	executor, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, target.String())
	if err != nil {
		return 0, fmt.Errorf("preparing an exec: %w", err)
	}
	silent := klog.NewContext(ctx, logr.Discard()) // what goes wrong is in the error
	err = executor.StreamWithContext(silent, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) {
		return exit.Code, nil
	}
	return 0, err
}

// Kill deletes pods: no container of one can be ended alone from outside, so none of the runner's own.
func (c *Client) Kill(ctx context.Context, containers ...string) error {
	for _, id := range containers {
		if _, err := c.find(ctx, id); err != nil {
			return err
		}
	}
	return c.Remove(ctx, conformance.Inventory{Containers: containers})
}

// Remove deletes the pods of containers, and waits until they are gone. The runner's own stays. A second of grace has the
// node end the containers first: without any, pods are gone before their processes.
func (c *Client) Remove(ctx context.Context, what conformance.Inventory) error {
	var pods []string
	var impossible error
	for _, id := range what.Containers {
		pod, _, _ := strings.Cut(id, "/")
		if m, err := c.find(ctx, id); err == nil {
			pod = m.pod.Name
			if pod == c.pod {
				impossible = fmt.Errorf("ending %s: %w", id, conformance.ErrImpossible)
			}
		}
		if pod != c.pod && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	grace := int64(1)
	for _, pod := range pods {
		soon := &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, GracePeriodSeconds: &grace}
		if err := c.do(ctx, http.MethodDelete, pod, soon, &corev1.Pod{}); err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	for _, pod := range pods {
		err := await(ctx, "the pod "+pod+" is gone", func() (bool, error) {
			err := c.do(ctx, http.MethodGet, pod, nil, &corev1.Pod{})
			if errors.Is(err, errGone) {
				return true, nil
			}
			return false, err
		})
		if err != nil {
			return err
		}
	}
	return impossible
}

// Empty cannot be done: what containers of other users have left in a volume only such a container can remove.
func (c *Client) Empty(_ context.Context, folder, _ string) error {
	return fmt.Errorf("%s has files of other users, which this user cannot remove: run the suite as root of the runner's pod", folder)
}
