package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// evaluator evaluates texts of one workflow file; its errors say where.
type evaluator struct {
	source workflow.Source
	scope  expr.Scope
}

func (e evaluator) at(t workflow.Text, err error) error {
	var fault *expr.Error
	if !errors.As(err, &fault) {
		return err
	}
	return e.source.Fault(t.At(fault.Offset), fault.Message)
}

func (e evaluator) value(t workflow.Text) (expr.Value, error) {
	if t.Literal {
		return t.Raw, nil
	}
	v, err := e.scope.Eval(t.Raw)
	return v, e.at(t, err)
}

func (e evaluator) text(t workflow.Text) (string, error) {
	if t.Literal {
		return t.Raw, nil
	}
	v, err := e.scope.EvalString(t.Raw)
	return v, e.at(t, err)
}

func (e evaluator) flag(f workflow.Flag, absent bool) (bool, error) {
	switch {
	case !f.Text.Written():
		return absent, nil
	case !f.Text.HasExpr():
		return f.Value, nil
	}
	v, err := e.value(f.Text)
	return expr.Truthy(v), err
}

func (e evaluator) number(n workflow.Number) (int, error) {
	if !n.Text.HasExpr() {
		return int(n.Value), nil
	}
	v, err := e.value(n.Text)
	if number := expr.Number(v); err == nil && number > 0 {
		return int(number), nil
	}
	return 0, err
}

// evaluator sees what a job's keys outside of its steps see: no env, no secrets, no steps.
func (n *node) evaluator(s *scheduler) evaluator {
	contexts := map[string]expr.Value{"github": s.Github, "vars": s.Vars, "inputs": n.graph.inputs, "needs": n.needsContext()}
	return evaluator{n.graph.workflow.Source(), expr.Scope{Contexts: contexts}}
}

// needsContext has the direct needs only, as on GitHub.
func (n *node) needsContext() *expr.Map {
	needs := expr.NewMap()
	for _, before := range n.needs() {
		needs.Set(before.job.ID, jobContext(before.outcome))
	}
	return needs
}

func jobContext(o Outcome) *expr.Map {
	outputs := expr.NewMap()
	for _, name := range slices.Sorted(keys(o.Outputs)) {
		outputs.Set(name, o.Outputs[name])
	}
	m := expr.NewMap()
	m.Set("result", string(o.Result))
	m.Set("outputs", outputs)
	return m
}

// condition is the job's if.
func (n *node) condition(s *scheduler) (bool, error) {
	e := n.evaluator(s)
	e.scope.Status = n.status(s.cancelled)
	holds, _, err := e.scope.EvalBool(n.job.If.Raw)
	return holds, e.at(n.job.If, err)
}

// plainName is the job's name where no combination is known.
func (n *node) plainName() string {
	if !n.job.Name.Written() || n.job.Name.HasExpr() {
		return n.job.ID
	}
	return n.job.Name.Raw
}

// expand makes the runs of the job.
func (n *node) expand(s *scheduler) error {
	e := n.evaluator(s)
	n.outputs = map[string]string{}
	var err, errFast error
	n.maxParallel, err = e.number(n.job.Strategy.MaxParallel)
	n.failFast, errFast = e.flag(n.job.Strategy.FailFast, true)
	combinations, total, errMatrix := n.combinations(s, e)
	if err := errors.Join(err, errFast, errMatrix); err != nil {
		return err
	}
	for _, c := range combinations {
		i, err := n.instance(s, c.Combination, c.index, total)
		if err != nil {
			return err
		}
		n.waiting = append(n.waiting, i)
	}
	n.total = len(n.waiting)
	n.ctx, n.cancel = context.WithCancel(n.graph.ctx)
	return nil
}

// indexed is a combination with its place among all.
type indexed struct {
	*workflow.Combination
	index int
}

// combinations are those to run, of total. Without a matrix it is one, which is nil.
func (n *node) combinations(s *scheduler, e evaluator) (chosen []indexed, total int, err error) {
	matrix := n.job.Strategy.Matrix
	if matrix == nil {
		return []indexed{{}}, 1, nil
	}
	value, err := matrix.Tree.Resolve(e.value)
	var placed *workflow.Fault
	if errors.As(err, &placed) {
		return nil, 0, placed // Resolve puts its own words for the place before it
	} else if err != nil {
		return nil, 0, err
	}
	all, err := workflow.Expand(value)
	if err != nil {
		return nil, 0, e.source.Fault(matrix.Tree.Pos, err.Error())
	}
	for i := range all {
		if all[i].Has(s.Matrix) {
			chosen = append(chosen, indexed{&all[i], i})
		}
	}
	if len(chosen) == 0 {
		return nil, 0, fmt.Errorf("no combination of job %s has what --matrix asks for", n.job.ID)
	}
	return chosen, len(all), nil
}

func (n *node) instance(s *scheduler, c *workflow.Combination, index, total int) (*instance, error) {
	e := n.evaluator(s)
	i := &instance{node: n, scheduler: s, Job: Job{
		Job: n.job, Workflow: n.graph.workflow, Matrix: c, Index: index, Total: total, FailFast: n.failFast,
		MaxParallel: n.maxParallel, Needs: n.needsContext(), Inputs: n.graph.inputs, Secrets: n.graph.secrets,
	}}
	i.addContexts(e.scope.Contexts)
	name, err := e.text(n.job.Name)
	if err != nil {
		return nil, err
	}
	i.Key = n.graph.keyOf(keyOfRun(n.job.ID, c, index))
	i.Name = n.graph.nameOf(n.job.DisplayName(name, c))
	i.continueOnError, err = e.flag(n.job.ContinueOnError, false)
	return i, err
}

// addContexts adds matrix and strategy.
func (i *instance) addContexts(contexts map[string]expr.Value) {
	contexts["matrix"], contexts["strategy"] = expr.NewMap(), i.strategy()
	if i.Matrix != nil {
		contexts["matrix"] = i.Matrix.Values
	}
}

func (i *instance) strategy() *expr.Map {
	parallel := i.MaxParallel
	if parallel == 0 {
		parallel = i.Total
	}
	m := expr.NewMap()
	m.Set("fail-fast", i.FailFast)
	m.Set("job-index", float64(i.Index))
	m.Set("job-total", float64(i.Total))
	m.Set("max-parallel", float64(parallel))
	return m
}
