package workflow

import (
	"fmt"
	"iter"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/gantry-ci/gantry/internal/expr"
)

// reader turns YAML into the model. It goes on after a mistake; what it says of syntax is said again by actionlint
// for most of a workflow file, see merge.
type reader struct {
	*document
	findings []Finding
	ignored  []Note
	job      string       // whose part is being read
	accepted map[Pos]bool // places that actionlint does not understand and that are right
}

func newReader(d *document) *reader { return &reader{document: d, accepted: map[Pos]bool{}} }

func (r *reader) report(pos Pos, severity Severity, kind, format string, args ...any) {
	r.findings = append(r.findings, Finding{
		File: r.file, Pos: pos, Severity: severity, Kind: kind,
		Message: fmt.Sprintf(format, args...), Source: r.line(pos.Line),
	})
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.report(posOf(n), Error, kindSyntax, format, args...)
}

func (r *reader) accept(n *yaml.Node) { r.accepted[posOf(n)] = true }

func (r *reader) ignore(key *yaml.Node) {
	r.ignored = append(r.ignored, Note{Job: r.job, Key: key.Value, Pos: posOf(key), File: r.file})
}

// fields are the keys and values of a mapping. A null has none. what is named in a finding: "job", "step".
func (r *reader) fields(n *yaml.Node, what string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			r.wrong(n, "%s is %s; keys with values are expected", what, shape(n))
			return
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if !r.isKey(key, what, seen) {
				continue
			}
			if !yield(key, n.Content[i+1]) {
				return
			}
		}
	}
}

func (r *reader) isKey(key *yaml.Node, what string, seen map[string]bool) bool {
	switch {
	case key.Kind != yaml.ScalarNode:
		r.wrong(key, "a key of %s is %s; it must be text", what, shape(key))
	case key.Value == "<<" && key.Style == 0:
		r.wrong(key, "GitHub does not know the merge key <<")
	case strings.Contains(key.Value, "${{"):
		r.report(posOf(key), Error, kindUnsupported, "expressions in keys are not supported")
	case seen[strings.ToLower(key.Value)]:
		r.wrong(key, "%q is in %s twice; upper and lower case are the same", key.Value, what)
	default:
		seen[strings.ToLower(key.Value)] = true
		return true
	}
	return false
}

func (r *reader) unknownKey(key *yaml.Node, what string) {
	r.wrong(key, "unexpected key %q in %s", key.Value, what)
}

// items are the elements of a list.
func (r *reader) items(n *yaml.Node, what string) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, "%s is %s; a list is expected", what, shape(n))
		return nil
	}
	return n.Content
}

// itemsOrOne takes a scalar for a list of one.
func (r *reader) itemsOrOne(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		return []*yaml.Node{n}
	}
	return r.items(n, what)
}

func isNull(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	value, err := scalarValue(n)
	return err == nil && value == nil
}

func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "empty"
		}
		return fmt.Sprintf("the text %q", n.Value)
	}
	return "something else"
}

// scalar is the value of a node with its type; what is not a scalar is a finding.
func (r *reader) scalar(n *yaml.Node, what string) Scalar {
	if n.Kind != yaml.ScalarNode {
		r.wrong(n, "%s is %s; text is expected", what, shape(n))
		return Scalar{}
	}
	value, err := scalarValue(n)
	if err != nil {
		r.wrong(n, "%s", err)
		return Scalar{}
	}
	return Scalar{Text: r.place(n, expr.Text(value)), Value: value}
}

// place makes the Text of a scalar node.
func (r *reader) place(n *yaml.Node, raw string) Text {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
	t := Text{Raw: raw, Pos: posOf(n), quoted: n.Style&quoted != 0, block: n.Style&yaml.LiteralStyle != 0}
	switch {
	case t.block:
		t.start = r.blockStart(n)
	case t.quoted:
		t.start = r.startAt(t.Pos.Line, t.Pos.Col+1, raw)
	default:
		t.start = r.startAt(t.Pos.Line, t.Pos.Col, raw)
	}
	return t
}

// startAt gives back the column if the text is there in the file as it is.
func (r *reader) startAt(line, col int, raw string) int {
	source := []rune(r.line(line))
	if col > len(source) || !strings.HasPrefix(string(source[col-1:]), raw) {
		return 0
	}
	return col
}

// blockStart measures where the lines of a literal block begin, by the first one.
func (r *reader) blockStart(n *yaml.Node) int {
	first, _, _ := strings.Cut(n.Value, "\n")
	source := r.line(n.Line + 1)
	if first == "" || !strings.HasSuffix(source, first) {
		return 0
	}
	return len(source) - len(first) + 1
}

func (r *reader) text(n *yaml.Node, what string) Text { return r.scalar(n, what).Text }

// literal is a value that cannot be an expression.
func (r *reader) literal(n *yaml.Node, what string) string {
	t := r.text(n, what)
	if t.HasExpr() {
		r.wrong(n, "%s cannot have an expression", what)
	}
	return t.Raw
}

func (r *reader) flag(n *yaml.Node, what string) Flag {
	s := r.scalar(n, what)
	value, ok := s.Value.(bool)
	if !ok && s.Text.Written() && !s.Text.IsExpr() {
		r.wrong(n, "%s is %s; true, false or one expression is expected", what, shape(n))
	}
	return Flag{Text: s.Text, Value: value}
}

func (r *reader) number(n *yaml.Node, what string) Number {
	s := r.scalar(n, what)
	value, ok := s.Value.(float64)
	if !ok && s.Text.Written() && !s.Text.IsExpr() {
		r.wrong(n, "%s is %s; a number or one expression is expected", what, shape(n))
	}
	return Number{Text: s.Text, Value: value}
}

func (r *reader) texts(n *yaml.Node, what string) []Text {
	var all []Text
	for _, item := range r.items(n, what) {
		all = append(all, r.text(item, what))
	}
	return all
}

// vars reads names with values.
func (r *reader) vars(n *yaml.Node, what string) []Var {
	var all []Var
	for key, value := range r.fields(n, what) {
		all = append(all, Var{Name: key.Value, Pos: posOf(key), Value: r.text(value, what)})
	}
	return all
}

// varsOrExpr reads names with values, or one expression for all.
func (r *reader) varsOrExpr(n *yaml.Node, what string) Vars {
	if t, ok := r.wholeExpr(n); ok {
		return Vars{Expr: t}
	}
	return Vars{List: r.vars(n, what)}
}

// wholeExpr tells whether an expression stands where a mapping or a list could.
func (r *reader) wholeExpr(n *yaml.Node) (Text, bool) {
	if n.Kind != yaml.ScalarNode {
		return Text{}, false
	}
	t := r.place(n, n.Value)
	return t, t.IsExpr()
}
