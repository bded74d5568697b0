package expr

import (
	"cmp"
	"math"
	"slices"
	"unicode/utf16"
)

// Truthy says whether a condition with that value holds: everything but null, false, 0, NaN and the empty string.
func Truthy(v Value) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	}
	return true
}

// Number converts a value as comparisons of different types do. What is no number is NaN.
func Number(v Value) float64 {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		return parseNumber(v)
	}
	return math.NaN()
}

// Text converts a value to a string as functions and templates with several parts do: null is empty, and of an
// array or object there is only the word "Array" or "Object".
func Text(v Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		if v {
			return "true"
		}
		return "false"
	case float64:
		return formatNumber(v)
	case string:
		return v
	case *Array:
		return "Array"
	}
	return "Object"
}

// Equal is the operator ==: loose, without regard to the case of strings, and by identity for arrays and objects.
func Equal(a, b Value) bool {
	a, b = coerce(a, b)
	k := kindOf(a)
	if k != kindOf(b) {
		return false
	}
	switch k {
	case kindString:
		return fold(a.(string)) == fold(b.(string))
	case kindArray, kindObject:
		return sameInstance(a, b)
	case kindNone:
		return false
	}
	return a == b // for numbers, NaN is equal to nothing
}

// greater is the operator >. Nulls, arrays and objects are not greater than their like.
func greater(a, b Value) bool {
	a, b = coerce(a, b)
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && a > b
	case string:
		b, ok := b.(string)
		return ok && compareText(a, b) > 0
	case bool:
		b, ok := b.(bool)
		return ok && a && !b
	}
	return false
}

// less is the operator <.
func less(a, b Value) bool { return greater(b, a) }

// compareText orders strings by UTF-16 code units without regard to case, as .NET does.
func compareText(a, b string) int {
	a, b = fold(a), fold(b)
	if isASCII(a) || isASCII(b) {
		return cmp.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// coerce converts two values of different types to numbers, where both have one. An array or object stays what it
// is, and is then neither equal to the other value nor less nor greater.
func coerce(a, b Value) (Value, Value) {
	if kindOf(a) == kindOf(b) || !isPrimitive(a) || !isPrimitive(b) {
		return a, b
	}
	return Number(a), Number(b)
}
