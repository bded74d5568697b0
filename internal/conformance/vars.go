package conformance

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var variable = regexp.MustCompile(`@\{([a-zA-Z0-9_.-]+)\}`)

// lookup gives the value of a variable of a case.
type lookup func(name string) (string, bool)

// expand copies a node, with values in place of the @{names} in its scalars.
func expand(node *yaml.Node, value lookup) (*yaml.Node, error) {
	next := *node
	if node.Kind == yaml.ScalarNode && strings.Contains(node.Value, "@{") {
		text, err := expandText(node.Value, value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Line, err)
		}
		next.Value = text
		if node.Style == 0 && variable.FindString(node.Value) == node.Value {
			next.Tag = "" // it may be a number now
		}
	}
	next.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		expanded, err := expand(child, value)
		if err != nil {
			return nil, err
		}
		next.Content[i] = expanded
	}
	return &next, nil
}

func expandText(text string, value lookup) (string, error) {
	var err error
	expanded := variable.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		replacement, ok := value(name)
		if !ok {
			err = unknown(name)
		}
		return replacement
	})
	return expanded, err
}

// unknown is the name of a variable that has no value.
type unknown string

func (u unknown) Error() string { return fmt.Sprintf("nothing is known as @{%s} here", string(u)) }

// ofHook says whether it would have come from what a hook answered or made.
func (u unknown) ofHook() bool { return hooksOwn.MatchString(string(u)) }

var hooksOwn = regexp.MustCompile(`^(job|network|service\.\d+|response\..*|\w+\.(container|network|volume)\.\d+)$`)
