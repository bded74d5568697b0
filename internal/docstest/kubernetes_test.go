package docstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/podspec/template"
)

// values are those of the chart gha-runner-scale-set that the page shows.
type values struct {
	URL      string `json:"githubConfigUrl"`
	Secret   string `json:"githubConfigSecret"`
	Template struct {
		Spec corev1.PodSpec `json:"spec"`
	} `json:"template"`
}

// The pods in examples of a scale set's values are pods: keys exist, mounts have volumes, variables are the
// runner's or gantry's, and the account is the one that the Role is for.
func TestScaleSetExamples(t *testing.T) {
	tried := 0
	for _, b := range blocks(t, "yaml") {
		if b.kind != "values" {
			continue
		}
		tried++
		where := fmt.Sprintf("%s:%d", b.page, b.line)
		var v values
		if err := yaml.UnmarshalStrict([]byte(b.text), &v); err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		spec := v.Template.Spec
		for _, m := range spec.Containers[0].VolumeMounts {
			if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s: there is no volume %s", where, m.Name)
			}
		}
		if !strings.Contains(pageText(t, b.page), "--service-account "+spec.ServiceAccountName) {
			t.Errorf("%s: no Role for the account %q", where, spec.ServiceAccountName)
		}
		checkRunnerEnv(t, where, spec.Containers[0].Env)
	}
	if tried == 0 {
		t.Error("no examples")
	}
}

// checkRunnerEnv loads a configuration from the variables.
func checkRunnerEnv(t *testing.T, where string, env []corev1.EnvVar) {
	t.Helper()
	known := map[string]bool{"ACTIONS_RUNNER_CONTAINER_HOOKS": true}
	for _, k := range config.Keys() {
		known[k.Env()], known[k.Official()] = true, true
	}
	var environ []string
	for _, v := range env {
		if !known[v.Name] {
			t.Errorf("%s: nobody knows the variable %s", where, v.Name)
		}
		environ = append(environ, v.Name+"="+v.Value)
	}
	if _, err := config.Load(config.Sources{Environ: environ}); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	if !slices.ContainsFunc(environ, func(kv string) bool { return kv == "ACTIONS_RUNNER_CONTAINER_HOOKS=/opt/gantry/hook.sh" }) {
		t.Errorf("%s: the runner is not told of the hook", where)
	}
}

func pageText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Pod templates can be read and merged.
func TestTemplateExamples(t *testing.T) {
	tried := 0
	for _, b := range blocks(t, "yaml") {
		if b.kind != "template" {
			continue
		}
		tried++
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "job"}, {Name: "postgres"}}}}
		own := template.Own{Job: "job", Services: []template.Service{{Container: "postgres", Names: []string{"postgres"}}}}
		parsed, problems := template.Parse(fmt.Sprintf("%s (block of line %d)", b.page, b.line), []byte(b.text))
		if len(problems) == 0 {
			_, _, problems = parsed.Apply(pod, own)
		}
		for _, p := range problems {
			t.Error(p)
		}
	}
	if tried == 0 {
		t.Error("no examples")
	}
}

// The table of flags is the one of the program.
func TestTheTableOfOptions(t *testing.T) {
	const path = "docs/kubernetes.md"
	open, end := []byte("<!-- options -->\n"), []byte("<!-- /options -->\n")
	have := []byte(pageText(t, path))
	before, rest, ok := bytes.Cut(have, open)
	_, after, closed := bytes.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has the table between %s and %s", path, open, end)
	}
	want := slices.Concat(before, open, []byte(optionsTable()), end, after)
	switch {
	case bytes.Equal(want, have):
	case *update:
		if err := os.WriteFile(filepath.Join(root, path), want, 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not up to date: go test ./internal/docstest -run Options -update", path)
	}
}

func optionsTable() string {
	yes := map[bool]string{true: "yes"}
	var b strings.Builder
	b.WriteString("| Flag | In the pod | In-pod too | Job only |\n|---|---|---|---|\n")
	for _, m := range options.Meanings() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Flag, m.Means, yes[m.InPod], yes[m.JobOnly])
	}
	return b.String()
}
