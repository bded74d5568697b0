package expr

import (
	"errors"
	"fmt"
	"strings"
)

const (
	hashFilesName = "hashFiles"
	// unlimited is the runner's limit of arguments.
	unlimited = 255
)

// function is a row of the table of functions.
type function struct {
	name     string
	min, max int  // number of arguments
	odd      bool // the number must be odd
	status   bool // a status function
	run      func(e *evaluation, args []node) (Value, error)
}

// functions is the table.
func functions() []function {
	return []function{
		{name: "contains", min: 2, max: 2, run: withValues(contains)},
		{name: "startsWith", min: 2, max: 2, run: withValues(affix(strings.HasPrefix))},
		{name: "endsWith", min: 2, max: 2, run: withValues(affix(strings.HasSuffix))},
		{name: "format", min: 1, max: unlimited, run: format},
		{name: "join", min: 1, max: 2, run: withValues(join)},
		{name: "toJSON", min: 1, max: 1, run: withValues(toJSON)},
		{name: "fromJSON", min: 1, max: 1, run: withValues(fromJSON)},
		{name: "case", min: 3, max: unlimited, odd: true, run: choose},
		{name: hashFilesName, min: 1, max: unlimited, run: withValues(hashFiles)},
		{name: "success", status: true, run: status(func(s Status) bool { return s.Success })},
		{name: "failure", status: true, run: status(func(s Status) bool { return s.Failure })},
		{name: "cancelled", status: true, run: status(func(s Status) bool { return s.Cancelled })},
		{name: "always", status: true, run: status(func(Status) bool { return true })},
	}
}

// functionNamed finds a function by its name in any case.
func functionNamed(name string) (function, bool) {
	for _, f := range functions() {
		if strings.EqualFold(f.name, name) {
			return f, true
		}
	}
	return function{}, false
}

func functionNames() string {
	var names []string
	for _, f := range functions() {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// arity says what number of arguments the function takes, or "" if n is one.
func (f function) arity(n int) string {
	switch {
	case n >= f.min && n <= f.max && (!f.odd || n%2 == 1):
		return ""
	case f.odd:
		return fmt.Sprintf("an odd number of arguments from %d", f.min)
	case f.min == f.max:
		return fmt.Sprintf("%d arguments", f.min)
	case f.max == unlimited:
		return fmt.Sprintf("%d to %d arguments", f.min, f.max)
	}
	return fmt.Sprintf("%d or %d arguments", f.min, f.max)
}

// withValues makes a function that needs all its arguments evaluated.
func withValues(f func(e *evaluation, args []Value) (Value, error)) func(*evaluation, []node) (Value, error) {
	return func(e *evaluation, args []node) (Value, error) {
		values, err := e.all(args)
		if err != nil {
			return nil, err
		}
		return f(e, values)
	}
}

func status(f func(Status) bool) func(*evaluation, []node) (Value, error) {
	return func(e *evaluation, _ []node) (Value, error) { return f(*e.scope.Status), nil }
}

// contains looks for an equal item in an array, or for a substring without regard to case. Nothing is in an object,
// and an array or object is in no string.
func contains(_ *evaluation, args []Value) (Value, error) {
	if a, ok := args[0].(*Array); ok {
		for _, item := range a.Items {
			if Equal(args[1], item) {
				return true, nil
			}
		}
		return false, nil
	}
	return affix(strings.Contains)(nil, args)
}

// affix makes a function that compares two strings without regard to case, and is false for arrays and objects.
func affix(compare func(s, part string) bool) func(*evaluation, []Value) (Value, error) {
	return func(_ *evaluation, args []Value) (Value, error) {
		if !isPrimitive(args[0]) || !isPrimitive(args[1]) {
			return false, nil
		}
		return compare(fold(Text(args[0])), fold(Text(args[1]))), nil
	}
}

// join concatenates the items of an array. A primitive value is its only item, an object has none. A separator that
// is an array or object is ignored.
func join(e *evaluation, args []Value) (Value, error) {
	a, ok := args[0].(*Array)
	if !ok {
		if !isPrimitive(args[0]) {
			return "", nil
		}
		return Text(args[0]), nil
	}
	separator := ","
	if len(args) > 1 && isPrimitive(args[1]) {
		separator = Text(args[1])
	}
	out := e.output()
	for i, item := range a.Items {
		if i > 0 {
			out.write(separator)
		}
		out.write(Text(item))
	}
	return out.result()
}

// choose is case(): the value after the first predicate that is true, or the last argument. Nothing else is
// evaluated. Predicates must be booleans.
func choose(e *evaluation, args []node) (Value, error) {
	for ; len(args) > 1; args = args[2:] {
		predicate, err := e.eval(args[0])
		if err != nil {
			return nil, err
		}
		holds, ok := predicate.(bool)
		if !ok {
			return nil, errorAt(e.source, args[0].at(), "case: a predicate must be true or false")
		}
		if holds {
			return e.eval(args[1])
		}
	}
	return e.eval(args[0])
}

func hashFiles(e *evaluation, args []Value) (Value, error) {
	patterns := make([]string, len(args))
	for i, arg := range args {
		if !isPrimitive(arg) {
			return nil, errors.New("patterns must be strings")
		}
		patterns[i] = Text(arg)
	}
	return e.scope.HashFiles(patterns)
}
