package expr

import (
	"slices"
	"strconv"
	"strings"
)

// Open and end of an expression in a text.
const (
	opening = "${{"
	closing = "}}"
)

// maxExpressions is how many expressions one text may have: the runner makes them arguments of one format().
const maxExpressions = 254

// Template is a parsed text with any number of `${{ }}` in it. It does not change, and may be evaluated by several
// goroutines.
type Template struct {
	source string
	pieces []piece
}

// piece is a part of a template: an expression, or if that is nil, text as it is.
type piece struct {
	text string
	expr node
}

// ParseTemplate parses a text. The error is an *Error.
//
// Like GitHub it takes a text with an expression and anything else for one expression, which format() would give:
// the limits of length and nesting are on that.
func ParseTemplate(source string) (*Template, error) {
	t := &Template{source: source}
	for at := 0; at < len(source); {
		start := strings.Index(source[at:], opening)
		if start < 0 {
			t.addText(source[at:])
			break
		}
		start += at
		t.addText(source[at:start])
		end, err := t.addExpression(start)
		if err != nil {
			return nil, err
		}
		at = end
	}
	if err := t.checkLimits(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Template) addText(text string) {
	if text != "" {
		t.pieces = append(t.pieces, piece{text: text})
	}
}

// addExpression parses the expression whose opening is at start, and gives the offset after its end.
func (t *Template) addExpression(start int) (int, error) {
	inner := start + len(opening)
	length := findClosing(t.source[inner:])
	if length < 0 {
		return 0, errorAt(t.source, start, "the %s here has no closing %s", opening, closing)
	}
	n, err := parse(t.source, inner, inner+length, maxDepth)
	if err != nil {
		return 0, err
	}
	end := inner + length + len(closing)
	t.pieces = append(t.pieces, piece{text: t.source[inner : end-len(closing)], expr: n})
	return end, nil
}

// findClosing gives the offset of the first closing that is not in a string, or -1.
func findClosing(text string) int {
	inString := false
	for i := range len(text) {
		switch {
		case text[i] == '\'':
			inString = !inString
		case !inString && strings.HasPrefix(text[i:], closing):
			return i
		}
	}
	return -1
}

// checkLimits applies the limits to the format() that the template stands for.
func (t *Template) checkLimits() error {
	if t.IsLiteral() || t.single() != nil {
		return nil
	}
	length, expressions := units("format('')"), 0
	for _, p := range t.pieces {
		if p.expr == nil {
			length += units(p.text) + strings.Count(p.text, "'") + strings.Count(p.text, "{") + strings.Count(p.text, "}")
			continue
		}
		length += units(strings.TrimSpace(p.text)) + len(", {}") + len(strconv.Itoa(expressions))
		expressions++
		if deep := tooDeep(p.expr, maxDepth-1); deep != nil {
			return errorAt(t.source, deep.at(), "the expression is nested more than %d levels deep", maxDepth-1)
		}
	}
	if expressions > maxExpressions {
		return errorAt(t.source, 0, "the text has %d expressions, at most %d are allowed", expressions, maxExpressions)
	}
	if length > maxLength {
		return tooLong(t.source, 0)
	}
	return nil
}

// IsLiteral says whether the template has no expression.
func (t *Template) IsLiteral() bool { return len(t.expressions()) == 0 }

// single gives the expression that is the whole text, or nil.
func (t *Template) single() node {
	if len(t.pieces) != 1 {
		return nil
	}
	return t.pieces[0].expr
}

func (t *Template) expressions() []node {
	var all []node
	for _, p := range t.pieces {
		if p.expr != nil {
			all = append(all, p.expr)
		}
	}
	return all
}

// Contexts lists the contexts that the template refers to, each once, in lower case and in order of appearance.
func (t *Template) Contexts() []string { return contexts(t.expressions()) }

// Uses says whether the template calls a function, named in any case.
func (t *Template) Uses(function string) bool { return uses(t.expressions(), function) }

func contexts(expressions []node) []string {
	var names []string
	for _, n := range expressions {
		walk(n, func(n node) {
			if c, ok := n.(contextRef); ok && !slices.Contains(names, c.name) {
				names = append(names, c.name)
			}
		})
	}
	return names
}

func uses(expressions []node, function string) bool {
	found := false
	for _, n := range expressions {
		walk(n, func(n node) {
			if c, ok := n.(call); ok && strings.EqualFold(c.function.name, function) {
				found = true
			}
		})
	}
	return found
}

// Eval evaluates the template. The value of a text that is one expression and nothing else keeps its type; any other
// text gives a string, in which arrays and objects appear as the words "Array" and "Object". The error is an *Error.
func (t *Template) Eval(s Scope) (Value, error) {
	for _, n := range t.expressions() {
		if err := s.check(t.source, n); err != nil {
			return nil, err
		}
	}
	return t.eval(newEvaluation(s, t.source))
}

func (t *Template) eval(e *evaluation) (Value, error) {
	if n := t.single(); n != nil {
		v, err := e.eval(n)
		return unfiltered(v), err
	}
	out := e.output()
	for _, p := range t.pieces {
		text := p.text
		if p.expr != nil {
			v, err := e.eval(p.expr)
			if err != nil {
				return nil, err
			}
			text = Text(v)
		}
		out.write(text)
	}
	return t.finish(out)
}

func (t *Template) finish(out *output) (Value, error) {
	text, err := out.result()
	if err != nil {
		return nil, errorAt(t.source, 0, "%s", err)
	}
	return text, nil
}

// EvalString is Eval for a place that takes a string: null is empty, numbers and booleans are written out. A text
// that is one expression and gives an array or object is an error, as on GitHub.
func (t *Template) EvalString(s Scope) (string, error) {
	v, err := t.Eval(s)
	if err != nil {
		return "", err
	}
	if !isPrimitive(v) {
		return "", errorAt(t.source, 0, "a string is expected here, and the expression gives an %s", describe(v))
	}
	return Text(v), nil
}

func describe(v Value) string {
	if kindOf(v) == kindArray {
		return "array"
	}
	return "object"
}
