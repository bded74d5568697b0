// Package template merges an administrator's pod template into the pod that gantry plans: the file that
// ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE names, or kubernetes.template in gantry.yaml. It is pure.
//
// The form is that of GitHub's own hook: metadata with labels and annotations, and a pod's spec, in which the
// container $job means the job container, $NAME the service of that name, and other containers are added. Gantry also
// knows $services, which means all of them. Lists are merged by key, so that what gantry needs survives.
package template

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/config"
)

// Names that a template gives to containers of gantry's, beside $NAME for a service.
const (
	JobName      = "job"
	ServicesName = "services"
	prefix       = "$"
	// AgentFolder is where gantry's agent is in every container that it starts: no template mounts anything there.
	AgentFolder = "/.gantry"
	// initOfOfficialHook is the init container of GitHub's hook, which templates for it repeat. Gantry has none.
	initOfOfficialHook = "fs-init"
)

// Template is a template that was understood.
type Template struct {
	labels, annotations map[string]any
	// pod is the spec without its containers.
	pod              map[string]any
	containers, init []entry
	places           map[string]config.Place
}

// entry is one container of a template.
type entry struct {
	name string
	path string // "spec.containers[2]", the key of its places
	tree map[string]any
}

// addressed is the name behind the "$" of an entry that means a container of gantry's.
func (e entry) addressed() (name string, ok bool) { return strings.CutPrefix(e.name, prefix) }

// document is what a template holds. Kind and version are not looked at, as in GitHub's hook.
type document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec corev1.PodSpec `json:"spec"`
}

// Parse reads a template. file is for messages. Problems are all mistakes, each with its line and column: unknown
// keys, values of a wrong kind, containers without a name, what gantry never allows. An empty document is a
// template that changes nothing.
func Parse(file string, text []byte) (*Template, config.Problems) {
	r := &reader{file: file}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return &Template{}, nil
	case err != nil:
		return nil, config.Problems{config.NotYAML(file, err)}
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.problem(&second, "", "a template is one document", "the file holds more than one document")
		return nil, r.problems
	case !errors.Is(err, io.EOF):
		return nil, config.Problems{config.NotYAML(file, err)}
	}
	return r.template(first.Content[0])
}

// FromNode reads a template that stands in gantry.yaml or a variable: its nodes have their places. place is that of
// the node.
func FromNode(place config.Place, node *yaml.Node) (*Template, config.Problems) {
	return (&reader{file: place.File, env: place.Env}).template(node)
}

// Load reads the template that the configuration names, with read for a file; nil if it names none.
func Load(d config.Document, read func(path string) ([]byte, error)) (*Template, config.Problems) {
	switch {
	case d.Node != nil:
		return FromNode(d.Place, d.Node)
	case d.File == "":
		return nil, nil
	}
	text, err := read(d.File)
	if err != nil {
		return nil, config.Problems{{Place: config.Place{File: d.File}, Text: "reading the pod template: " + err.Error(),
			Hint: "kubernetes.template, or ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE, names it"}}
	}
	return Parse(d.File, text)
}

func (r *reader) template(n *yaml.Node) (*Template, config.Problems) {
	r.places = map[string]config.Place{}
	read := r.value(n, reflect.TypeFor[document](), "")
	root, err := tree(object(read))
	if err != nil && len(r.problems) == 0 {
		r.problem(n, "", "", "%v", err)
	}
	if err != nil {
		return nil, r.problems
	}
	metadata, spec := object(root["metadata"]), object(root["spec"])
	t := &Template{
		labels: object(metadata["labels"]), annotations: object(metadata["annotations"]),
		pod: map[string]any{}, places: r.places,
		containers: entries(spec, "containers"), init: entries(spec, "initContainers"),
	}
	for key, value := range spec {
		if key != "containers" && key != "initContainers" {
			t.pod[key] = value
		}
	}
	problems := r.problems
	for _, p := range t.check() {
		if !r.misread(p.Key) {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		inOrder(problems)
		return nil, problems
	}
	return t, nil
}

// misread tells that something at a path, or below it, was not understood: more about it would only confuse.
func (r *reader) misread(path string) bool {
	return slices.ContainsFunc(r.problems, func(p config.Problem) bool { return strings.HasPrefix(p.Key, path) })
}

func entries(spec map[string]any, key string) []entry {
	var all []entry
	for i, item := range list(spec[key]) {
		tree := object(item)
		name, _ := tree["name"].(string)
		all = append(all, entry{name: name, path: fmt.Sprintf("spec.%s[%d]", key, i), tree: tree})
	}
	return all
}

// object and list look into a tree; what is not there is empty.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// place is where a path stands, or the nearest above it that is known.
func (t *Template) place(path string) config.Place {
	for {
		if place, ok := t.places[path]; ok || path == "" {
			return place
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// findings collects problems of a template.
type findings struct {
	t        *Template
	problems config.Problems
}

func (f *findings) add(path, hint, format string, args ...any) {
	f.problems = append(f.problems, config.Problem{Place: f.t.place(path), Key: path, Text: fmt.Sprintf(format, args...), Hint: hint})
}
