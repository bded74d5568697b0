// Package rbac is the one table of what gantry may have to ask of the API server, and why. `gantry rbac` prints it as
// a Role, and messages name the missing rule from it. It is pure.
package rbac

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
	Mode   string // "in-pod", "pod" or "auto"
	Volume string // of pod: "shared", "none" or "auto"
}

// Rules are what that needs, most important first, one rule for each group and resource.
func Rules(n Need) []Rule { return nil }

// Find returns the rule for a request that the API server has forbidden; not ok if no mode makes such a request.
func Find(verb, group, resource string) (Rule, bool) { return Rule{}, false }

// Missing is the YAML to add to a Role's rules so that the request is allowed, with the reason as a comment.
func Missing(verb, group, resource string) string { return "" }

// Role is a Role and its RoleBinding as YAML.
func Role(n Need, namespace, name, serviceAccount string) string { return "" }
