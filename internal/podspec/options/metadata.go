package options

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/podspec/podlabel"
)

// labels makes labels of the pod, or annotations where the value is nothing for a label. What gantry, Kubernetes or
// another container has set stays.
func (t *translator) labels(uses []createopts.Flag) {
	for _, f := range uses {
		name, value, _ := strings.Cut(f.Value, "=")
		place := &t.pod.Labels
		if validation.IsValidLabelValue(value) != nil {
			place = &t.pod.Annotations
		}
		t.mark(f, place, name, value)
	}
}

func (t *translator) annotations(uses []createopts.Flag) {
	for _, f := range uses {
		name, value, _ := strings.Cut(f.Value, "=")
		t.mark(f, &t.pod.Annotations, name, value)
	}
}

func (t *translator) mark(f createopts.Flag, place *map[string]string, name, value string) {
	key := podlabel.Key(name)
	old, taken := (*place)[key]
	switch {
	case key == "":
		t.note(f, "nothing of the name can stand in a label")
	case podlabel.Reserved(key):
		t.note(f, "labels of that name are Kubernetes' and gantry's own")
	case taken && old != value && !t.marked[key]:
		t.note(f, "the pod has %s=%s already", key, old)
	default:
		if *place == nil {
			*place = map[string]string{}
		}
		(*place)[key] = value
		if t.marked == nil {
			t.marked = map[string]bool{}
		}
		t.marked[key] = true
	}
}

// platform asks for a node of that kind: "linux/arm64", "arm64", "linux".
func (t *translator) platform(f createopts.Flag) {
	for i, word := range strings.Split(strings.ToLower(f.Value), "/") {
		key := corev1.LabelArchStable
		switch {
		case word == "linux" || word == "windows":
			key = corev1.LabelOSStable
		case i == 2: // a variant, "v8"
			continue
		}
		if same := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[word]; same != "" {
			word = same
		}
		if !slices.Contains([]string{"linux", "amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64"}, word) {
			t.wrong(f, "is not a platform that jobs can run on: write linux/amd64 or linux/arm64")
			return
		}
		if t.pod.Spec.NodeSelector == nil {
			t.pod.Spec.NodeSelector = map[string]string{}
		}
		t.pod.Spec.NodeSelector[key] = word
	}
}
