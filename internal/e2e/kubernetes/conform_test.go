package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
	"github.com/gantry-ci/gantry/internal/testbed/sample"
)

// envAllCases has every case tried; without it a sample is.
const envAllCases = "GANTRY_TEST_ALL_CASES"

// conformSample is how many cases are tried in each mode.
const conformSample = 8

// gantry's own hook passes the cases that a cluster can try. The suite runs in the runner's pod, as the hook does.
func TestGantryConformsOnKubernetes(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		t.Parallel()
		r, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.Rules = append(spec.Rules, suiteRules()...) })
		for _, c := range p.conform(t, r, env) {
			if c.Level != conformance.May && c.Outcome != conformance.Pass && c.Outcome != conformance.Skipped {
				t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
			}
		}
	})
}

// suiteRules are what the suite asks of the API server beside what the hook asks.
func suiteRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "create", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"get", "create"}},
	}
}

// conformed is a result as the report has it.
type conformed struct {
	ID, Note string
	Level    conformance.Level
	Outcome  conformance.Outcome
	Failures []conformance.Failure
}

// conform is gantry conform in a runner's pod.
func (p place) conform(t *testing.T, r *kubetest.Runner, env []string) []conformed {
	t.Helper()
	node, programs := testbed.Kubernetes(t), os.Getenv(envPrograms)
	args := append([]string{
		filepath.Join(programs, "gantry"), "conform", "--hook", filepath.Join(programs, "hook.sh"), "--engine", "kubernetes",
		"--publish", node.Registry.Addr + "/" + r.Namespace, "--runner-folder", filepath.Dir(r.Work), "--quiet", "--format", "json",
		"--image-rewrite", "busybox:1=" + node.Registry.Addr + "/" + testbed.Busybox,
		"--image-rewrite", "debian:stable-slim=" + node.Registry.Addr + "/" + testbed.Bash,
		"--registry", node.Private.Addr, "--registry-image", testbed.Busybox, "--registry-user", node.Private.User, "--registry-password-stdin",
	}, casesFor(t, p.name)...)
	variables := []string{"GANTRY_ENGINE=kubernetes", "GANTRY_STATE_DIR=" + filepath.Join(r.Dir, "state"), "GANTRY_KUBERNETES_MODE=" + p.mode, "TMPDIR=" + r.Dir}
	if p.volume != "" {
		_, agent, _ := strings.Cut(strings.Join(env, "\n"), envImage+"=")
		variables = append(variables, "GANTRY_KUBERNETES_VOLUME="+p.volume, "GANTRY_KUBERNETES_AGENT_IMAGE="+agent)
	}
	cmd, err := r.Command(t.Context(), kubetest.Program{Args: args, Env: variables})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(node.Private.Password), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	} else if err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	var report struct{ Results []conformed }
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || len(report.Results) == 0 {
		t.Fatalf("no report: %v\n%s\n%s", err, stdout.String(), stderr.String())
	}
	count := map[conformance.Outcome]int{}
	for _, c := range report.Results {
		count[c.Outcome]++
	}
	t.Logf("%v", count)
	return report.Results
}

// casesFor are the flags that choose the cases.
func casesFor(t *testing.T, place string) []string {
	t.Helper()
	if os.Getenv(envAllCases) != "" {
		return nil
	}
	all, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"--case", "exit-status-kept", "--case", "env-of-job"}
	possible := slices.DeleteFunc(all.Cases, func(c conformance.Case) bool {
		return slices.ContainsFunc(all.Needs(&c), func(need string) bool {
			return !slices.Contains([]string{"bash", "given-registry", "kubernetes", "private-registry", "root", "rootful"}, need)
		})
	})
	shuffled := sample.Shuffled(sample.Seed(t)+place, possible, func(c conformance.Case) string { return c.ID })
	for _, c := range shuffled[:conformSample] {
		flags = append(flags, "--case", c.ID)
	}
	return flags
}
