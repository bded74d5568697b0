package config

import (
	"errors"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Document is a YAML document: a file of its own, or written in gantry.yaml itself. At most one of both is set.
type Document struct {
	// File is the file's absolute path.
	File string
	// Node is the document in gantry.yaml or in a variable, a mapping without aliases. Place says where its lines count.
	Node  *yaml.Node
	Place Place
}

// IsZero says that there is no document.
func (d Document) IsZero() bool { return d.File == "" && d.Node == nil }

// Equal says that both are the same file, or hold the same, wherever it stands.
func (d Document) Equal(other Document) bool {
	return d.File == other.File && sameNode(d.Node, other.Node)
}

func sameNode(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, sameNode)
}

// document reads a path, or a mapping.
func (d *decoder) documentValue(n *yaml.Node) (Document, error) {
	if n.Kind != yaml.MappingNode {
		text, err := scalar(n)
		if err != nil {
			return Document{}, errors.New("is neither a file nor a map")
		}
		return Document{File: text}, nil
	}
	node, err := plainNode(n)
	return Document{Node: node, Place: d.place(n)}, err
}

// plainNode copies what a document means: without comments, style and anchors.
func plainNode(n *yaml.Node) (*yaml.Node, error) {
	if n.Kind == yaml.AliasNode {
		return nil, &hinted{"has an alias in it (*" + n.Value + ")", "write it out, or into a file of its own"}
	}
	plain := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	if isNull(n) {
		plain.Value = "null"
	}
	for _, child := range n.Content {
		copied, err := plainNode(child)
		if err != nil {
			return nil, err
		}
		plain.Content = append(plain.Content, copied)
	}
	return plain, nil
}
