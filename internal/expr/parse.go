package expr

import (
	"math"
	"strings"
	"unicode/utf16"
)

// Limits of the runner. Its parser counts characters in UTF-16 units, and the levels of operators, functions and
// member accesses; parentheses count for nothing there, but must end somewhere here.
const (
	maxLength = 21000
	maxDepth  = 50
	maxGroups = 1000
)

// parser is a recursive descent over the tokens of source[start:end].
type parser struct {
	scanner scanner
	token   token // the one to be looked at
	depth   int   // calls of unary that wait for another
}

// parse reads one expression. Offsets in nodes and errors are those in source. levels is how deep it may be.
func parse(source string, start, end, levels int) (node, error) {
	if units(strings.TrimSpace(source[start:end])) > maxLength {
		return nil, tooLong(source, start)
	}
	p := &parser{scanner: scanner{source: source, at: start, end: end}}
	n, err := p.whole(start)
	if err != nil {
		return nil, err
	}
	if deep := tooDeep(n, levels); deep != nil {
		return nil, errorAt(source, deep.at(), "the expression is nested more than %d levels deep", maxDepth)
	}
	return n, nil
}

// units gives the length of a text as the runner counts it.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

func tooLong(source string, at int) error {
	return errorAt(source, at, "an expression, and a text with expressions in it, may have at most %d characters", maxLength)
}

func (p *parser) whole(start int) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenEnd {
		return nil, errorAt(p.scanner.source, start, "an expression is missing")
	}
	n, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected("an operator or the end")
	}
	return n, nil
}

func (p *parser) advance() (err error) {
	p.token, err = p.scanner.next()
	return err
}

// is says whether the token to be looked at is that symbol.
func (p *parser) is(symbol string) bool {
	return p.token.kind == tokenSymbol && p.token.text == symbol
}

// expect takes a symbol.
func (p *parser) expect(symbol, what string) error {
	if !p.is(symbol) {
		return p.unexpected(what)
	}
	return p.advance()
}

func (p *parser) unexpected(wanted string) error {
	if p.token.kind == tokenEnd {
		return errorAt(p.scanner.source, p.token.at, "the expression ends where %s is expected", wanted)
	}
	return errorAt(p.scanner.source, p.token.at, "unexpected %q where %s is expected", p.token.text, wanted)
}

// precedence orders the operators with two sides. All of them group from the left.
func precedence(t token) int {
	if t.kind != tokenSymbol {
		return 0
	}
	switch t.text {
	case "||":
		return 1
	case "&&":
		return 2
	case "==", "!=":
		return 3
	case "<", "<=", ">", ">=":
		return 4
	}
	return 0
}

// binary reads operands joined by operators that bind more than floor.
func (p *parser) binary(floor int) (node, error) {
	left, err := p.unary()
	if err != nil {
		return nil, err
	}
	for precedence(p.token) > floor {
		operator := p.token
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := p.binary(precedence(operator))
		if err != nil {
			return nil, err
		}
		left = combine(operator, left, right)
	}
	return left, nil
}

// combine makes the node of an operator with two sides.
func combine(operator token, left, right node) node {
	at := place(operator.at)
	switch operator.text {
	case "&&", "||":
		or := operator.text == "||"
		if l, ok := left.(logical); ok && l.or == or {
			return logical{l.place, or, append(l.operands, right)}
		}
		return logical{at, or, []node{left, right}}
	}
	return comparison{at, left, right, comparer(operator.text)}
}

func comparer(operator string) func(a, b Value) bool {
	switch operator {
	case "==":
		return Equal
	case "!=":
		return func(a, b Value) bool { return !Equal(a, b) }
	case "<":
		return less
	case ">":
		return greater
	case "<=":
		return func(a, b Value) bool { return less(a, b) || Equal(a, b) }
	}
	return func(a, b Value) bool { return greater(a, b) || Equal(a, b) }
}

// unary reads an operand with any number of ! before it. Every recursion of the parser comes through here.
func (p *parser) unary() (node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxGroups {
		return nil, errorAt(p.scanner.source, p.token.at, "more than %d parentheses, brackets or ! are open here", maxGroups)
	}
	if !p.is("!") {
		return p.primary()
	}
	at := place(p.token.at)
	if err := p.advance(); err != nil {
		return nil, err
	}
	of, err := p.unary()
	if err != nil {
		return nil, err
	}
	return not{at, of}, nil
}

// primary reads a literal, or something that may have members with the accesses to them.
func (p *parser) primary() (node, error) {
	t := p.token
	switch {
	case t.kind == tokenString:
		return literal{place(t.at), t.text}, p.advance()
	case t.kind == tokenNumber:
		return literal{place(t.at), t.number}, p.advance()
	case t.kind == tokenName:
		return p.named()
	case p.is("("):
		return p.group()
	}
	return nil, p.unexpected("a value")
}

func (p *parser) group() (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if err := p.expect(")", "an operator or )"); err != nil {
		return nil, err
	}
	return p.members(n)
}

// named reads a keyword, a function call or a context.
func (p *parser) named() (node, error) {
	name := p.token
	if err := p.advance(); err != nil {
		return nil, err
	}
	if v, ok := keyword(name.text); ok {
		return literal{place(name.at), v}, nil
	}
	if !p.is("(") {
		return p.members(contextRef{place(name.at), strings.ToLower(name.text)})
	}
	n, err := p.call(name)
	if err != nil {
		return nil, err
	}
	return p.members(n)
}

// keyword gives the value of a word that is one, in exactly this case.
func keyword(word string) (Value, bool) {
	switch word {
	case "null":
		return nil, true
	case "true":
		return true, true
	case "false":
		return false, true
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	}
	return nil, false
}

func (p *parser) call(name token) (node, error) {
	f, ok := functionNamed(name.text)
	if !ok {
		return nil, errorAt(p.scanner.source, name.at, "unknown function %q: there are %s", name.text, functionNames())
	}
	args, err := p.arguments()
	if err != nil {
		return nil, err
	}
	if problem := f.arity(len(args)); problem != "" {
		return nil, errorAt(p.scanner.source, name.at, "%s takes %s, got %d", f.name, problem, len(args))
	}
	return call{place(name.at), f, args}, nil
}

// arguments reads everything from the opening to the closing parenthesis.
func (p *parser) arguments() ([]node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.is(")") {
		return nil, p.advance()
	}
	var args []node
	for {
		arg, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		if p.is(")") {
			return args, p.advance()
		}
		if err := p.expect(",", "an operator, a comma or )"); err != nil {
			return nil, err
		}
	}
}

// members reads any number of accesses to members of n.
func (p *parser) members(n node) (node, error) {
	for {
		var err error
		switch {
		case p.is("."):
			n, err = p.dot(n)
		case p.is("["):
			n, err = p.bracket(n)
		default:
			return n, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) dot(of node) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	t := p.token
	switch {
	case p.is("*"):
		return filter{place(t.at), of}, p.advance()
	case t.kind == tokenName:
		return index{place(t.at), of, literal{place(t.at), t.text}}, p.advance()
	}
	return nil, p.unexpected("a name or *")
}

func (p *parser) bracket(of node) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	at := place(p.token.at)
	if p.is("*") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		return filter{at, of}, p.expect("]", "]")
	}
	key, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	return index{at, of, key}, p.expect("]", "an operator or ]")
}
