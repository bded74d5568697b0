package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/internal/spell"
)

// decoder fills a Config from YAML nodes, and remembers where every value came from and what was wrong.
type decoder struct {
	config   *Config
	keys     []Key
	file     string
	env      string // the variable that the nodes were made from, in place of a file
	origins  map[string]Place
	problems Problems
}

func (d *decoder) place(n *yaml.Node) Place {
	if d.env != "" {
		return Place{Env: d.env}
	}
	return Place{File: d.file, Line: n.Line, Col: n.Column}
}

func (d *decoder) problem(n *yaml.Node, key string, err error) {
	d.problems = append(d.problems, newProblem(d.place(n), key, err))
}

// mapping reads a mapping whose keys are below prefix, "" or a section such as "timeouts.".
func (d *decoder) mapping(n *yaml.Node, prefix string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		path := prefix + name.Value
		if line, twice := seen[name.Value]; twice {
			d.problem(name, path, fmt.Errorf("is given twice, first in line %d", line))
			continue
		}
		seen[name.Value] = name.Line
		d.entry(name, value, path)
	}
}

func (d *decoder) entry(name, value *yaml.Node, path string) {
	if i := slices.IndexFunc(d.keys, func(k Key) bool { return k.Path == path }); i >= 0 {
		d.value(d.keys[i], value)
		return
	}
	if !d.isSection(path) {
		d.problem(name, path, &hinted{"there is no such key", d.suggest(path)})
		return
	}
	switch {
	case value.Kind == yaml.MappingNode:
		d.mapping(value, path+".")
	case !isNull(value):
		d.problem(value, path, fmt.Errorf("holds keys of its own (%s)", strings.Join(d.below(path), ", ")))
	}
}

func (d *decoder) isSection(path string) bool { return len(d.below(path)) > 0 }

// below returns the names of the keys in a section.
func (d *decoder) below(section string) []string {
	var names []string
	for _, k := range d.keys {
		if name, ok := strings.CutPrefix(k.Path, section+"."); ok {
			names = append(names, name)
		}
	}
	return names
}

// suggest looks for the misspelt key, or for the same name in another section.
func (d *decoder) suggest(path string) string {
	var paths []string
	leaf := path[strings.LastIndexByte(path, '.')+1:]
	for _, k := range d.keys {
		if strings.HasSuffix(k.Path, "."+leaf) || k.Path == leaf {
			return "did you mean " + k.Path + "?"
		}
		section, _, ok := strings.Cut(k.Path, ".")
		if ok && !strings.Contains(path, ".") && !slices.Contains(paths, section) {
			paths = append(paths, section)
		}
		paths = append(paths, k.Path)
	}
	if best := spell.Closest(path, paths); best != "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// value reads one key's value. null leaves the default.
func (d *decoder) value(k Key, n *yaml.Node) {
	if isNull(n) {
		return
	}
	d.origins[k.Path] = d.place(n)
	var err error
	switch field := k.field(d.config).(type) {
	case *[]string:
		*field = d.list(k, n)
	case *map[string]string:
		*field = d.stringMap(k, n)
	case *string:
		*field, err = scalar(n)
	case *bool:
		*field, err = boolean(n)
	case *int:
		*field, err = number(n)
	case *time.Duration:
		*field, err = duration(n)
	case *Document:
		*field, err = d.documentValue(n)
	}
	if err != nil {
		d.problem(n, k.Path, err)
	}
}

func (d *decoder) list(k Key, n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, k.Path, &hinted{"is not a list", "write [a, b], or one item a line after \"- \""})
		return nil
	}
	var list []string
	for i, item := range n.Content {
		path := fmt.Sprintf("%s[%d]", k.Path, i)
		text, err := scalar(resolve(item))
		if err != nil {
			d.problem(item, path, err)
		}
		d.origins[path] = d.place(item)
		list = append(list, text)
	}
	return list
}

func (d *decoder) stringMap(k Key, n *yaml.Node) map[string]string {
	if n.Kind != yaml.MappingNode {
		d.problem(n, k.Path, &hinted{"is not a map", `write one "name: value" a line below it`})
		return nil
	}
	if len(n.Content) == 0 {
		return nil
	}
	result := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		path := k.Path + "." + name.Value
		if _, twice := result[name.Value]; twice {
			d.problem(name, path, fmt.Errorf("is given twice"))
			continue
		}
		text, err := scalar(value)
		if err != nil {
			d.problem(value, path, err)
		}
		d.origins[path] = d.place(name)
		result[name.Value] = text
	}
	return result
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// scalar takes any scalar as it is written: 1.5 and 007 need no quotes.
func scalar(n *yaml.Node) (string, error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", fmt.Errorf("is not a single value")
	case isNull(n):
		return "", nil
	}
	return n.Value, nil
}

func boolean(n *yaml.Node) (bool, error) {
	text, err := scalar(n)
	if err != nil {
		return false, err
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, &hinted{fmt.Sprintf("%q is not a truth value", text), "write true or false"}
	}
	return b, nil
}

func number(n *yaml.Node) (int, error) {
	text, err := scalar(n)
	if err != nil {
		return 0, err
	}
	i, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return i, nil
}

func duration(n *yaml.Node) (time.Duration, error) {
	text, err := scalar(n)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	hint := `write "90s", "5m" or "1h30m"`
	if _, bare := strconv.ParseFloat(text, 64); bare == nil {
		hint = fmt.Sprintf("with a unit: %q or %q", text+"s", text+"m")
	}
	return 0, &hinted{fmt.Sprintf("%q is not a duration", text), hint}
}
