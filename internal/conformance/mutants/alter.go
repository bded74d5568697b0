package mutants

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

// alter changes a request, and gives its text.
func (r *Request) alter(request map[string]any, getenv func(string) string) ([]byte, error) {
	for path, value := range r.Set {
		r.Set[path] = mapStrings(value, func(s string) string {
			if name, ok := strings.CutPrefix(s, "$"); ok {
				return getenv(name)
			}
			return s
		})
	}
	args, ok := request["args"].(map[string]any)
	if ok {
		r.alterArgs(args)
	}
	if r.Unstated {
		request["state"] = nil
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("wording the altered request: %w", err)
	}
	return append(text, '\n'), nil
}

func (r *Request) alterArgs(args map[string]any) {
	for _, path := range r.Drop {
		visit(args, path, func(parent map[string]any, name string) { delete(parent, name) })
	}
	for _, path := range slices.Sorted(maps.Keys(r.Set)) {
		value := r.Set[path]
		create(args, path, value)
	}
	for _, change := range r.Replace {
		visit(args, change.In, func(parent map[string]any, name string) {
			parent[name] = mapStrings(parent[name], func(s string) string { return change.Match.ReplaceAllString(s, change.With) })
		})
	}
	for _, removal := range r.Remove {
		visit(args, removal.In, func(parent map[string]any, name string) {
			list, ok := parent[name].([]any)
			if !ok {
				return
			}
			parent[name] = slices.DeleteFunc(list, func(element any) bool {
				member := element
				if o, ok := element.(map[string]any); ok && removal.Member != "" {
					member = o[removal.Member]
				}
				return removal.Matches.MatchString(fmt.Sprint(member))
			})
		})
	}
	r.dropMembers(args)
	if r.Words != "" {
		rewords(args, r.Words)
	}
	if r.Shell != "" {
		wrap(args, r.Shell)
	}
}

func (r *Request) dropMembers(args map[string]any) {
	drop := func(rules []Named, text func(name string, value any) string) {
		for _, rule := range rules {
			visit(args, rule.In, func(parent map[string]any, name string) {
				if o, ok := parent[name].(map[string]any); ok {
					maps.DeleteFunc(o, func(name string, value any) bool { return rule.Matches.MatchString(text(name, value)) })
				}
			})
		}
	}
	drop(r.DropNames, func(name string, _ any) string { return name })
	drop(r.DropValues, func(_ string, value any) string { return fmt.Sprint(value) })
}

// visit calls f for every member that a path leads to. Elements of arrays are visited as members of their own object.
func visit(value any, path string, f func(parent map[string]any, name string)) {
	first, rest, more := strings.Cut(path, ".")
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if first != "*" && first != name {
				continue
			}
			if more {
				visit(value[name], rest, f)
			} else {
				f(value, name)
			}
		}
	case []any:
		for i, element := range value {
			if first != "*" && first != strconv.Itoa(i) {
				continue
			}
			if more {
				visit(element, rest, f)
				continue
			}
			one := map[string]any{first: element}
			f(one, first)
			value[i] = one[first]
		}
	}
}

// create sets a member, which need not be there; the objects above it must be.
func create(value any, path string, to any) {
	parent, name := "", path
	if i := strings.LastIndex(path, "."); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	set := func(o any) {
		if o, ok := o.(map[string]any); ok && name != "*" {
			o[name] = to
		}
	}
	if parent == "" {
		set(value)
		return
	}
	visit(value, parent, func(o map[string]any, member string) { set(o[member]) })
}

// mapStrings changes all strings in a value.
func mapStrings(value any, f func(string) string) any {
	switch value := value.(type) {
	case string:
		return f(value)
	case []any:
		for i := range value {
			value[i] = mapStrings(value[i], f)
		}
	case map[string]any:
		for name := range value {
			value[name] = mapStrings(value[name], f)
		}
	}
	return value
}

// wrap runs a script step's program by a shell of the image.
func wrap(args map[string]any, shell string) {
	pieces := []any{"-c", quote(shell), "sh", quote(fmt.Sprint(args["entryPoint"]))}
	if given, ok := args["entryPointArgs"].([]any); ok {
		pieces = append(pieces, given...)
	}
	args["entryPoint"], args["entryPointArgs"] = "sh", pieces
}

// quote makes a text one argument by the rules of .NET.
func quote(text string) string {
	var b strings.Builder
	backslashes := 0
	for _, c := range text {
		switch c {
		case '\\':
			backslashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		b.WriteRune(c)
	}
	return `"` + b.String() + strings.Repeat(`\`, backslashes) + `"`
}

// rewords splits the arguments by other rules than the runner's.
func rewords(args map[string]any, rules string) {
	given, ok := args["entryPointArgs"].([]any)
	if !ok {
		return
	}
	var pieces []string
	for _, piece := range given {
		pieces = append(pieces, fmt.Sprint(piece))
	}
	words := pieces
	if rules == "posix" {
		words = posix(strings.Join(pieces, " "))
	}
	sent := []any{}
	for _, word := range words {
		sent = append(sent, quote(word))
	}
	args["entryPointArgs"] = sent
}

// posix splits a command line as a POSIX shell does. What is never closed ends at the end.
func posix(line string) []string {
	var words []string
	var word strings.Builder
	inWord, quoted := false, rune(0)
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		c := runes[i]
		switch {
		case quoted == '\'' && c != '\'', quoted == '"' && c != '"' && c != '\\':
			word.WriteRune(c)
		case quoted != 0 && c == quoted:
			quoted = 0
		case c == '\\' && i+1 < len(runes):
			i++
			if quoted == '"' && !strings.ContainsRune("\"\\$`", runes[i]) {
				word.WriteRune('\\')
			}
			word.WriteRune(runes[i])
			inWord = true
		case quoted == 0 && (c == '\'' || c == '"'):
			quoted, inWord = c, true
		case quoted == 0 && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// argv is what the pieces of a request mean.
func argv(args map[string]any) []string {
	var pieces []string
	if given, ok := args["entryPointArgs"].([]any); ok {
		for _, piece := range given {
			pieces = append(pieces, fmt.Sprint(piece))
		}
	}
	return append([]string{fmt.Sprint(args["entryPoint"])}, hook.Argv(pieces)...)
}
