package job

import (
	"context"

	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// runComposite runs the steps of a composite action, or their pre or post steps (CompositeActionHandler.cs).
func (x *execution) runComposite(ctx context.Context, s stage, inputs []pair) error {
	f := &frame{
		steps: newSteps(), inputs: object(inputs, false), outer: x, result: jobevent.Success,
		source: x.use.action.Source(x.use.dir),
	}
	switch s {
	case pre:
		x.runInnerPre(ctx, f)
	case post:
		x.runInnerPost(ctx, f)
	default:
		for i, step := range x.use.action.Composite {
			x.runInner(ctx, f, step, x.use.inner[i], main, step.If)
		}
		if err := x.compositeOutputs(f); err != nil {
			return err
		}
	}
	switch {
	case f.result == jobevent.Cancelled && ctx.Err() != nil:
		return ctx.Err()
	case f.result != jobevent.Success:
		return errFailed
	}
	return nil
}

func (x *execution) runInnerPre(ctx context.Context, f *frame) {
	for _, inner := range x.use.inner {
		if inner != nil && inner.has(pre) && inner.step.Uses.Kind != workflow.LocalAction {
			x.runInner(ctx, f, inner.step, inner, pre, inner.condition(pre))
		}
	}
}

// runInnerPost runs the post steps that are due, the last one first.
func (x *execution) runInnerPost(ctx context.Context, f *frame) {
	x.use.mu.Lock()
	due := append([]*use(nil), x.use.posts...)
	x.use.mu.Unlock()
	for i := len(due) - 1; i >= 0; i-- {
		x.runInner(ctx, f, due[i].step, due[i], post, due[i].condition(post))
	}
}

// runInner runs one step of the action. It has no entry of its own in the job's list of steps.
func (x *execution) runInner(ctx context.Context, f *frame, step *workflow.Step, u *use, s stage, condition workflow.Text) {
	inner := x.newExecution(f, step, x.log)
	err := inner.evaluateEnv()
	inner.use, inner.name = u, inner.title()
	v, run := inner.decide(condition, err)
	if run {
		v = inner.attempt(ctx, func(ctx context.Context) error {
			if step.Run != nil {
				return inner.runScript(ctx)
			}
			return inner.runAction(ctx, s)
		})
	}
	if s != main {
		inner.id = ""
	}
	inner.publish(v)
	f.result = worse(f.result, v.conclusion)
}

// compositeOutputs evaluates the outputs of the action.
func (x *execution) compositeOutputs(f *frame) error {
	view := x.newExecution(f, x.step, x.log)
	view.use = x.use
	outputs, err := view.evaluator().list(x.use.action.Outputs)
	for _, o := range outputs {
		x.setOutput(o.name, o.value)
	}
	return err
}
