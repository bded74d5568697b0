package workflow

import (
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"

	"github.com/gantry-ci/gantry/internal/expr"
)

// template is what is common to a condition and another text.
type template interface {
	Contexts() []string
	Uses(function string) bool
}

// checkText reports what GitHub refuses in a text before anything runs: syntax, unknown functions, and contexts and
// functions that are not available where the text stands. Each expression of the text is looked at for itself.
func (r *reader) checkText(where place, t Text) {
	bare := where.condition && t.Written() && !t.HasExpr()
	switch {
	case bare:
		r.checkExpression(where, t, 0, len(t.Raw))
		return
	case !t.HasExpr():
		return
	case where.none:
		r.report(t.Pos, Error, kindExpression, "there can be no expression here; defaults.run of the job can have one")
		return
	}
	fine := true
	for start, end := range expressions(t.Raw) {
		fine = r.checkExpression(where, t, start, end) && fine
	}
	if _, err := expr.ParseTemplate(t.Raw); err != nil && fine { // a limit for the text as a whole
		r.expressionError(t, 0, err)
	}
}

// expressions gives the ends of each ${{ … }} of a text. One that is not closed goes on to the end of the text.
func expressions(raw string) iter.Seq2[int, int] {
	return func(yield func(start, end int) bool) {
		for start := strings.Index(raw, "${{"); start >= 0; {
			end := closing(raw, start)
			if !yield(start, end) {
				return
			}
			next := strings.Index(raw[end:], "${{")
			if next < 0 {
				return
			}
			start = end + next
		}
	}
}

// closing gives the end of the expression that begins at start. A string may hold }}.
func closing(raw string, start int) int {
	inString := false
	for i := start; i < len(raw); i++ {
		switch {
		case raw[i] == '\'':
			inString = !inString
		case !inString && strings.HasPrefix(raw[i:], "}}"):
			return i + len("}}")
		}
	}
	return len(raw)
}

// checkExpression looks at raw[start:end] of a text and tells whether it is right.
func (r *reader) checkExpression(where place, t Text, start, end int) bool {
	parsed, err := parseTemplate(where, t.Raw[start:end])
	if err != nil {
		r.expressionError(t, start, err)
		return false
	}
	fine := true
	contexts, functions := where.available()
	for _, name := range parsed.Contexts() {
		if !slices.Contains(contexts, name) {
			fine = false
			r.report(t.find(name, start), Error, kindExpression, "the context %q is not available here, only %s",
				name, orNothing(contexts))
		}
	}
	for _, name := range limitedFunctions() {
		if parsed.Uses(name) && !slices.Contains(functions, lower(name)) {
			fine = false
			r.report(t.find(name, start), Error, kindExpression, "the function %s() is not available here", name)
		}
	}
	return fine
}

func parseTemplate(where place, raw string) (template, error) {
	if where.condition {
		return expr.ParseCondition(raw)
	}
	return expr.ParseTemplate(raw)
}

// expressionError reports an error of what begins at start in a text.
func (r *reader) expressionError(t Text, start int, err error) {
	pos, message := t.Pos, err.Error()
	var placed *expr.Error
	if errors.As(err, &placed) {
		pos, message = t.At(start+placed.Offset), placed.Message
	}
	r.report(pos, Error, kindExpression, "%s", message)
}

// limitedFunctions are not available everywhere.
func limitedFunctions() []string {
	return []string{"always", "cancelled", "failure", "success", "hashFiles"}
}

func (p place) available() (contexts, functions []string) {
	if p.key == "" {
		return p.contexts, p.functions
	}
	return actionlint.WorkflowKeyAvailability(p.key)
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// find gives the place of a name in the expression that begins at start.
func (t Text) find(name string, start int) Pos {
	if i := strings.Index(lower(t.Raw[start:]), lower(name)); i >= 0 {
		return t.At(start + i)
	}
	return t.At(start)
}
