package podclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Containers are those of all pods, but for the runner's own. Of the containers that were added to a pod those that have
// ended, or cannot start, do not count: they cannot be removed. Neither do those that have ended well in a pod that goes on: they
// have prepared it, as init containers do.
func (c *Client) Containers(ctx context.Context) ([]*conformance.Container, error) {
	pods, err := c.pods(ctx)
	if err != nil {
		return nil, err
	}
	var all []*conformance.Container
	for i := range pods {
		for _, m := range c.members(&pods[i]) {
			all = append(all, &conformance.Container{ID: m.id(), Labels: m.pod.Labels, Env: m.environment()})
		}
	}
	return all, nil
}

// member is a container of a pod.
type member struct {
	pod    *corev1.Pod
	spec   corev1.Container
	status *corev1.ContainerStatus // nil: nothing is known yet
}

func (m *member) id() string { return m.pod.Name + "/" + m.spec.Name }

func (m *member) environment() []string {
	var env []string
	for _, e := range m.spec.Env {
		if e.ValueFrom == nil {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	return env
}

// members are the containers of a pod that count.
func (c *Client) members(pod *corev1.Pod) []member {
	var all []member
	if pod.Name != c.pod {
		for _, spec := range pod.Spec.Containers {
			m := member{pod, spec, statusOf(pod.Status.ContainerStatuses, spec.Name)}
			if !m.hasPrepared() {
				all = append(all, m)
			}
		}
		for _, spec := range pod.Spec.InitContainers {
			if always := corev1.ContainerRestartPolicyAlways; spec.RestartPolicy != nil && *spec.RestartPolicy == always {
				all = append(all, member{pod, spec, statusOf(pod.Status.InitContainerStatuses, spec.Name)})
			}
		}
	}
	for _, e := range pod.Spec.EphemeralContainers {
		m := member{pod, corev1.Container(e.EphemeralContainerCommon), statusOf(pod.Status.EphemeralContainerStatuses, e.Name)}
		if m.goesOn() {
			all = append(all, m)
		}
	}
	return all
}

// hasPrepared says whether a container has ended well before the others of its pod.
func (m *member) hasPrepared() bool {
	ended := m.status != nil && m.status.State.Terminated != nil && m.status.State.Terminated.ExitCode == 0
	return ended && m.pod.Status.Phase == corev1.PodRunning
}

// goesOn says whether a container runs, or is about to: what is told of it comes late.
func (m *member) goesOn() bool {
	switch {
	case m.status == nil || m.status.State.Running != nil:
		return true
	case m.status.State.Waiting != nil:
		return slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, m.status.State.Waiting.Reason)
	}
	return m.status.State.Terminated == nil
}

func statusOf(all []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// Networks are none: containers of a pod share its network, and all pods of a cluster reach each other.
func (c *Client) Networks(context.Context) ([]conformance.Network, error) { return nil, nil }

// Exists says whether there is a container, by what a hook may call it.
func (c *Client) Exists(ctx context.Context, kind, name string) (bool, error) {
	if kind != "container" {
		return false, nil
	}
	_, err := c.find(ctx, name)
	if errors.Is(err, errGone) {
		return false, nil
	}
	return err == nil, err
}

// find finds a container: POD/CONTAINER, the runtime's id of it, or a pod's name for its first container.
func (c *Client) find(ctx context.Context, name string) (*member, error) {
	pods, err := c.pods(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("a container without a name: %w", errGone)
	}
	for i := range pods {
		for j, m := range c.members(&pods[i]) {
			if m.id() == name || j == 0 && m.pod.Name == name ||
				m.status != nil && m.status.ContainerID != "" && strings.HasSuffix(m.status.ContainerID, name) {
				return &m, nil
			}
		}
	}
	return nil, fmt.Errorf("no pod of the namespace has a container %s: %w", name, errGone)
}

// Inspect tells what the API server says of a container.
func (c *Client) Inspect(ctx context.Context, id string) (*conformance.Facts, error) {
	m, err := c.find(ctx, id)
	if err != nil {
		return nil, err
	}
	all, err := json.Marshal(m.pod)
	if err != nil {
		return nil, fmt.Errorf("wording what is known of a pod: %w", err)
	}
	facts := &conformance.Facts{
		Running: m.status != nil && m.status.State.Running != nil, Image: m.spec.Image, Labels: m.pod.Labels,
		Env: m.environment(), Networks: []string{m.pod.Name}, Memory: m.spec.Resources.Limits.Memory().Value(), All: string(all),
	}
	for _, v := range m.spec.VolumeMounts {
		facts.Mounts = append(facts.Mounts, conformance.Mount{Volume: v.Name, Target: v.MountPath, ReadOnly: v.ReadOnly})
	}
	return facts, nil
}
