package expr

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is a fault of a template or condition, or of its evaluation, at the place that caused it.
type Error struct {
	// Offset is the place in bytes from the start of the text that was parsed.
	Offset int
	// Line and Column are the same place, both from 1. A column is one character.
	Line, Column int
	// Message says what is wrong, without the place. It holds parts of the text, no evaluated values.
	Message string
	// Err is what a function of the Scope returned, else nil.
	Err error
}

// Error gives "line:column: message".
func (e *Error) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// Unwrap gives the error of a function of the Scope.
func (e *Error) Unwrap() error { return e.Err }

// errorAt makes the error for a place in source.
func errorAt(source string, offset int, format string, args ...any) *Error {
	before := source[:min(offset, len(source))]
	lineStart := strings.LastIndexByte(before, '\n') + 1
	return &Error{
		Offset:  len(before),
		Line:    1 + strings.Count(before, "\n"),
		Column:  1 + utf8.RuneCountInString(before[lineStart:]),
		Message: fmt.Sprintf(format, args...),
	}
}
