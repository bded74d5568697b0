package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// text gives the scalar that c holds as it is written in the file.
func (k Key) text(c *Config) string {
	switch field := k.field(c).(type) {
	case *string:
		return *field
	case *bool:
		return strconv.FormatBool(*field)
	case *int:
		return strconv.Itoa(*field)
	case *time.Duration:
		return durationText(*field)
	}
	return ""
}

// durationText writes "15m" where Go writes "15m0s".
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	if text == "0s" {
		return "0"
	}
	return text
}

// Effective writes c as a gantry.yaml with every key, in the order of Keys. Load reads it back to the same Config.
// Nothing is hidden: values of env may be secrets of the administrator.
func (c *Config) Effective() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range Keys() {
		parent, name := root, k.Path
		for section, below, ok := strings.Cut(name, "."); ok; section, below, ok = strings.Cut(name, ".") {
			parent, name = child(parent, section), below
		}
		parent.Content = append(parent.Content, plain(name), k.node(c))
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// child returns the mapping of that name in parent, made if it is not there.
func child(parent *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(parent.Content); i += 2 {
		if parent.Content[i].Value == name {
			return parent.Content[i+1]
		}
	}
	node := &yaml.Node{Kind: yaml.MappingNode}
	parent.Content = append(parent.Content, plain(name), node)
	return node
}

func (k Key) node(c *Config) *yaml.Node {
	switch field := k.field(c).(type) {
	case *[]string:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range *field {
			list.Content = append(list.Content, plain(item))
		}
		return list
	case *map[string]string:
		entries := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range sortedNames(*field) {
			entries.Content = append(entries.Content, plain(name), plain((*field)[name]))
		}
		return entries
	case *string:
		return plain(*field)
	case *Document:
		if field.Node != nil {
			return field.Node
		}
		return plain(field.File)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: k.text(c)}
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
