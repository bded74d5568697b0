package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/expr"
)

// Selection is the part of a workflow that is to run.
type Selection struct {
	// Jobs are those of the workflow itself, not of called ones; nil means all. See Workflow.Select.
	Jobs []*Job
	// Matrix restricts every matrix that has these names to the combinations with these values.
	Matrix map[string]string
}

// has says whether a job of a workflow is part of it. Those of called workflows are.
func (s Selection) has(w *Workflow, job *Job) bool {
	ours := slices.ContainsFunc(s.Jobs, func(j *Job) bool { return w.Job(j.ID) == j })
	return !ours || slices.Contains(s.Jobs, job)
}

// Has says whether a combination has the wanted values, as far as it has these names.
func (c Combination) Has(wanted map[string]string) bool {
	for name, want := range wanted {
		if got, ok := c.Values.Get(name); ok && !strings.EqualFold(expr.Text(got), want) {
			return false
		}
	}
	return true
}

// combinations expands a matrix that has no expressions.
func (t Tree) combinations() ([]Combination, error) {
	value, err := t.Resolve(nil)
	if err != nil {
		return nil, err
	}
	return Expand(value)
}

// Check says what of the matrix values no combination of the jobs has. Where a matrix is known only when its job runs,
// it says nothing.
func (s Selection) Check() error {
	known := map[string][]string{}
	if !collect(s.Jobs, known) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Matrix)) {
		values, ok := known[strings.ToLower(name)]
		switch {
		case !ok:
			return fmt.Errorf("no matrix of these jobs has %q", name)
		case !slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, s.Matrix[name]) }):
			return fmt.Errorf("no combination has %s=%s; there are %s", name, s.Matrix[name], strings.Join(values, ", "))
		}
	}
	return nil
}

// collect adds the values of all matrices by their names in lower case. It is false if there is one that nobody knows yet.
func collect(jobs []*Job, into map[string][]string) bool {
	for _, job := range jobs {
		if job.Call != nil && job.Call.Workflow != nil && !collect(job.Call.Workflow.Jobs, into) {
			return false
		}
		if job.Strategy.Matrix == nil {
			continue
		}
		tree := job.Strategy.Matrix.Tree
		if tree.HasExpr() {
			return false
		}
		all, err := tree.combinations()
		if err != nil {
			return false
		}
		for _, c := range all {
			for _, name := range c.Values.Names() {
				value, _ := c.Values.Get(name)
				key := strings.ToLower(name)
				if text := expr.Text(value); !slices.Contains(into[key], text) {
					into[key] = append(into[key], text)
				}
			}
		}
	}
	return true
}
