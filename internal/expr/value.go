package expr

import (
	"reflect"
	"strings"
	"unicode"
)

// Value is one of nil, bool, float64, string, *Array and Object. Anything else is refused when an expression comes
// upon it.
type Value any

// Object is a value with named members. Contexts implement it to be looked up when they are used, not before:
// whether `steps.build` exists is asked at the time of evaluation.
//
// The package calls an Object from the goroutine that evaluates, and keeps nothing of it. Two objects are equal in
// an expression when they are the same in Go; implement it on a pointer.
type Object interface {
	// Get gives the member of that name, written as in the expression. Whether case matters is the object's
	// decision; on GitHub it matters in no object but env on Linux and macOS.
	Get(name string) (Value, bool)
	// Names lists the members, in the order in which filters and toJSON show them.
	Names() []string
}

// Array is a list of values. Two arrays are equal in an expression only if they are the same one.
type Array struct {
	Items []Value
	// filtered marks the result of `.*`: what follows applies to each item.
	filtered bool
}

// NewArray makes an array of items.
func NewArray(items ...Value) *Array { return &Array{Items: items} }

// Map is an Object that holds its members, in the order in which they were first set. It is not for use by several
// goroutines while one of them sets.
type Map struct {
	names   []string // as first written
	members map[string]Value
	exact   bool
}

var _ Object = (*Map)(nil)

// NewMap makes an empty object that ignores the case of names.
func NewMap() *Map { return &Map{members: map[string]Value{}} }

// NewExactMap makes an empty object in which `path` and `PATH` are two members, as in the env context on Linux.
func NewExactMap() *Map { return &Map{members: map[string]Value{}, exact: true} }

// Set puts a member. One that exists keeps its place and the spelling of its name.
func (m *Map) Set(name string, v Value) {
	key := m.key(name)
	if _, exists := m.members[key]; !exists {
		m.names = append(m.names, name)
	}
	m.members[key] = v
}

// Get implements Object.
func (m *Map) Get(name string) (Value, bool) {
	v, ok := m.members[m.key(name)]
	return v, ok
}

// Names implements Object. The caller must not change the slice.
func (m *Map) Names() []string { return m.names }

func (m *Map) key(name string) string {
	if m.exact {
		return name
	}
	return fold(name)
}

// kind is the type of a value as the rules of expressions know it.
type kind int

const (
	kindNone kind = iota // no Value
	kindNull
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func kindOf(v Value) kind {
	switch v.(type) {
	case nil:
		return kindNull
	case bool:
		return kindBool
	case float64:
		return kindNumber
	case string:
		return kindString
	case *Array:
		return kindArray
	case Object:
		return kindObject
	}
	return kindNone
}

// isPrimitive says whether a value converts to a string that says what it is.
func isPrimitive(v Value) bool {
	k := kindOf(v)
	return k == kindNull || k == kindBool || k == kindNumber || k == kindString
}

// sameInstance compares arrays and objects. It is false, not a panic, for objects that Go cannot compare.
func sameInstance(a, b Value) bool {
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// fold maps texts that differ in case only to one text, like the runner's ordinal comparison without case: rune by
// rune to upper case. The two runes whose upper case is an ASCII letter stay what they are, as in .NET: an ASCII
// text is equal to ASCII texts only.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 'ı' || r == 'ſ' {
			return r
		}
		return unicode.ToUpper(r)
	}, s)
}
