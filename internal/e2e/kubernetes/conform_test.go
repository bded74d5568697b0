package kubernetes

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/figures"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
	"github.com/gantry-ci/gantry/internal/testbed/sample"
)

var update = flag.Bool("update", false, "write the table of docs/conformance.md")

// envAllCases has every case tried; without it a sample is.
const envAllCases = "GANTRY_TEST_ALL_CASES"

// conformSample is how many cases are tried in each mode.
const conformSample = 8

// gantry's own hook passes the cases that a cluster can try. The suite runs in the runner's pod, as the hook does.
func TestGantryConformsOnKubernetes(t *testing.T) {
	var mu sync.Mutex
	rows := map[string]string{}
	t.Run("modes", func(t *testing.T) {
		everywhere(t, func(t *testing.T, p place) {
			t.Parallel()
			r, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.Rules = append(spec.Rules, suiteRules()...) })
			report := p.conform(t, r, env)
			for _, c := range report.Bad() {
				t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
			}
			mu.Lock()
			defer mu.Unlock()
			rows[p.name] = report.Row("kubernetes, " + p.name)
			t.Log(rows[p.name])
		})
	})
	if !*update || os.Getenv(envAllCases) == "" || t.Failed() {
		return
	}
	var all []string
	for _, p := range places() {
		all = append(all, rows[p.name])
	}
	if err := figures.Write("../../../docs/conformance.md", "conformance on kubernetes", all); err != nil {
		t.Fatal(err)
	}
}

// suiteRules are what the suite asks of the API server beside what the hook asks.
func suiteRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "create", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"get", "create"}},
	}
}

// conform is gantry conform in a runner's pod.
func (p place) conform(t *testing.T, r *kubetest.Runner, env []string) *figures.Report {
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
	if p.volume == rbac.None {
		args = append(args, "--work-copied")
	}
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
	report, err := figures.Read(stdout.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return report
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
			return !slices.Contains([]string{"bash", "given-registry", "kubernetes", "private-registry", "root", "rootful", "shared-work"}, need)
		})
	})
	shuffled := sample.Shuffled(sample.Seed(t)+place, possible, func(c conformance.Case) string { return c.ID })
	for _, c := range shuffled[:conformSample] {
		flags = append(flags, "--case", c.ID)
	}
	return flags
}
