package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/config"
)

// The variables of GitHub's hook count, below gantry's own and above the file.
func TestOfficialVariables(t *testing.T) {
	c := load(t, "kubernetes: {namespace: file, claim: file}",
		"ACTIONS_RUNNER_KUBERNETES_NAMESPACE=ci", "ACTIONS_RUNNER_POD_NAME=runner-1", "ACTIONS_RUNNER_CLAIM_NAME=work",
		"ACTIONS_RUNNER_USE_KUBE_SCHEDULER=true", "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE=/t.yaml",
		"ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS=90", "ACTIONS_RUNNER_IMAGE=runner:1", "GANTRY_KUBERNETES_CLAIM=mine")
	want := config.Default()
	want.Kubernetes.Namespace, want.Kubernetes.Pod, want.Kubernetes.Claim = "ci", "runner-1", "mine"
	want.Kubernetes.AgentImage = "runner:1" // and the scheduler is asked for the runner's node, as that hook does
	want.Kubernetes.Template = config.Document{File: "/t.yaml"}
	want.Timeouts.Schedule = 90 * time.Second
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	for _, k := range config.Keys() {
		if k.Official() != "" && !strings.HasPrefix(k.Official(), "ACTIONS_RUNNER_") {
			t.Errorf("%s: %s is no variable of GitHub's hooks", k.Path, k.Official())
		}
	}
}

// A template is a file, or stands in gantry.yaml or a variable.
func TestTemplates(t *testing.T) {
	inline := "spec: {nodeSelector: {pool: ci}}"
	byFile := load(t, "engine: auto\nkubernetes:\n  template:\n    "+inline)
	byVariable := load(t, "", "GANTRY_KUBERNETES_TEMPLATE={"+inline+"}")
	if diff := cmp.Diff(byFile, byVariable); diff != "" {
		t.Error(diff)
	}
	document := byFile.Kubernetes.Template
	if document.IsZero() || document.Place.Line != 4 || !strings.HasSuffix(document.Place.File, ".yaml") || document.Node == nil {
		t.Errorf("%+v", document)
	}
	if place := byVariable.Kubernetes.Template.Place; place.Env != "GANTRY_KUBERNETES_TEMPLATE" {
		t.Errorf("place %v", place)
	}
	if cmp.Equal(byFile, load(t, "kubernetes: {template: {spec: {}}}")) {
		t.Error("different templates are the same")
	}
	roundTrip(t, byFile)
	if !load(t, "kubernetes: {template: }").Kubernetes.Template.IsZero() {
		t.Error("no template is one")
	}
}

func TestProblemsOfKubernetes(t *testing.T) {
	for text, place := range map[string]string{
		"kubernetes: {mode: inpod}":                                ":1:20: kubernetes.mode",
		"kubernetes: {volume: rwx}":                                ":1:22: kubernetes.volume",
		"kubernetes: {template: pod.yaml}":                         ":1:24: kubernetes.template",
		"kubernetes: {template: [a]}":                              ":1:24: kubernetes.template",
		"x: &a {b: c}\nkubernetes: {template: {spec: *a}}":         ":2:24: kubernetes.template",
		"kubernetes: {namespace: My_Space}":                        ":1:25: kubernetes.namespace",
		"kubernetes: {labels: [repository, branch]}":               ":1:35: kubernetes.labels[1]",
		"kubernetes: {build: {tool: kaniko}}":                      ":1:28: kubernetes.build.tool",
		"kubernetes: {build: {address: 'buildkitd:1234'}}":         ":1:31: kubernetes.build.address",
		"kubernetes: {build: {registry: 'https://r.example.com'}}": ":1:32: kubernetes.build.registry",
		"kubernetes: {sync: {exclude: [/abs]}}":                    ":1:31: kubernetes.sync.exclude[0]",
		"kubernetes: {sync: {max_file: lots}}":                     ":1:31: kubernetes.sync.max_file",
		"kubernetes: {buld: {tool: buildah}}":                      ":1:14: kubernetes.buld",
		"kubernetes: {build: {tol: buildah}}":                      ":1:22: kubernetes.build.tol",
		"kubernetes: {build: buildah}":                             ":1:21: kubernetes.build",
		"kubernetes: {unsupported_options: ignore}":                ":1:35: kubernetes.unsupported_options",
	} {
		found := false
		for _, p := range problems(t, config.Sources{Flag: write(t, text)}) {
			found = found || strings.Contains(p.Error(), place+":")
		}
		if !found {
			t.Errorf("%s: no problem at %s: %v", text, place, problems(t, config.Sources{Flag: write(t, text)}))
		}
	}
}

// FuzzTemplateKey: whatever stands below the key, it is refused at a place or can be written and read again.
func FuzzTemplateKey(f *testing.F) {
	f.Add("spec: {containers: [{name: $job, env: [{name: A, value: 'true'}]}]}", true)
	f.Add("/etc/pod.yaml", false)
	f.Add("a: !!binary aGk=\nb: 0x1f\n? [c]\n: ~", true)
	f.Fuzz(func(t *testing.T, text string, block bool) {
		if block {
			text = "\n    " + strings.ReplaceAll(text, "\n", "\n    ")
		}
		c, err := config.Load(config.Sources{Flag: write(t, "kubernetes:\n  template: "+text)})
		if err == nil {
			roundTrip(t, c)
		}
	})
}
