package expr

import (
	"errors"
	"strings"
)

// maxMemory is how many bytes the values that one evaluation makes may have together. It is the limit of GitHub for
// the templates of a file.
const maxMemory = 10 << 20

// valueSize is what an item of an array counts for.
const valueSize = 32

var errMemory = errors.New("the values that the expression makes are too large, at most 10 MiB are allowed")

// evaluation is one run over an expression.
type evaluation struct {
	scope  Scope
	source string
	budget budget
}

func newEvaluation(s Scope, source string) *evaluation {
	return &evaluation{scope: s, source: source, budget: budget{left: maxMemory}}
}

// budget is the memory that may still be used.
type budget struct{ left int }

func (b *budget) spend(bytes int) error {
	b.left -= bytes
	if b.left < 0 {
		return errMemory
	}
	return nil
}

// output collects a text within a budget. Its first error stays.
type output struct {
	builder strings.Builder
	budget  *budget
	err     error
}

func (e *evaluation) output() *output { return &output{budget: &e.budget} }

func (o *output) write(text string) {
	if o.err == nil {
		o.err = o.budget.spend(len(text))
	}
	if o.err == nil {
		o.builder.WriteString(text)
	}
}

func (o *output) result() (string, error) { return o.builder.String(), o.err }

// eval gives the value of a node. How deep it recurs is limited by the parser.
func (e *evaluation) eval(n node) (Value, error) {
	switch n := n.(type) {
	case literal:
		return n.value, nil
	case contextRef:
		return e.known(n, e.scope.Contexts[n.name])
	case index:
		return e.index(n)
	case filter:
		return e.filter(n)
	case not:
		v, err := e.eval(n.of)
		return !Truthy(v), err
	case comparison:
		return e.comparison(n)
	case logical:
		return e.logical(n)
	}
	return e.call(n.(call))
}

// known refuses what an object of the scope holds and is no Value.
func (e *evaluation) known(n node, v Value) (Value, error) {
	if kindOf(v) == kindNone {
		return nil, errorAt(e.source, n.at(), "a context holds a value of Go type %T", v)
	}
	return v, nil
}

func (e *evaluation) comparison(n comparison) (Value, error) {
	left, err := e.eval(n.left)
	if err != nil {
		return nil, err
	}
	right, err := e.eval(n.right)
	if err != nil {
		return nil, err
	}
	return n.compare(left, right), nil
}

// logical gives the first operand that decides, or the last one.
func (e *evaluation) logical(n logical) (v Value, err error) {
	for _, operand := range n.operands {
		v, err = e.eval(operand)
		if err != nil || Truthy(v) == n.or {
			return v, err
		}
	}
	return v, nil
}

func (e *evaluation) call(n call) (Value, error) {
	v, err := n.function.run(e, n.args)
	var placed *Error
	if err == nil || errors.As(err, &placed) && placed == err {
		return v, err
	}
	wrapped := errorAt(e.source, n.at(), "%s: %s", n.function.name, err)
	wrapped.Err = err
	return nil, wrapped
}

// all evaluates arguments, from left to right.
func (e *evaluation) all(args []node) ([]Value, error) {
	values := make([]Value, len(args))
	for i, arg := range args {
		v, err := e.eval(arg)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}
