package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/podspec/podlabel"
)

// Labels as the handler writes them, and the prefix that Kubernetes wants to be apart.
const (
	labelJob    = "io.gantry.job"
	labelRunner = "io.gantry.runner"
	labelRole   = "io.gantry.role" // of a container: a pod has several
	networkRole = "network"        // of what is the job's as a whole
	labelPrefix = "io.gantry."
	keyPrefix   = "io.gantry/"
	// labelRunnerPod is the one that GitHub's own hook sets, for scripts and dashboards that look for it.
	labelRunnerPod = "runner-pod"
	// annotationTags holds the tags of a pod's containers, by their names in the pod.
	annotationTags = keyPrefix + "containers"
	// annotationApart marks pods that do not share the runner's volume.
	annotationApart = keyPrefix + "apart"
)

// labelsVariable holds the tag of an ephemeral container, which has no labels of its own. The agent keeps it from the
// steps.
const labelsVariable = "GANTRY_LABELS"

// tag is what the API does not keep of a container.
type tag struct {
	Name   string            `json:"name"` // engine.ContainerSpec.Name
	Title  string            `json:"title,omitempty"`
	Labels map[string]string `json:"labels"` // as the handler writes them
	// Step marks a step's container, which is gone when it has ended.
	Step bool `json:"step,omitempty"`
	// Ports are those of engine.Started.
	Ports map[string]string `json:"ports,omitempty"`
	// Hosts are the names that the pod's containers know.
	Hosts []agent.Host `json:"hosts,omitempty"`
	// Folder is where the agent of an ephemeral container has its folder, on the runner's side; "" without one. Native says
	// that the container has no agent: the folder only tells that it was removed.
	Folder string `json:"folder,omitempty"`
	Native bool   `json:"native,omitempty"`
}

func (t tag) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings can be encoded
	}
	return string(text)
}

// carries tells whether the tag has all the labels.
func (t tag) carries(labels map[string]string) bool {
	for name, value := range labels {
		if got, ok := t.Labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// tagOf reads the tag in a container's environment.
func tagOf(env []corev1.EnvVar) (t tag, ok bool) {
	for _, v := range env {
		if v.Name == labelsVariable {
			return t, json.Unmarshal([]byte(v.Value), &t) == nil && t.Name != ""
		}
	}
	return t, false
}

// tagsOf reads the tags of a pod of ours, by container.
func tagsOf(pod *corev1.Pod) map[string]tag {
	tags := map[string]tag{}
	_ = json.Unmarshal([]byte(pod.Annotations[annotationTags]), &tags) // not ours, then: none
	for _, c := range pod.Spec.EphemeralContainers {
		if t, ok := tagOf(c.Env); ok {
			tags[c.Name] = t
		}
	}
	return tags
}

// keys are labels as Kubernetes takes them, for a pod: io.gantry.job becomes io.gantry/job.
func keys(labels map[string]string) map[string]string {
	valid := map[string]string{}
	for name, value := range labels {
		if rest, ok := strings.CutPrefix(name, labelPrefix); ok {
			name = keyPrefix + rest
		}
		valid[name] = podlabel.Value(value)
	}
	delete(valid, keyPrefix+strings.TrimPrefix(labelRole, labelPrefix))
	return valid
}

// words are keys as the handler knows them.
func words(labels map[string]string) map[string]string {
	known := maps.Clone(labels)
	for name, value := range labels {
		if rest, ok := strings.CutPrefix(name, keyPrefix); ok {
			delete(known, name)
			known[labelPrefix+rest] = value
		}
	}
	return known
}

// maxName is what a container's name and a pod's host name may have.
const maxName = 63

// dnsLabel makes a DNS label of text: what may not stand there becomes "-", and the end of what is too long becomes a hash
// of it all. "" gives "x".
func dnsLabel(text string) string {
	label := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text), "-")
	if label == "" {
		return "x"
	}
	if len(label) <= maxName {
		return label
	}
	return strings.TrimRight(label[:maxName-9], "-") + "-" + short(text)
}

// short is eight characters that stand for a text.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// podName is the name of a pod for something of ours: it begins with the runner's pod, which people look for, and ends with
// what of it is unique.
func podName(runner, unique, what string) string {
	if runner == "" {
		runner = "gantry"
	}
	return dnsLabel(fmt.Sprintf("%s-%s-%s", cut(runner, maxName-9-1-len(what)), short(unique), what))
}

func cut(s string, n int) string { return strings.Trim(s[:min(len(s), n)], "-.") }

// containerID is what the driver calls a container.
func containerID(pod, container string) string { return pod + "/" + container }
