// Package glob matches names with the wildcards of gantry.yaml: "*" is any run of characters except "/", "**" any
// run at all, "?" one character except "/", "[abc]" and "[!abc]" one of, or none of, the characters.
package glob

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Glob is a compiled pattern.
type Glob struct {
	re *regexp.Regexp
}

// Compile reads a pattern whose "*" stops at "/".
func Compile(pattern string) (*Glob, error) { return compile(pattern, `[^/]`) }

// CompileFlat reads a pattern for text in which "/" means nothing: "*" and "?" match it too.
func CompileFlat(pattern string) (*Glob, error) { return compile(pattern, `[\s\S]`) }

// Match says whether the whole of name matches.
func (g *Glob) Match(name string) bool { return g.re.MatchString(name) }

func compile(pattern, one string) (*Glob, error) {
	var b strings.Builder
	b.WriteString(`\A`)
	for rest := pattern; rest != ""; {
		piece, length, err := translate(rest, one)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q %w", pattern, err)
		}
		b.WriteString(piece)
		rest = rest[length:]
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("the pattern %q is not usable: %w", pattern, err)
	}
	return &Glob{re}, nil
}

// translate gives the regular expression for the wildcard or character that rest starts with, and its length.
func translate(rest, one string) (string, int, error) {
	switch {
	case strings.HasPrefix(rest, "**"):
		return `[\s\S]*`, 2, nil
	case rest[0] == '*':
		return one + `*`, 1, nil
	case rest[0] == '?':
		return one, 1, nil
	case rest[0] == '[':
		return class(rest)
	}
	r, n := utf8.DecodeRuneInString(rest)
	if r == utf8.RuneError && n == 1 {
		return "", 0, errors.New("is not valid UTF-8")
	}
	return regexp.QuoteMeta(rest[:n]), n, nil
}

func class(rest string) (string, int, error) {
	end := strings.IndexByte(rest, ']')
	if end < 0 {
		return "", 0, errors.New(`has a "[" without "]"`)
	}
	set, not := rest[1:end], ""
	if strings.HasPrefix(set, "!") {
		set, not = set[1:], "^/"
	}
	if set == "" {
		return "", 0, errors.New(`has an empty "[]"`)
	}
	quoted := strings.NewReplacer(`\`, `\\`, `^`, `\^`, `[`, `\[`, `&`, `\&`).Replace(set)
	return "[" + not + quoted + "]", end + 1, nil
}
