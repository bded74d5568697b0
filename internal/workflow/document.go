package workflow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// GitHub's limits, or below: a file of this size takes half a second, and aliases cannot make it more.
const (
	maxFileBytes = 1 << 20
	maxNodes     = 50_000
	maxDepth     = 100
)

// document is a parsed YAML file in which aliases are replaced by what they stand for.
type document struct {
	file  string
	lines []string
	root  *yaml.Node // nil: nothing in it, or not readable
}

func (d *document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return strings.TrimSuffix(d.lines[n-1], "\r")
}

// parseDocument reads one YAML document. The error is for the author of the file: a *placedError if the place is
// known.
func parseDocument(file string, data []byte) (doc *document, err error) {
	doc = &document{file: file}
	if len(data) > maxFileBytes {
		return doc, fmt.Errorf("the file has %d bytes; at most %d are read", len(data), maxFileBytes)
	}
	doc.lines = strings.Split(string(data), "\n")
	root, err := decode(data)
	if err != nil || root == nil {
		return doc, err
	}
	if err := resolveAliases(root); err != nil {
		return doc, err
	}
	doc.root = root
	return doc, nil
}

// placedError is a mistake in a file at a known place.
type placedError struct {
	pos Pos
	msg string
}

func (e *placedError) Error() string { return e.msg }

func decode(data []byte) (root *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("the YAML parser cannot cope with it: %v", p)
		}
	}()
	var first, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, &placedError{posOf(&second), "there is a second YAML document; only one is allowed"}
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	if len(first.Content) == 0 {
		return nil, nil
	}
	return first.Content[0], nil
}

func yamlError(err error) error {
	const what = "this is not YAML: "
	var place *yaml.ParserError
	if errors.As(err, &place) && place.Line > 0 {
		return &placedError{Pos{place.Line, max(place.Column, 1)}, what + place.Message}
	}
	return errors.New(what + strings.TrimPrefix(err.Error(), "yaml: "))
}

// resolver replaces aliases and counts the nodes of the tree that results, each as often as it is reached.
type resolver struct {
	sizes map[*yaml.Node]int
	open  map[*yaml.Node]bool
}

func resolveAliases(root *yaml.Node) error {
	r := &resolver{sizes: map[*yaml.Node]int{}, open: map[*yaml.Node]bool{}}
	_, err := r.resolve(root, 0)
	return err
}

func (r *resolver) resolve(n *yaml.Node, depth int) (size int, err error) {
	if depth > maxDepth {
		return 0, &placedError{posOf(n), fmt.Sprintf("values are nested more than %d deep", maxDepth)}
	}
	if size, ok := r.sizes[n]; ok {
		return size, nil
	}
	r.open[n] = true
	defer delete(r.open, n)
	size = 1
	for i, child := range n.Content {
		if child.Kind == yaml.AliasNode {
			if r.open[child.Alias] {
				return 0, &placedError{posOf(child), fmt.Sprintf("*%s is inside of what it stands for", child.Value)}
			}
			child = child.Alias
			n.Content[i] = child
		}
		part, err := r.resolve(child, depth+1)
		if err != nil {
			return 0, err
		}
		if size += part; size > maxNodes {
			return 0, &placedError{posOf(n), fmt.Sprintf("there are more than %d values, aliases resolved", maxNodes)}
		}
	}
	r.sizes[n] = size
	return size, nil
}

func posOf(n *yaml.Node) Pos { return Pos{max(n.Line, 1), max(n.Column, 1)} }
