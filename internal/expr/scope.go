package expr

import (
	"maps"
	"slices"
	"strings"
)

// Scope is what expressions can see at one place of a workflow.
type Scope struct {
	// Contexts holds the contexts that exist here, by names in lower case. A name that is not here is an error
	// wherever it stands in an expression; a member that a context lacks is null.
	Contexts map[string]Value
	// Status is what success(), failure() and cancelled() give. Nil where GitHub has no status functions, which is
	// everywhere outside of `if`.
	Status *Status
	// HashFiles gives what hashFiles() gives for its arguments, in their order; the first may be an option such as
	// --follow-symbolic-links. Nil where there is no such function. It is called once for each call that is
	// evaluated, from the same goroutine; its error ends the evaluation and is kept in Error.Err.
	HashFiles func(patterns []string) (string, error)
}

// Status is the state of the job, or for a job's own condition that of the jobs that it needs.
type Status struct {
	// Success, Failure and Cancelled are what the functions of these names give. They need not exclude each other.
	Success, Failure, Cancelled bool
}

// Eval evaluates a template: see Template.Eval.
func (s Scope) Eval(template string) (Value, error) {
	t, err := ParseTemplate(template)
	if err != nil {
		return nil, err
	}
	return t.Eval(s)
}

// EvalString evaluates a template for a place that takes a string: see Template.EvalString.
func (s Scope) EvalString(template string) (string, error) {
	t, err := ParseTemplate(template)
	if err != nil {
		return "", err
	}
	return t.EvalString(s)
}

// EvalBool evaluates an `if`: see Condition. usesStatus is false where success() was implied.
func (s Scope) EvalBool(condition string) (holds, usesStatus bool, err error) {
	c, err := ParseCondition(condition)
	if err != nil {
		return false, false, err
	}
	holds, err = c.Eval(s)
	return holds, c.UsesStatus(), err
}

// Names lists the contexts that a template refers to: see Template.Contexts.
func Names(template string) ([]string, error) {
	t, err := ParseTemplate(template)
	if err != nil {
		return nil, err
	}
	return t.Contexts(), nil
}

// check finds the first thing in an expression that does not exist here, also where it would not be evaluated.
func (s Scope) check(source string, n node) error {
	var err error
	walk(n, func(n node) {
		if err == nil {
			err = s.checkNode(source, n)
		}
	})
	return err
}

func (s Scope) checkNode(source string, n node) error {
	switch n := n.(type) {
	case contextRef:
		if _, ok := s.Contexts[n.name]; !ok {
			return errorAt(source, n.at(), "there is no context %q here, only %s", n.name, s.available())
		}
	case call:
		if n.function.status && s.Status == nil {
			return errorAt(source, n.at(), "%s() can be used in conditions (if) only", n.function.name)
		}
		if n.function.name == hashFilesName && s.HashFiles == nil {
			return errorAt(source, n.at(), "%s() cannot be used here", n.function.name)
		}
	}
	return nil
}

func (s Scope) available() string {
	if len(s.Contexts) == 0 {
		return "functions and literals"
	}
	return strings.Join(slices.Sorted(maps.Keys(s.Contexts)), ", ")
}
