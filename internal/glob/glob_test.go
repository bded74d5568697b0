package glob_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/glob"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		stops, flat   bool
	}{
		{"node", "node", true, true},
		{"node", "nodes", false, false},
		{"node:*", "node:22-alpine", true, true},
		{"ghcr.io/*", "ghcr.io/a/b", false, true},
		{"ghcr.io/**", "ghcr.io/a/b", true, true},
		{"a.c", "abc", false, false},
		{"?b", "ab", true, true},
		{"?b", "/b", false, true},
		{"[ab]c", "bc", true, true},
		{"[!ab]c", "bc", false, false},
		{"[!a]c", "/c", false, false},
		{"[a-c]", "b", true, true},
		{"", "", true, true},
		{"**", "a\nb", true, true},
		{"ü?", "üö", true, true},
		{`[\]`, `\`, true, true},
	} {
		if got := mustCompile(t, glob.Compile, tt.pattern).Match(tt.name); got != tt.stops {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.name, got, tt.stops)
		}
		if got := mustCompile(t, glob.CompileFlat, tt.pattern).Match(tt.name); got != tt.flat {
			t.Errorf("flat %q matches %q: %v, want %v", tt.pattern, tt.name, got, tt.flat)
		}
	}
}

func mustCompile(t *testing.T, compile func(string) (*glob.Glob, error), pattern string) *glob.Glob {
	t.Helper()
	g, err := compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestCompileRefuses(t *testing.T) {
	for _, pattern := range []string{"a[b", "[]", "[!]", "[z-a]", "\xff"} {
		if _, err := glob.Compile(pattern); err == nil {
			t.Errorf("pattern %q was accepted", pattern)
		}
	}
}

// FuzzMatch: compiling never panics, and a pattern without wildcards matches exactly itself.
func FuzzMatch(f *testing.F) {
	f.Add("node:*")
	f.Add("[!a]")
	f.Fuzz(func(t *testing.T, pattern string) {
		g, err := glob.Compile(pattern)
		if err != nil {
			return
		}
		for _, r := range pattern {
			if r == '*' || r == '?' || r == '[' {
				return
			}
		}
		if !g.Match(pattern) || g.Match(pattern+"x") {
			t.Errorf("%q does not match exactly itself", pattern)
		}
	})
}
