package schedule

import (
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

func keys(m map[string]string) iter.Seq[string] { return maps.Keys(m) }

// call opens the workflow that a job calls, or ends the job if it cannot.
func (s *scheduler) call(i *instance) {
	i.started = true
	inputs, err := i.callInputs(s)
	secrets, errSecrets := i.callSecrets(s)
	if err := errors.Join(err, errSecrets); err != nil {
		s.tellUnstarted(i.Key, i.Name, jobevent.Failure, err)
		i.end(Outcome{Result: jobevent.Failure})
		return
	}
	g := &graph{workflow: i.node.job.Call.Workflow, inputs: inputs, secrets: secrets, caller: i}
	s.open(i.node.ctx, g, nil)
}

// callInputs are the inputs that the called workflow sees.
func (i *instance) callInputs(s *scheduler) (*expr.Map, error) {
	call, e := i.node.job.Call, i.node.evaluator(s)
	i.addContexts(e.scope.Contexts)
	given := map[string]expr.Value{}
	for _, argument := range call.With {
		given[argument.Name] = argument.Value.Value
		if !argument.Value.Text.HasExpr() {
			continue
		}
		value, err := e.value(argument.Value.Text)
		if err != nil {
			return nil, err
		}
		given[argument.Name] = value
	}
	defaults := evaluator{call.Workflow.Source(), expr.Scope{Contexts: map[string]expr.Value{"github": s.Github, "vars": s.Vars}}}
	inputs, err := workflow.InputValues(call.Workflow.Call.Inputs, given, defaults.value)
	if err != nil {
		return nil, e.source.Wrap(call.Uses.Pos, fmt.Errorf("calling %s: %w", call.Path, err))
	}
	return inputs, nil
}

// callSecrets are the secrets that the called workflow sees.
func (i *instance) callSecrets(s *scheduler) (map[string]string, error) {
	call, e := i.node.job.Call, i.node.evaluator(s)
	if call.Inherit {
		return i.Secrets, nil
	}
	i.addContexts(e.scope.Contexts)
	own := expr.NewMap()
	for name, value := range i.Secrets {
		own.Set(name, value)
	}
	e.scope.Contexts["secrets"] = own
	given := map[string]string{}
	if token, ok := own.Get("GITHUB_TOKEN"); ok { // called workflows always have it
		given["GITHUB_TOKEN"] = expr.Text(token)
	}
	for _, secret := range call.Secrets {
		value, err := e.text(secret.Value)
		if err != nil {
			return nil, err
		}
		given[secret.Name] = value
	}
	return given, nil
}

// callOutputs are the outputs that the called workflow gives, but for those that cannot be evaluated.
func (i *instance) callOutputs(g *graph) (map[string]string, error) {
	s, jobs := i.scheduler, expr.NewMap()
	for _, n := range g.nodes {
		jobs.Set(n.job.ID, jobContext(n.outcome))
	}
	e := evaluator{g.workflow.Source(), expr.Scope{Contexts: map[string]expr.Value{
		"github": s.Github, "vars": s.Vars, "inputs": g.inputs, "jobs": jobs,
	}}}
	outputs, problems := map[string]string{}, []error(nil)
	for _, output := range g.workflow.Call.Outputs {
		value, err := e.text(output.Value)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		outputs[output.Name] = value
	}
	return outputs, errors.Join(problems...)
}
