package kube

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
)

// Survey is what an administrator wants to know of where jobs would run.
type Survey struct {
	Facts
	// Server is the API server's address, Namespace that of all pods, Source who told so.
	Server, Namespace, Source string
	// Node, Account and QoS are those of the runner's pod, Share what it has to itself. Empty if it cannot be read.
	Node, Account string
	QoS           corev1.PodQOSClass
	Share         Share
	// AgentImage has gantry-agent at AgentProgram; "" if no image is known: NoAgentImage says why.
	AgentImage, AgentProgram string
	// Mode and Volume are the settings, and Choice what comes of them, or ChoiceErr.
	Mode, Volume string
	Choice       Choice
	ChoiceErr    error
	// Lacking are permissions that what was chosen would make use of, or what was asked for if nothing could be.
	Lacking []rbac.Rule
}

// Share is what all containers of a pod have together, as quantities; "" for what is not bounded, or not asked for.
type Share struct{ RequestedCPU, RequestedMemory, CPULimit, MemoryLimit string }

// Survey collects it, for a runner with this value of the label of runners. It changes nothing.
func (d *Driver) Survey(ctx context.Context, runner string) (Survey, error) {
	place, set := d.opts.Place, d.opts.Settings
	s := Survey{
		Server: place.Config.Host, Namespace: place.Namespace, Source: place.Source,
		AgentProgram: firstOf(set.AgentPath, d.opts.AgentProgram), Mode: cmp.Or(set.Mode, "auto"), Volume: cmp.Or(set.Volume, "auto"),
	}
	facts, home, err := d.facts(ctx, map[string]string{labelRunner: runner}, true)
	if err != nil {
		return s, err
	}
	s.Facts = facts
	if facts.NoAgentImage == "" {
		s.AgentImage = set.AgentImage
	}
	if home != nil {
		spec := home.pod.Spec
		s.Node, s.Account, s.QoS, s.Share = spec.NodeName, spec.ServiceAccountName, home.pod.Status.QOSClass, shareOf(spec)
		if facts.NoAgentImage == "" {
			s.AgentImage = firstOf(s.AgentImage, home.runner.Image)
		}
	}
	s.Choice, s.ChoiceErr = Choose(set.Mode, set.Volume, facts)
	s.Lacking, err = d.lacking(ctx, s.need())
	return s, err
}

// need is what the permissions are compared with: the mode that was chosen, and those that only permissions stand in the way
// of.
func (s Survey) need() rbac.Need {
	permitted := s.Facts
	permitted.Missing = nil
	var n rbac.Need
	for _, m := range Wanted(s.Mode, s.Volume) {
		isChosen := s.ChoiceErr == nil && m == s.Choice.Mode
		if isChosen || len(obstacles(m, permitted)) == 0 {
			n = n.And(m.need())
		}
		if isChosen {
			break
		}
	}
	if n == (rbac.Need{}) {
		return rbac.Need{Mode: s.Mode, Volume: s.Volume}
	}
	return n
}

// lacking asks about all permissions that something needs.
func (d *Driver) lacking(ctx context.Context, n rbac.Need) ([]rbac.Rule, error) {
	var all []kubeapi.Access
	for _, r := range rbac.Rules(n) {
		for _, verb := range r.Verbs {
			all = append(all, kubeapi.Access{Verb: verb, Group: r.Group, Resource: r.Resource})
		}
	}
	denied, err := d.denied(ctx, all)
	return rbac.Lacking(n, func(verb, group, resource string) bool {
		return slices.Contains(denied, kubeapi.Access{Verb: verb, Group: group, Resource: resource})
	}), err
}

// Exists asks whether the namespace is there, by a secret that is only tried. Whoever may not make secrets is not told.
func (d *Driver) Exists(ctx context.Context) error { return d.api.TrySecret(ctx) }

// shareOf works out what the containers of a pod have together: what the pod as a whole says, else their sum. The sum is a
// bound only if each of them has one.
func shareOf(spec corev1.PodSpec) Share {
	requests := func(r corev1.ResourceRequirements) corev1.ResourceList { return r.Requests }
	limits := func(r corev1.ResourceRequirements) corev1.ResourceList { return r.Limits }
	return Share{
		RequestedCPU: total(spec, corev1.ResourceCPU, requests, false), RequestedMemory: total(spec, corev1.ResourceMemory, requests, false),
		CPULimit: total(spec, corev1.ResourceCPU, limits, true), MemoryLimit: total(spec, corev1.ResourceMemory, limits, true),
	}
}

// total is one sum of it. each: there is none unless each container has a part.
func total(spec corev1.PodSpec, name corev1.ResourceName, of func(corev1.ResourceRequirements) corev1.ResourceList, each bool) string {
	if spec.Resources != nil {
		if q, ok := of(*spec.Resources)[name]; ok {
			return q.String()
		}
	}
	containers := slices.Clone(spec.Containers)
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	var sum resource.Quantity
	for _, c := range containers {
		q, ok := of(c.Resources)[name]
		if !ok && each {
			return ""
		}
		sum.Add(q)
	}
	if sum.IsZero() {
		return ""
	}
	return sum.String()
}

// Settings are the values of kubernetes.mode and kubernetes.volume that ask for a mode.
func (m Mode) Settings() (mode, volume string) {
	n := m.need()
	return n.Mode, cmp.Or(n.Volume, rbac.Auto)
}
