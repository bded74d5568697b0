// Package template merges an administrator's pod template into the pod that gantry plans: the file that
// ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE names, or kubernetes.template in gantry.yaml. It is pure.
//
// The form is that of GitHub's own hook: metadata with labels and annotations, and a pod's spec, in which the
// container $job means the job container, $NAME the service of that name, and other containers are added. Gantry also
// knows $services, which means all of them. Lists are merged by key, so that what gantry needs survives.
package template

import (
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/config"
)

// Template is a template that was understood.
type Template struct {
	file string
}

// Parse reads a template. file is for messages. Problems are all mistakes, each with its line and column: unknown
// keys, values of a wrong kind, containers without a name, what gantry never allows. An empty document is a
// template that changes nothing.
func Parse(file string, text []byte) (*Template, config.Problems) { return &Template{file: file}, nil }

// FromNode reads a template that stands in gantry.yaml or a variable: its nodes have their places.
func FromNode(place config.Place, node *yaml.Node) (*Template, config.Problems) {
	return &Template{file: place.File}, nil
}

// Own says which parts of a planned pod the template's names mean. What the pod holds besides is found by itself.
type Own struct {
	// Job is the name of the job container in the pod, "" if there is none.
	Job string
	// Services are in the order of the workflow.
	Services []Service
}

// Service is one service container of a planned pod.
type Service struct {
	Container string // its name in the pod, among the containers or the init containers
	// Names are what a template may call it, without "$": the base name of its image (for several services too), the
	// numbered one, the workflow's name if known.
	Names []string
}

// Apply merges the template into a pod that gantry plans, and returns the result; pod itself is left as it is. t may be
// nil. Lists are merged by key: what the template adds comes behind what is there, its init containers before the
// services. Notes are for the log: what has no meaning and is ignored, as GitHub's hook does (an image for $job).
//
// Problems are conflicts with what gantry needs: its volumes, mounts and labels, the command of the job container.
func (t *Template) Apply(pod *corev1.Pod, own Own) (result *corev1.Pod, notes []string, problems config.Problems) {
	return pod.DeepCopy(), nil, nil
}

// ApplyEphemeral merges what the template says of one container into an ephemeral container of a running pod: the
// entry $job for the job container and for container steps, those of Service for a service. Notes name what
// an ephemeral container cannot have (resources, ports, probes, life-cycle, mounts with a subPath, volumes that pod
// does not have).
func (t *Template) ApplyEphemeral(pod *corev1.Pod, container *corev1.Container, names ...string) (notes []string, problems config.Problems) {
	return nil, nil
}

// NeedsOwnPod lists what of the template cannot be had in the runner's own pod ("spec.nodeSelector", "container
// side-car"), in the template's order; empty if in-pod mode can honour all of it.
func (t *Template) NeedsOwnPod() []string { return nil }
