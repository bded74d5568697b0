// Package rbac is the one table of what gantry may have to ask of the API server, and why. `gantry rbac` prints it as
// a Role, and messages name the missing rule from it. It is pure.
package rbac

import (
	"fmt"
	"slices"
	"strings"
)

// Rule is one kind of request.
type Rule struct {
	Group    string // "" for the core group
	Resource string // "pods", "pods/ephemeralcontainers"
	Verbs    []string
	Why      string // what gantry does with it
	// Optional says what is worse without it; "" if nothing works without.
	Optional string
}

// Need is what a runner uses gantry for.
type Need struct {
	Mode   string // config's kubernetes.mode: "in-pod", "pod" or "auto", which may need either
	Volume string // config's kubernetes.volume, for pod: "shared", "none" or "auto", which may need either
}

// And is what somebody needs for both. The zero Need is for nothing.
func (n Need) And(other Need) Need {
	both := func(a, b string) string {
		switch {
		case a == "" || a == b:
			return b
		case b == "":
			return a
		}
		return Auto
	}
	return Need{Mode: both(n.Mode, other.Mode), Volume: both(n.Volume, other.Volume)}
}

// Values of Need.
const (
	InPod  = "in-pod"
	Pod    = "pod"
	Auto   = "auto"
	Shared = "shared"
	None   = "none"
)

// row is a rule and whom it is for.
type row struct {
	Rule
	inPod, pod bool
	// unshared: of pod, only without a shared volume.
	unshared bool
}

// table is everything that gantry asks for, most important first. A resource may come several times.
func table() []row {
	return []row{
		{inPod: true, pod: true, Rule: Rule{Resource: "pods", Verbs: []string{"get"},
			Why: "to read the runner's own pod, and the state of the job's containers"}},
		{pod: true, Rule: Rule{Resource: "pods", Verbs: []string{"create", "delete", "list"},
			Why: "to start the job's pod, and to find and remove what a job has left"}},
		{inPod: true, Rule: Rule{Resource: "pods/ephemeralcontainers", Verbs: []string{"patch"},
			Why: "to start the job's containers in the runner's pod"}},
		{pod: true, Rule: Rule{Resource: "pods/ephemeralcontainers", Verbs: []string{"patch"},
			Why:      "to start container actions in the job's pod",
			Optional: "jobs with container actions then fail"}},
		{pod: true, Rule: Rule{Resource: "secrets", Verbs: []string{"create", "delete", "get", "list"},
			Why: "for the variables of services, the credentials of registries and the agent's certificates while a job runs"}},
		{inPod: true, Rule: Rule{Resource: "secrets", Verbs: []string{"create", "delete", "get", "list", "update"},
			Why:      "for the credentials of registries while a job runs, and for variables of services whose image cannot be read",
			Optional: "jobs with such containers then fail"}},
		{pod: true, unshared: true, Rule: Rule{Resource: "pods/exec", Verbs: []string{"create"},
			Why:      "to reach the agent where the network does not let the runner connect to the job's pod",
			Optional: "the job's pod must then be reachable at its address"}},
		{pod: true, Rule: Rule{Resource: "pods/exec", Verbs: []string{"create"},
			Why:      "to check the health of services, all at once, while the image of the job is pulled",
			Optional: "the cluster then checks them, one after the other, and starts the job's container after that"}},
		{inPod: true, Rule: Rule{Resource: "pods/exec", Verbs: []string{"create"},
			Why:      "to check the health of services, and to end them, whose images are in a registry that the runner cannot ask",
			Optional: "such services have no health checks, and end with the runner's pod"}},
		{inPod: true, pod: true, Rule: Rule{Resource: "pods/exec", Verbs: []string{"get"},
			Why:      "for that, by a WebSocket",
			Optional: "it is then done by SPDY, which takes a request more, and which not all proxies know"}},
		{inPod: true, pod: true, Rule: Rule{Resource: "pods", Verbs: []string{"watch"},
			Why:      "to learn at once that a container runs or has ended",
			Optional: "gantry then asks again and again, and starts are noticed later"}},
		{inPod: true, pod: true, Rule: Rule{Resource: "pods/log", Verbs: []string{"get"},
			Why:      "to show what a service has printed when it does not become healthy",
			Optional: "its output is then missing from the error"}},
		{inPod: true, pod: true, Rule: Rule{Resource: "events", Verbs: []string{"list"},
			Why:      "to say why a pod is not scheduled or an image is not pulled",
			Optional: "the error then says less"}},
	}
}

// applies says that a row is for what somebody needs.
func (r row) applies(n Need) bool {
	inPod, pod := n.Mode != Pod, n.Mode != InPod
	return r.inPod && inPod || r.pod && pod && (!r.unshared || n.Volume != Shared)
}

// Rules are what that needs, most important first, one rule for each group and resource. A rule is optional if all
// of it is.
func Rules(n Need) []Rule {
	var rules []Rule
	for _, r := range table() {
		if r.applies(n) {
			rules = add(rules, r.Rule)
		}
	}
	return rules
}

// add joins rules about the same resource.
func add(rules []Rule, r Rule) []Rule {
	i := slices.IndexFunc(rules, func(old Rule) bool { return old.Group == r.Group && old.Resource == r.Resource })
	if i < 0 {
		return append(rules, r)
	}
	joined := &rules[i]
	joined.Verbs = slices.Compact(slices.Sorted(slices.Values(slices.Concat(joined.Verbs, r.Verbs))))
	joined.Why += "; " + r.Why
	if r.Optional == "" || joined.Optional == "" {
		joined.Optional = ""
	}
	return rules
}

// Lacking are the parts of what somebody needs that are denied, most important first. A reason of a verb that is needed
// several times is the most important one.
func Lacking(n Need, denied func(verb, group, resource string) bool) []Rule {
	var rules []Rule
	for _, r := range table() {
		r.Verbs = slices.DeleteFunc(slices.Clone(r.Verbs), func(verb string) bool {
			told := slices.ContainsFunc(rules, func(old Rule) bool {
				return old.Group == r.Group && old.Resource == r.Resource && slices.Contains(old.Verbs, verb)
			})
			return told || !denied(verb, r.Group, r.Resource)
		})
		if r.applies(n) && len(r.Verbs) > 0 {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

// YAML is rules as items of a Role's, each with its reason as a comment.
func YAML(rules []Rule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.reason() + r.yaml())
	}
	return b.String()
}

// Find returns the row of the table about a request that the API server has forbidden; not ok if gantry makes no such
// request.
func Find(verb, group, resource string) (Rule, bool) {
	for _, r := range table() {
		if r.Group == group && r.Resource == resource && slices.Contains(r.Verbs, verb) {
			return r.Rule, true
		}
	}
	return Rule{}, false
}

// Missing is the YAML to add to the rules of the runner's Role so that a request is allowed, with the reason as a
// comment.
func Missing(verb, group, resource string) string {
	rule, _ := Find(verb, group, resource)
	rule.Group, rule.Resource, rule.Verbs = group, resource, []string{verb}
	return YAML([]Rule{rule})
}

// reason is a comment: which verbs, what for, and what is without them.
func (r Rule) reason() string {
	if r.Why == "" {
		return ""
	}
	text := "# " + strings.Join(r.Verbs, ", ") + ": " + r.Why
	if r.Optional != "" {
		text += " (not necessary: " + r.Optional + ")"
	}
	return text + "\n"
}

// yaml is the rule as an item of a Role's rules.
func (r Rule) yaml() string {
	return fmt.Sprintf("- apiGroups: [%q]\n  resources: [%s]\n  verbs: [%s]\n", r.Group, r.Resource, strings.Join(r.Verbs, ", "))
}

// Role is a Role and its RoleBinding as YAML, for the service account of the runner's pod. namespace "" leaves it to
// whoever applies it.
func Role(n Need, namespace, name, serviceAccount string) string {
	var b strings.Builder
	metadata := fmt.Sprintf("metadata:\n  name: %s\n", name)
	account := fmt.Sprintf("- kind: ServiceAccount\n  name: %s\n", serviceAccount)
	if namespace != "" {
		metadata += fmt.Sprintf("  namespace: %s\n", namespace)
		account += fmt.Sprintf("  namespace: %s\n", namespace)
	}
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n%srules:\n", metadata)
	for _, r := range Rules(n) {
		for _, part := range table() {
			if part.applies(n) && part.Group == r.Group && part.Resource == r.Resource {
				b.WriteString(part.reason())
			}
		}
		b.WriteString(r.yaml())
	}
	fmt.Fprintf(&b, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n%s", metadata)
	fmt.Fprintf(&b, "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: %s\nsubjects:\n%s", name, account)
	return b.String()
}
