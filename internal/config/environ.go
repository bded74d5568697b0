package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/internal/spell"
)

const (
	envPrefix = "GANTRY_"
	// envFile names the configuration file.
	envFile = "GANTRY_CONFIG"
)

// lookup finds a variable in an environment of the form of os.Environ, in which the last one counts. An empty
// variable is one that is not set: lines like "GANTRY_NETWORK=" in the runner's .env file are meant so.
func lookup(environ []string, name string) string {
	for _, entry := range slices.Backward(environ) {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value
		}
	}
	return ""
}

// environ overlays the variables.
func (d *decoder) environ(environ []string) {
	for _, k := range d.keys {
		d.env = k.Env()
		text := lookup(environ, d.env)
		if text == "" && k.official != "" {
			d.env = k.official
			if text = lookup(environ, d.env); text != "" && k.form != nil {
				text = k.form(text)
			}
		}
		if text != "" {
			d.variable(k, text)
		}
	}
	d.misspelt(environ)
	d.env = ""
}

func (d *decoder) variable(k Key, text string) {
	for path := range d.origins {
		if path == k.Path || strings.HasPrefix(path, k.Path+"[") || strings.HasPrefix(path, k.Path+".") {
			delete(d.origins, path)
		}
	}
	switch k.field(d.config).(type) {
	case *[]string, *map[string]string:
		d.value(k, d.collection(k, text))
	case *Document:
		node, ok := bracketed(text)
		if !ok {
			node = plain(text)
		}
		d.value(k, node)
	default:
		d.value(k, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	}
}

// collection reads "a,b" as a list and "a=b,c=d" as a map. Text in brackets or braces is YAML, for values that have
// commas of their own.
func (d *decoder) collection(k Key, text string) *yaml.Node {
	if node, ok := bracketed(text); ok {
		return node
	}
	node := &yaml.Node{Kind: yaml.SequenceNode}
	_, isMap := k.field(d.config).(*map[string]string)
	if isMap {
		node.Kind = yaml.MappingNode
	}
	for piece := range strings.SplitSeq(text, ",") {
		name, value, hasValue := strings.Cut(strings.TrimSpace(piece), "=")
		switch {
		case !isMap:
			node.Content = append(node.Content, plain(strings.TrimSpace(piece)))
		case hasValue:
			node.Content = append(node.Content, plain(name), plain(value))
		default:
			d.problem(node, k.Path, &hinted{`"` + name + `" has no "="`, "write name=value,name=value"})
		}
	}
	return node
}

// bracketed reads YAML in brackets or braces.
func bracketed(text string) (*yaml.Node, bool) {
	open := strings.IndexByte("[{", text[0])
	if open < 0 || text[len(text)-1] != "]}"[open] {
		return nil, false
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) != 1 {
		return nil, false
	}
	return document.Content[0], true
}

func plain(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// misspelt reports variables that are nearly the name of a key. Others may be meant for other parts of gantry.
func (d *decoder) misspelt(environ []string) {
	known := []string{strings.TrimPrefix(envFile, envPrefix)}
	for _, k := range d.keys {
		known = append(known, strings.TrimPrefix(k.Env(), envPrefix))
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		bare, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(known, bare) {
			continue
		}
		if best := spell.Closest(bare, known); best != "" {
			d.problems = append(d.problems, Problem{Place: Place{Env: name}, Text: "there is no such key",
				Hint: "did you mean " + envPrefix + best + "?"})
		}
	}
}
