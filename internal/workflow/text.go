package workflow

import (
	"strings"
	"unicode/utf8"

	"github.com/gantry-ci/gantry/internal/expr"
)

// Pos is a place in a file. Both numbers count from 1; the zero Pos means that something is not in the file.
type Pos struct{ Line, Col int }

// IsValid tells whether p is a place in a file.
func (p Pos) IsValid() bool { return p.Line > 0 }

// Text is a template: text that may hold ${{ expressions }}. The zero Text is not in the file.
type Text struct {
	// Raw is the value, with YAML's quoting and escapes undone, and its expressions as they are written. Numbers and
	// booleans are in GitHub's way to write them.
	Raw string
	// Pos is where the value begins: at the quote of a quoted one, at the | or > of a block.
	Pos Pos
	// Literal says that Raw has no expressions whatever it looks like, because it is the result of one.
	Literal bool

	quoted bool
	start  int // column of Raw's first character; of a literal block, of that of each line; 0: cannot be said
	block  bool
}

// Literal is a text that is not from a file and holds no expression.
func Literal(s string) Text { return Text{Raw: s, Literal: true} }

// Written tells whether the text is in the file, even if it is empty.
func (t Text) Written() bool { return t.Pos.IsValid() || t.Literal }

// HasExpr tells whether there is an expression to evaluate.
func (t Text) HasExpr() bool {
	start := strings.Index(t.Raw, "${{")
	return start >= 0 && !t.Literal
}

// IsExpr tells whether the text is one expression and nothing else, so that its value keeps its type.
func (t Text) IsExpr() bool {
	s := strings.TrimSpace(t.Raw)
	return !t.Literal && strings.HasPrefix(s, "${{") && strings.HasSuffix(s, "}}") && strings.Count(s, "${{") == 1
}

// At gives the place in the file of the byte at offset in Raw: exact for values on one line without escapes and for
// literal blocks; otherwise the place where the value begins.
func (t Text) At(offset int) Pos {
	if t.start == 0 {
		return t.Pos
	}
	before := t.Raw[:min(max(offset, 0), len(t.Raw))]
	column := t.start + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	if t.block {
		return Pos{t.Pos.Line + 1 + strings.Count(before, "\n"), column}
	}
	return Pos{t.Pos.Line, column}
}

// Flag is a boolean that may be an expression.
type Flag struct {
	Text  Text // not Written: the key is absent
	Value bool // the value, unless Text.HasExpr
}

// Number is a number that may be an expression.
type Number struct {
	Text  Text    // not Written: the key is absent
	Value float64 // the value, unless Text.HasExpr
}

// Scalar is a value that keeps its type.
type Scalar struct {
	Text  Text       // not Written: absent
	Value expr.Value // nil, bool, float64 or string; meaningless if Text.HasExpr
}

// Var is a name with a value: of env, with, outputs, secrets.
type Var struct {
	Name  string
	Pos   Pos // of the name
	Value Text
}

// Vars are values by name, in the order of the file; or, as a whole, one expression that gives an object.
type Vars struct {
	Expr Text // when Written, List is empty
	List []Var
}

// Get finds the value of a name; upper and lower case are the same.
func (v Vars) Get(name string) (Text, bool) {
	for _, entry := range v.List {
		if strings.EqualFold(entry.Name, name) {
			return entry.Value, true
		}
	}
	return Text{}, false
}
