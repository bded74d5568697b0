package expr_test

import (
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

// actionlint checks workflow files before they run. What it accepts, this package must accept too, and the other way
// round, apart from what the runner knows and actionlint's parser does not: numbers with a plus, without digits
// beside the dot, with leading zeros, octal or beyond 32 bits; -Infinity; [*].
func TestSyntaxIsThatOfActionlint(t *testing.T) {
	for _, p := range readPairs(t, "testdata/expressions.txt") {
		_, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(p.left + "}}"))
		if accepted := err == nil; accepted == (p.mark == notActionlint) {
			t.Errorf("line %d: %s: actionlint says %v, the line is marked %q", p.line, p.left, err, p.mark)
		}
	}
}

// FuzzSyntax looks for an expression that actionlint's parser takes and this one does not. Literals that have
// members (1.x, 'a'[0]) are such, and functions and numbers of arguments that actionlint checks later.
func FuzzSyntax(f *testing.F) {
	for _, p := range readPairs(f, "testdata/expressions.txt") {
		f.Add(p.left)
	}
	s := testScope(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 40 || strings.ContainsAny(text, "}.[(") {
			return
		}
		if _, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(text + "}}")); err != nil {
			return
		}
		if _, err := s.Eval("${{" + text + "}}"); err != nil && !strings.Contains(err.Error(), "there is no context") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
