package expr_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/expr"
)

func TestErrorsSayWhere(t *testing.T) {
	s := testScope(t)
	for _, p := range readPairs(t, "testdata/errors.txt") {
		template := p.left
		if strings.HasPrefix(template, `"`) {
			var err error
			if template, err = strconv.Unquote(template); err != nil {
				t.Fatalf("line %d: %v", p.line, err)
			}
		}
		_, err := s.Eval(template)
		var e *expr.Error
		if !errors.As(err, &e) {
			t.Errorf("line %d: %s: got %v, want an *Error", p.line, p.left, err)
			continue
		}
		if got := fmt.Sprintf("%d:%d", e.Line, e.Column); got != p.right {
			t.Errorf("line %d: %s: got %v, want it at %s", p.line, p.left, err, p.right)
		}
	}
}

func TestAnErrorsOffsetIsInBytes(t *testing.T) {
	_, err := testScope(t).Eval("äö\n${{ nope }}")
	var e *expr.Error
	if !errors.As(err, &e) || e.Offset != len("äö\n${{ ") || e.Line != 2 || e.Column != 5 {
		t.Errorf("got %+v", e)
	}
}

func TestAnUnknownContextsErrorNamesTheKnownOnes(t *testing.T) {
	s := expr.Scope{Contexts: map[string]expr.Value{"github": nil, "env": nil}}
	_, err := s.Eval("${{ secrets.TOKEN }}")
	for _, word := range []string{"secrets", "env", "github"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %q in it", err, word)
		}
	}
}

func TestTheErrorOfHashFilesIsKept(t *testing.T) {
	if _, err := testScope(t).Eval("x ${{ hashFiles('fail') }}"); !errors.Is(err, errHash) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsShowNoValues(t *testing.T) {
	s := expr.Scope{Contexts: map[string]expr.Value{"secrets": expr.NewMap()}}
	s.Contexts["secrets"].(*expr.Map).Set("X", "qqq{{{")
	for _, template := range []string{
		"${{ fromJSON(secrets.X) }}",
		"${{ format(secrets.X, 1) }}",
		"${{ case(secrets.X, 1, 2) }}",
		"${{ format(format('{{{0}}}', secrets.X), 1) }}",
	} {
		if _, err := s.Eval(template); err == nil || strings.Contains(err.Error(), "q") {
			t.Errorf("%s: got %v", template, err)
		}
	}
}

func TestFunctionsThatTheScopeLacksAreRefused(t *testing.T) {
	for _, function := range []string{"success()", "failure()", "cancelled()", "always()", "hashFiles('x')"} {
		if v, err := (expr.Scope{}).Eval("${{ true || " + function + " }}"); err == nil {
			t.Errorf("%s: got %v", function, v)
		}
	}
}
