package rbac_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
)

func needs() []rbac.Need {
	return []rbac.Need{
		{Mode: rbac.InPod}, {Mode: rbac.Pod, Volume: rbac.Shared}, {Mode: rbac.Pod, Volume: rbac.None},
		{Mode: rbac.Pod, Volume: rbac.Auto}, {Mode: rbac.Auto, Volume: rbac.Auto},
	}
}

// What is printed is a Role that Kubernetes reads the same, and a binding of it to the runner's account.
func TestRole(t *testing.T) {
	for _, n := range needs() {
		role, binding, ok := strings.Cut(rbac.Role(n, "ci", "gantry", "runner"), "---\n")
		if !ok {
			t.Fatalf("%+v: not two documents", n)
		}
		var r rbacv1.Role
		var b rbacv1.RoleBinding
		if err := yaml.UnmarshalStrict([]byte(role), &r); err != nil {
			t.Errorf("%+v: %v\n%s", n, err, role)
		}
		if err := yaml.UnmarshalStrict([]byte(binding), &b); err != nil {
			t.Errorf("%+v: %v\n%s", n, err, binding)
		}
		var want []rbacv1.PolicyRule
		for _, rule := range rbac.Rules(n) {
			want = append(want, rbacv1.PolicyRule{APIGroups: []string{rule.Group}, Resources: []string{rule.Resource}, Verbs: rule.Verbs})
		}
		if diff := cmp.Diff(want, r.Rules); diff != "" {
			t.Errorf("%+v: %s", n, diff)
		}
		if b.RoleRef.Name != r.Name || len(b.Subjects) != 1 || b.Subjects[0].Name != "runner" || b.Subjects[0].Namespace != "ci" {
			t.Errorf("%+v: the binding is %+v", n, b)
		}
	}
}

// No rule names everything, no resource comes twice, every rule says why.
func TestRulesAreNarrow(t *testing.T) {
	for _, n := range needs() {
		seen := map[string]bool{}
		for _, rule := range rbac.Rules(n) {
			if seen[rule.Resource] || rule.Why == "" || slices.Contains(rule.Verbs, "*") || strings.Contains(rule.Resource, "*") ||
				len(slices.Compact(slices.Clone(rule.Verbs))) != len(rule.Verbs) {
				t.Errorf("%+v: %+v", n, rule)
			}
			seen[rule.Resource] = true
		}
	}
}

// A mode is allowed what it needs and nothing of the others: no pods are made in-pod.
func TestModesDiffer(t *testing.T) {
	allows := func(n rbac.Need, verb, resource string) bool {
		return slices.ContainsFunc(rbac.Rules(n), func(r rbac.Rule) bool {
			return r.Resource == resource && slices.Contains(r.Verbs, verb)
		})
	}
	for _, tt := range []struct {
		need           rbac.Need
		verb, resource string
		want           bool
	}{
		{rbac.Need{Mode: rbac.InPod}, "create", "pods", false},
		{rbac.Need{Mode: rbac.InPod}, "list", "pods", false},
		{rbac.Need{Mode: rbac.InPod}, "patch", "pods/ephemeralcontainers", true},
		{rbac.Need{Mode: rbac.Pod, Volume: rbac.Shared}, "create", "pods", true},
		{rbac.Need{Mode: rbac.Pod, Volume: rbac.Shared}, "create", "pods/exec", true},
		{rbac.Need{Mode: rbac.Pod, Volume: rbac.None}, "create", "pods/exec", true},
		{rbac.Need{Mode: rbac.Auto, Volume: rbac.Shared}, "create", "pods", true},
		{rbac.Need{Mode: rbac.Auto, Volume: rbac.Auto}, "create", "pods/exec", true},
	} {
		if allows(tt.need, tt.verb, tt.resource) != tt.want {
			t.Errorf("%+v: %s %s is allowed: %v", tt.need, tt.verb, tt.resource, !tt.want)
		}
	}
}

// A forbidden request is answered with the rule to add.
func TestMissing(t *testing.T) {
	for _, request := range [][3]string{{"patch", "", "pods/ephemeralcontainers"}, {"watch", "", "pods"}, {"list", "batch", "jobs"}} {
		var rules []rbacv1.PolicyRule
		text := rbac.Missing(request[0], request[1], request[2])
		if err := yaml.UnmarshalStrict([]byte(text), &rules); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		want := []rbacv1.PolicyRule{{APIGroups: []string{request[1]}, Resources: []string{request[2]}, Verbs: []string{request[0]}}}
		if diff := cmp.Diff(want, rules); diff != "" {
			t.Error(diff)
		}
	}
	if r, ok := rbac.Find("watch", "", "pods"); !ok || r.Optional == "" {
		t.Errorf("watching is said to be necessary: %+v", r)
	}
	if r, ok := rbac.Find("escalate", "", "roles"); ok {
		t.Errorf("gantry asks for %+v", r)
	}
}

// What is lacking is told once, in a form that can be added to a Role, the necessary first.
func TestLacking(t *testing.T) {
	everything := func(string, string, string) bool { return true }
	for _, n := range needs() {
		var got []rbacv1.PolicyRule
		if err := yaml.UnmarshalStrict([]byte(rbac.YAML(rbac.Lacking(n, everything))), &got); err != nil {
			t.Fatal(err)
		}
		lacking, needed := map[string]int{}, map[string]int{}
		for _, r := range got {
			for _, verb := range r.Verbs {
				lacking[verb+" "+r.Resources[0]]++
			}
		}
		for _, r := range rbac.Rules(n) {
			for _, verb := range r.Verbs {
				needed[verb+" "+r.Resource]++
			}
		}
		if diff := cmp.Diff(needed, lacking); diff != "" {
			t.Errorf("%+v: %s", n, diff)
		}
	}
	watch := func(verb, _, _ string) bool { return verb == "watch" }
	if got := rbac.Lacking(rbac.Need{Mode: rbac.InPod}, watch); len(got) != 1 || got[0].Optional == "" || !strings.HasPrefix(rbac.YAML(got), "# watch: ") {
		t.Errorf("without watch, %+v is lacking", got)
	}
}
