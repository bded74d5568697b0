package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// engineNeeds are the needs that an engine meets or not, and what they stand for. Docker and Podman meet all of the
// second part; an engine that does not leaves out what it cannot do, and no case has to know of it.
func engineNeeds() map[string]string {
	return map[string]string{
		"docker":     "the engine is Docker",
		"podman":     "the engine is Podman",
		"kubernetes": "the engine is a Kubernetes cluster",
		"rootful":    "containers are not those of an ordinary user",

		"addresses":       "each container of a job has an address of its own",
		"builds":          "Dockerfiles can be built",
		"client-login":    "the client's own configuration of the runner's user can hold a login",
		"host-folders":    "folders of this machine outside of the work folder can be mounted",
		"image-health":    "health checks of images count",
		"inspection":      "the engine tells a container's variables and its health",
		"networks":        "containers of a job are in a network of their own",
		"options":         "options are those of the engine's command line, and mean there what they say",
		"processes":       "processes of containers are processes of this machine",
		"registry":        "images can be pulled from a registry that the suite opens",
		"published-ports": "ports of containers can be published on this machine",
		"runners":         "several runners of this machine share the engine",
		"shared-work":     "containers have the runner's work folder itself, and not a copy",
		"volumes":         "there are volumes, with and without names",
	}
}

// suiteNeeds are the needs that the suite itself meets or not.
func suiteNeeds() map[string]string {
	return map[string]string{
		"bash":             "there is an image with bash",
		"root":             "the suite runs as root",
		"given-registry":   "--registry was given",
		"private-registry": "there is a registry with a password: the suite's own, or that of --registry",
	}
}

// Needs are the words of a case's needs, and what they stand for.
func Needs() map[string]string {
	all := engineNeeds()
	maps.Copy(all, suiteNeeds())
	return all
}

// missing says which needs cannot be met; "" for none.
func (s *Suite) missing(needs []string) string {
	own := map[string]bool{
		"bash":             s.images["bash"] != "",
		"root":             s.UID == 0,
		"given-registry":   s.Registry.Host != "",
		"private-registry": s.Registry.Host != "" || s.Engine.Meets("registry"),
	}
	lacking := slices.DeleteFunc(slices.Clone(needs), func(need string) bool {
		met, ofSuite := own[need]
		return met || !ofSuite && s.Engine.Meets(need)
	})
	if len(lacking) == 0 {
		return ""
	}
	return fmt.Sprintf("it needs %s", strings.Join(lacking, ", "))
}

// shown are the needs that nodes of a case show: what it looks at, or asks for, only exists where they are met.
func shown(nodes []*yaml.Node) []string {
	found := map[string]bool{}
	for _, node := range nodes {
		walk(node, func(key string, value *yaml.Node) {
			for _, need := range shownBy(key, value) {
				found[need] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(found))
}

// walk calls f for every member of every object in a node.
func walk(node *yaml.Node, f func(key string, value *yaml.Node)) {
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 1 {
			f(node.Content[i-1].Value, child)
		}
		walk(child, f)
	}
}

func shownBy(key string, value *yaml.Node) []string {
	if key == "image" && value.Value == "private" || strings.Contains(value.Value, "@{private.") {
		return []string{"private-registry"}
	}
	switch key {
	case "requested", "requests_at_most", "fail", "hold", "move":
		return []string{"registry"}
	case "processes_gone", "processes_alive", "process", "arguments_lack":
		return []string{"processes"}
	case "inspect":
		return shownByInspect(value)
	case "reach", "listen":
		return []string{"published-ports"}
	case "dockerfile":
		return []string{"builds"}
	case "runner":
		if value.Kind == yaml.ScalarNode {
			return []string{"runners"}
		}
	case "gone", "exist":
		var needs []string
		for _, object := range value.Content {
			kind, _, _ := strings.Cut(object.Value, " ")
			switch kind {
			case "volume":
				needs = append(needs, "volumes")
			case "network":
				needs = append(needs, "networks")
			}
		}
		return needs
	case "volumes":
		return []string{"volumes"}
	case "sourceVolumePath":
		return shownBySource(value)
	}
	return nil
}

// shownByInspect tells what looking at a container's facts shows.
func shownByInspect(value *yaml.Node) (needs []string) {
	walk(value, func(key string, _ *yaml.Node) {
		if key == "env" || key == "health" {
			needs = []string{"inspection"}
		}
	})
	return needs
}

// shownBySource tells what the source of a mount shows: volumes have no path, and the job has the work folder anyway.
func shownBySource(value *yaml.Node) []string {
	switch {
	case strings.HasPrefix(value.Value, "@{root}/"):
		return []string{"host-folders"}
	case strings.HasPrefix(value.Value, "@{") && !strings.HasPrefix(value.Value, "@{token}"), strings.HasPrefix(value.Value, "/"):
		return nil
	}
	return []string{"volumes"}
}

// checkNeeds finds needs that do not exist, and those that a case shows and does not declare.
func checkNeeds(declared []string, nodes ...*yaml.Node) []error {
	var problems []error
	known := Needs()
	for _, need := range declared {
		if known[need] == "" {
			problems = append(problems, fmt.Errorf("there is no need %q; there are %q", need, slices.Sorted(maps.Keys(known))))
		}
	}
	for _, need := range shown(nodes) {
		if !slices.Contains(declared, need) {
			problems = append(problems, fmt.Errorf("it shows that it needs %s (%s), and does not say so", need, known[need]))
		}
	}
	return problems
}
