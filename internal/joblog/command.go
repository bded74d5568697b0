// Package joblog reads the output of steps as the runner does: lines, the workflow commands in them, and the
// secrets that must not be shown.
package joblog

import "strings"

// Command is a workflow command, such as ::error file=a.c,line=1::message.
type Command struct {
	Name  string // lower case
	Props map[string]string
	Data  string
}

// ParseCommand reads a command from a line (ActionCommand.cs): "::name key=value,key=value::data" at the start of
// the line but for blanks, or "##[name key=value;key=value]data" anywhere in it.
func ParseCommand(line string) (Command, bool) {
	if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "::") {
		head, data, ok := strings.Cut(trimmed[2:], "::")
		if !ok {
			return Command{}, false
		}
		return newCommand(head, ",", unescapeProperty, unescapeData(data))
	}
	_, rest, ok := strings.Cut(line, "##[")
	if !ok {
		return Command{}, false
	}
	head, data, ok := strings.Cut(rest, "]")
	if !ok {
		return Command{}, false
	}
	return newCommand(head, ";", unescapeOld, unescapeOld(data))
}

func newCommand(head, separator string, unescape func(string) string, data string) (Command, bool) {
	name, props, _ := strings.Cut(strings.TrimSpace(head), " ")
	if name == "" {
		return Command{}, false
	}
	c := Command{Name: strings.ToLower(name), Props: map[string]string{}, Data: data}
	for prop := range strings.SplitSeq(strings.TrimSpace(props), separator) {
		if key, value, ok := strings.Cut(prop, "="); ok && key != "" && value != "" {
			c.Props[strings.ToLower(strings.TrimSpace(key))] = unescape(value)
		}
	}
	return c, true
}

func unescapeData(s string) string {
	return strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(s)
}

func unescapeProperty(s string) string {
	return strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%").Replace(s)
}

func unescapeOld(s string) string {
	return strings.NewReplacer("%0D", "\r", "%0A", "\n", "%5D", "]", "%3B", ";", "%25", "%").Replace(s)
}
