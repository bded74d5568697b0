package expr

// node is a part of a parsed expression.
type node interface {
	// at is the offset in the source that errors about the node point to.
	at() int
	// parts are the nodes below.
	parts() []node
}

// place is the offset of a node.
type place int

func (p place) at() int { return int(p) }

type (
	// literal is a constant.
	literal struct {
		place
		value Value
	}
	// contextRef is a named value: github in github.ref.
	contextRef struct {
		place
		name string // lower case
	}
	// index is a member or an item: a.b, a['b'], a[0].
	index struct {
		place
		of, key node
	}
	// filter is a.* or a[*].
	filter struct {
		place
		of node
	}
	// not is !a.
	not struct {
		place
		of node
	}
	// comparison is a == b and its like. compare says whether it holds.
	comparison struct {
		place
		left, right node
		compare     func(a, b Value) bool
	}
	// logical is a && b && c, or with || if or is set.
	logical struct {
		place
		or       bool
		operands []node
	}
	// call is a function with its arguments.
	call struct {
		place
		function function
		args     []node
	}
)

func (literal) parts() []node      { return nil }
func (contextRef) parts() []node   { return nil }
func (n index) parts() []node      { return []node{n.of, n.key} }
func (n filter) parts() []node     { return []node{n.of} }
func (n not) parts() []node        { return []node{n.of} }
func (n comparison) parts() []node { return []node{n.left, n.right} }
func (n logical) parts() []node    { return n.operands }
func (n call) parts() []node       { return n.args }

// walk calls visit for a node and everything below, in the order of the source.
func walk(n node, visit func(node)) {
	visit(n)
	for _, part := range n.parts() {
		walk(part, visit)
	}
}

// tooDeep gives the first node that is more than limit levels below n, n itself being the first level.
func tooDeep(n node, limit int) node {
	if limit <= 0 {
		return n
	}
	for _, part := range n.parts() {
		if deep := tooDeep(part, limit-1); deep != nil {
			return deep
		}
	}
	return nil
}
