package expr

import "strings"

// Condition is a parsed `if` of a job or step. It does not change, and may be evaluated by several goroutines.
//
// It is an expression, with or without `${{ }}` around. A condition that calls none of success(), failure(),
// always() and cancelled() holds only if success() does too; an empty one is success(). As on GitHub, a text with
// something beside its `${{ }}`, were it a line break, is not empty and therefore always true.
type Condition struct {
	template *Template
}

// ParseCondition parses the value of an `if`. The error is an *Error.
func ParseCondition(source string) (*Condition, error) {
	switch {
	case strings.TrimSpace(source) == "":
		return &Condition{&Template{source: source, pieces: []piece{{expr: literal{value: true}}}}}, nil
	case strings.Contains(source, opening):
		t, err := ParseTemplate(source)
		if err != nil {
			return nil, err
		}
		return &Condition{t}, nil
	}
	n, err := parse(source, 0, len(source), maxDepth)
	if err != nil {
		return nil, err
	}
	return &Condition{&Template{source: source, pieces: []piece{{text: source, expr: n}}}}, nil
}

// UsesStatus says whether the condition calls a status function, so that success() is not implied.
func (c *Condition) UsesStatus() bool {
	for _, f := range functions() {
		if f.status && c.Uses(f.name) {
			return true
		}
	}
	return false
}

// Contexts lists the contexts that the condition refers to: see Template.Contexts.
func (c *Condition) Contexts() []string { return c.template.Contexts() }

// Uses says whether the condition calls a function, named in any case.
func (c *Condition) Uses(function string) bool { return c.template.Uses(function) }

// Eval says whether the condition holds. The scope must have a Status. Where success() is implied and false, nothing
// else is evaluated, but faults that need no evaluation are found all the same. The error is an *Error.
func (c *Condition) Eval(s Scope) (bool, error) {
	if s.Status == nil {
		return false, errorAt(c.template.source, 0, "the status of the job is not known here")
	}
	for _, n := range c.template.expressions() {
		if err := s.check(c.template.source, n); err != nil {
			return false, err
		}
	}
	if !c.UsesStatus() && !s.Status.Success {
		return false, nil
	}
	v, err := c.template.eval(newEvaluation(s, c.template.source))
	return Truthy(v), err
}
