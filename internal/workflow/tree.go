package workflow

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/gantry-ci/gantry/internal/expr"
)

// Tree is a value of any shape as it is written, with expressions in some of its places. Of Items and Fields at most
// one is set; with neither it is Leaf, unless List or Object says that it is an empty one.
type Tree struct {
	Pos    Pos
	Leaf   Scalar
	List   bool
	Items  []Tree
	Object bool
	Fields []TreeField
}

// TreeField is a member of an object.
type TreeField struct {
	Name  string
	Pos   Pos
	Value Tree
}

func (r *reader) tree(n *yaml.Node) Tree {
	t := Tree{Pos: posOf(n)}
	switch n.Kind {
	case yaml.MappingNode:
		t.Object = true
		for key, value := range r.fields(n, "a value") {
			t.Fields = append(t.Fields, TreeField{Name: key.Value, Pos: posOf(key), Value: r.tree(value)})
		}
	case yaml.SequenceNode:
		t.List = true
		for _, item := range n.Content {
			t.Items = append(t.Items, r.tree(item))
		}
	default:
		t.Leaf = r.scalar(n, "a value")
	}
	return t
}

// HasExpr tells whether the value is known only after an evaluation.
func (t Tree) HasExpr() bool {
	found := false
	t.each(func(leaf Text) { found = found || leaf.HasExpr() })
	return found
}

// each visits the leaves in the order of the file.
func (t Tree) each(visit func(Text)) {
	switch {
	case t.Object:
		for _, field := range t.Fields {
			field.Value.each(visit)
		}
	case t.List:
		for _, item := range t.Items {
			item.each(visit)
		}
	default:
		visit(t.Leaf.Text)
	}
}

// Resolve gives the value, with eval asked for each text that has an expression. An error of eval is returned with
// the place of the text before it. eval may be nil if HasExpr is false.
func (t Tree) Resolve(eval func(Text) (expr.Value, error)) (expr.Value, error) {
	switch {
	case t.Object:
		object := expr.NewMap()
		for _, field := range t.Fields {
			value, err := field.Value.Resolve(eval)
			if err != nil {
				return nil, err
			}
			object.Set(field.Name, value)
		}
		return object, nil
	case t.List:
		list := expr.NewArray()
		for _, item := range t.Items {
			value, err := item.Resolve(eval)
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, value)
		}
		return list, nil
	}
	return t.Leaf.resolve(eval)
}

func (s Scalar) resolve(eval func(Text) (expr.Value, error)) (expr.Value, error) {
	if !s.Text.HasExpr() {
		return s.Value, nil
	}
	value, err := eval(s.Text)
	if err != nil {
		return nil, fmt.Errorf("line %d, column %d: %w", s.Text.Pos.Line, s.Text.Pos.Col, err)
	}
	return value, nil
}
