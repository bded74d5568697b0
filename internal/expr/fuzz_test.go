package expr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/expr"
)

// Whatever the text: evaluation ends without a panic in a value or in an error that lies within the text, and what a
// parsed text says of itself is enough to evaluate it.
func FuzzEval(f *testing.F) {
	for _, p := range readPairs(f, "testdata/expressions.txt") {
		f.Add("${{ " + p.left + " }}")
		f.Add("a ${{ " + p.left + " }}${{ 1 }}")
	}
	for _, p := range readPairs(f, "testdata/errors.txt") {
		f.Add(p.left)
	}
	s := testScope(f)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := s.Eval(text)
		checkPlace(t, text, err)
		if _, err := s.EvalString(text); err != nil {
			checkPlace(t, text, err)
		}
		_, _, err2 := s.EvalBool(text)
		checkPlace(t, text, err2)
		if err == nil {
			checkValue(t, s, text, v)
		}
	})
}

func checkPlace(t *testing.T, text string, err error) {
	t.Helper()
	var e *expr.Error
	if err == nil {
		return
	}
	if !errors.As(err, &e) {
		t.Fatalf("%v has no place", err)
	}
	if e.Offset < 0 || e.Offset > len(text) || e.Line != 1+strings.Count(text[:e.Offset], "\n") || e.Column < 1 {
		t.Fatalf("%+v is not in a text of %d bytes", e, len(text))
	}
}

func checkValue(t *testing.T, s expr.Scope, text string, v expr.Value) {
	t.Helper()
	parsed, err := expr.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.IsLiteral() && v != text {
		t.Fatalf("text without an expression became %v", v)
	}
	for _, name := range parsed.Contexts() {
		if _, ok := s.Contexts[name]; !ok {
			t.Fatalf("evaluated without context %q", name)
		}
	}
	if _, err := expr.EncodeJSON(v); err != nil {
		t.Fatalf("the result cannot be shown: %v", err)
	}
}

// A text that DecodeJSON takes is, once written by EncodeJSON, the same value again.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,null,"x\u2028"],"A":{}}`, `-0`, `"\ud800"`, `1e400`, ` [ ] `, `{"":""}`, "\"\xff\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := expr.DecodeJSON(text)
		if err != nil {
			return
		}
		once := encoded(t, v)
		if strings.Contains(once, "Infinity") {
			return
		}
		again, err := expr.DecodeJSON(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := encoded(t, again); twice != once {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}
