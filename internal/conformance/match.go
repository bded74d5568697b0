package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Failure is one thing that was not as it must be.
type Failure struct {
	// Call says which call it was about: its number from 1 and its kind.
	Call string `json:"call,omitempty"`
	What string `json:"what"`
	// Expected and Observed are for people.
	Expected string `json:"expected"`
	Observed string `json:"observed"`
}

// failures of a text.
func (t *Text) failures(what string, got printed) []Failure {
	if t == nil {
		return nil
	}
	var found []Failure
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			observed := strconv.Quote(excerpt(got.Text))
			if got.Text == "" {
				observed = "nothing"
			}
			found = append(found, Failure{What: what, Expected: fmt.Sprintf(format, args...), Observed: observed})
		}
	}
	report(t.Is != nil && got.Text != *t.Is, "is %q", deref(t.Is))
	for _, part := range t.Contains {
		report(!strings.Contains(got.Text, part), "contains %q", part)
	}
	for _, part := range t.Lacks {
		report(strings.Contains(got.Text, part), "lacks %q", part)
	}
	for part, times := range t.Times {
		report(strings.Count(got.Text, part) != times, "has %q %d times", part, times)
	}
	lines := strings.Split(got.Text, "\n")
	for _, line := range t.HasLines {
		report(!slices.Contains(lines, line), "has the line %q", line)
	}
	report(t.Matches != "" && !matches(t.Matches, got.Text), "matches %s", t.Matches)
	report(!strings.HasSuffix(got.Text, t.Ends), "ends in %q", t.Ends)
	report(!inOrder(got.Text, t.InOrder), "has, in this order, %q", t.InOrder)
	if t.Bytes != nil && got.Size != *t.Bytes {
		found = append(found, Failure{What: what, Expected: fmt.Sprintf("has %d bytes", *t.Bytes), Observed: fmt.Sprintf("%d bytes", got.Size)})
	}
	if t.SHA256 != "" && got.SHA256 != t.SHA256 {
		found = append(found, Failure{What: what, Expected: "has the sum " + t.SHA256, Observed: got.SHA256})
	}
	return found
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// matches says whether a pattern is found; a pattern that is none finds nothing.
func matches(pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(text)
}

func inOrder(text string, parts []string) bool {
	for _, part := range parts {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// at finds a value by its path within JSON: names and indices with dots between them.
func at(value any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch container := value.(type) {
		case map[string]any:
			next, ok := container[name]
			if !ok {
				return nil, false
			}
			value = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(container) {
				return nil, false
			}
			value = container[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// failures of a value.
func (v *Value) failures(what string, got any, there bool) []Failure {
	var found []Failure
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			found = append(found, Failure{What: what, Expected: fmt.Sprintf(format, args...), Observed: describe(got, there)})
		}
	}
	if v.Absent {
		report(there, "is not there")
		return found
	}
	if !there {
		report(v.Not.IsZero(), "is there")
		return found
	}
	report(!v.Is.IsZero() && !equal(&v.Is, got), "is %s", scalar(&v.Is))
	report(!v.Not.IsZero() && equal(&v.Not, got), "is not %s", scalar(&v.Not))
	report(v.Type != "" && v.Type != typeOf(got), "is of type %s", v.Type)
	report(v.NotEmpty && size(got) == 0, "is not empty")
	report(v.Length != nil && size(got) != *orZero(v.Length), "has %d entries", *orZero(v.Length))
	return append(found, v.Text.failures(what, plain(textOf(got)))...)
}

func orZero(n *int) *int {
	if n == nil {
		return new(int)
	}
	return n
}

func describe(value any, there bool) string {
	if !there {
		return "not there"
	}
	return excerpt(textOf(value))
}

func textOf(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func scalar(node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode {
		text, _ := yaml.Marshal(node)
		return strings.TrimSpace(string(text))
	}
	return node.Value
}

// equal compares a value of YAML with one of JSON.
func equal(want *yaml.Node, got any) bool {
	var value any
	if err := want.Decode(&value); err != nil {
		return false
	}
	text, err := json.Marshal(value)
	if err != nil {
		return false
	}
	var same any
	return json.Unmarshal(text, &same) == nil && reflect.DeepEqual(same, got)
}

func typeOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func size(value any) int {
	switch value := value.(type) {
	case string:
		return len(value)
	case []any:
		return len(value)
	case map[string]any:
		return len(value)
	case nil:
		return 0
	}
	return 1
}
