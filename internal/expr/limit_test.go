package expr_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/expr"
)

func expression(text string) string { return "${{ " + text + " }}" }

// nested is format('{0}', format('{0}', … 'x')) with so many levels.
func nested(levels int) string {
	return strings.Repeat("format('{0}', ", levels-1) + "'x'" + strings.Repeat(")", levels-1)
}

func TestTheLimitsAreThoseOfTheRunner(t *testing.T) {
	s := testScope(t)
	for name, c := range map[string]struct{ good, bad string }{
		"levels of functions":   {expression(nested(50)), expression(nested(51))},
		"levels below format":   {expression(nested(49)) + "x", expression(nested(50)) + "x"},
		"levels of members":     {expression("github" + strings.Repeat(".x", 49)), expression("github" + strings.Repeat(".x", 50))},
		"levels of not":         {expression(strings.Repeat("!", 49) + "1"), expression(strings.Repeat("!", 50) + "1")},
		"levels of equality":    {expression("1" + strings.Repeat(" == 1", 49)), expression("1" + strings.Repeat(" == 1", 50))},
		"operands of or":        {expression("0" + strings.Repeat(" || 0", 4000)), expression("0" + strings.Repeat(" || 0", 4200))},
		"parentheses":           {expression(strings.Repeat("(", 900) + "1" + strings.Repeat(")", 900)), expression(strings.Repeat("(", 10000))},
		"brackets":              {expression("github[github[0]]"), expression(strings.Repeat("github[", 2900))},
		"length":                {expression("'" + strings.Repeat("x", 20998) + "'"), expression("'" + strings.Repeat("x", 20999) + "'")},
		"length in UTF-16":      {expression("'" + strings.Repeat("😀", 10499) + "'"), expression("'" + strings.Repeat("😀", 10500) + "'")},
		"length of text":        {strings.Repeat("x", 20984) + "${{ 1 }}", strings.Repeat("x", 20985) + "${{ 1 }}"},
		"length of braces":      {strings.Repeat("{", 10492) + "${{ 1 }}", strings.Repeat("{", 10493) + "${{ 1 }}"},
		"length without an end": {strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20) + "${{ 1 }}"},
		"expressions in a text": {strings.Repeat("${{ 1 }}", 254), strings.Repeat("${{ 1 }}", 255)},
		"arguments":             {expression("format('x'" + strings.Repeat(", 1", 254) + ")"), expression("format('x'" + strings.Repeat(", 1", 255) + ")")},
	} {
		if _, err := s.Eval(c.good); err != nil {
			t.Errorf("%s: at the limit: %v", name, err)
		}
		if _, err := s.Eval(c.bad); err == nil {
			t.Errorf("%s: no error above the limit", name)
		}
	}
}

// Each level multiplies the text by twelve: without a limit this would fill any memory.
func TestEvaluationCannotFillTheMemory(t *testing.T) {
	text := "'x'"
	for range 20 {
		text = fmt.Sprintf("format('%s', %s)", strings.Repeat("{0}", 12), text)
	}
	if _, err := (expr.Scope{}).Eval(expression(text)); err == nil {
		t.Error("no error")
	}
}

// endless is an object that is its own member.
type endless struct{}

func (e *endless) Get(string) (expr.Value, bool) { return e, true }
func (e *endless) Names() []string               { return []string{"a", "b"} }

func TestEndlessObjectsEnd(t *testing.T) {
	s := expr.Scope{Contexts: map[string]expr.Value{"e": &endless{}}}
	for _, text := range []string{"toJSON(e)", "e" + strings.Repeat(".*", 40)} {
		if _, err := s.Eval(expression(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestJSONIsNotNestedWithoutEnd(t *testing.T) {
	for levels, good := range map[int]bool{100: true, 101: false, 1 << 20: false} {
		_, err := expr.DecodeJSON(strings.Repeat("[", levels) + strings.Repeat("]", levels))
		if (err == nil) != good {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}
