package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/spell"
)

// reader turns YAML nodes into what encoding/json would make of the same text, held to Go types: it finds keys that
// a type does not have and values of a wrong kind, and remembers where everything stands.
type reader struct {
	file     string
	env      string // the variable that holds the text, in place of a file
	places   map[string]config.Place
	problems config.Problems
	depth    int
	nodes    int
}

// Limits of a document. Aliases can make a short text into a large one.
const (
	maxDepth = 50
	maxNodes = 20_000
)

var errTooLarge = errors.New("the template is too large, or an alias in it leads to itself")

func (r *reader) place(n *yaml.Node) config.Place {
	if r.env != "" {
		return config.Place{Env: r.env}
	}
	return config.Place{File: r.file, Line: n.Line, Col: n.Column}
}

func (r *reader) problem(n *yaml.Node, path, hint, format string, args ...any) {
	r.problems = append(r.problems, config.Problem{Place: r.place(n), Key: path, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// value reads a node for a type. nil is what is left out: null, and what has a problem.
func (r *reader) value(n *yaml.Node, t reflect.Type, path string) any {
	if r.nodes++; r.depth == maxDepth || r.nodes > maxNodes {
		if r.nodes <= maxNodes {
			r.nodes = maxNodes
			r.problem(n, path, "", "%v", errTooLarge)
		}
		return nil
	}
	r.depth++
	defer func() { r.depth-- }()
	if n.Kind == yaml.AliasNode {
		return r.value(n.Alias, t, path)
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	r.places[path] = r.place(n)
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return r.scalar(n, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.object(n, path, fields{known: fieldsOf(t)})
	case reflect.Map:
		return r.object(n, path, fields{any: t.Elem()})
	case reflect.Slice:
		return r.list(n, t.Elem(), path)
	}
	return r.scalar(n, t, path)
}

// object reads a mapping.
func (r *reader) object(n *yaml.Node, path string, keys fields) any {
	if n.Kind != yaml.MappingNode {
		r.problem(n, path, "write one \"name: value\" a line below it", "is %s, not a map", kind(n))
		return nil
	}
	object := map[string]any{}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := join(path, name.Value)
		if line, twice := seen[name.Value]; twice {
			r.problem(name, at, "", "is given twice, first in line %d", line)
			continue
		}
		seen[name.Value] = name.Line
		t, known := keys.typeOf(name.Value)
		if !known {
			r.problem(name, at, keys.suggest(at, name.Value), "there is no such key")
			continue
		}
		if v := r.value(value, t, at); v != nil {
			object[name.Value] = v
			r.places[at] = r.place(name)
		}
	}
	return object
}

func (r *reader) list(n *yaml.Node, element reflect.Type, path string) any {
	if n.Kind != yaml.SequenceNode {
		r.problem(n, path, "write one item a line after \"- \"", "is %s, not a list", kind(n))
		return nil
	}
	list := []any{}
	for i, item := range n.Content {
		if v := r.value(item, element, fmt.Sprintf("%s[%d]", path, i)); v != nil {
			list = append(list, v)
		}
	}
	return list
}

// scalar reads a single value, and holds it to the type by decoding it.
func (r *reader) scalar(n *yaml.Node, t reflect.Type, path string) any {
	if n.Kind != yaml.ScalarNode {
		r.problem(n, path, "", "is %s, not a single value", kind(n))
		return nil
	}
	var v any = n.Value
	if n.Tag != "!!str" && n.Tag != "!!timestamp" && n.Tag != "!!binary" {
		if err := n.Decode(&v); err != nil {
			r.problem(n, path, "", "%v", err)
			return nil
		}
	}
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err != nil {
		r.mismatch(n, t, path, err)
		return nil
	}
	return v
}

// mismatch explains a scalar that does not fit.
func (r *reader) mismatch(n *yaml.Node, t reflect.Type, path string, err error) {
	var wrong *json.UnmarshalTypeError
	switch {
	case t.Kind() == reflect.String:
		r.problem(n, path, fmt.Sprintf("write %q, in quotes", n.Value), "is %s, and text is wanted", kind(n))
	case t.Kind() == reflect.Bool:
		r.problem(n, path, "write true or false", "%q is not a truth value", n.Value)
	case errors.As(err, &wrong) && t.Kind() != reflect.Struct:
		r.problem(n, path, "", "%q is not a whole number, or too large a one", n.Value)
	default:
		r.problem(n, path, "", "%q: %v", n.Value, err)
	}
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!bool":
		return "a truth value"
	case "!!int", "!!float":
		return "a number"
	}
	return "a single value"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fields are the keys that a mapping may have: known ones, or any with values of one type.
type fields struct {
	known map[string]reflect.Type
	any   reflect.Type
}

func (f fields) typeOf(key string) (t reflect.Type, ok bool) {
	if f.any != nil {
		return f.any, true
	}
	t, ok = f.known[key]
	return t, ok
}

// suggest is the hint for a key that there is not.
func (f fields) suggest(path, key string) string {
	if best := spell.Closest(key, slices.Sorted(maps.Keys(f.known))); best != "" {
		return "did you mean " + best + "?"
	}
	if strings.HasPrefix(path, "metadata.") {
		return "of the metadata, a template has labels and annotations only"
	}
	return ""
}

// fieldsOf are the keys that encoding/json knows of a struct, those of structs within it included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && (f.Anonymous || options == "inline"):
			maps.Copy(known, fieldsOf(f.Type))
		case name != "" && name != "-":
			known[name] = f.Type
		}
	}
	return known
}
