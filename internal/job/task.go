package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// task is one step of the job as its log shows it: a step of the file, the pre or post step of an action, or one of the
// runner's own.
type task struct {
	name  string
	title func(x *execution) string // evaluates the name; nil: name is it
	step  *workflow.Step            // nil for the runner's own
	id    string                    // in the context steps; "" if it is not there
	use   *use
	main  bool // it is a step of the file
	// condition is the `if`. One that is not written is success().
	condition workflow.Text
	// own is for cleanup_job: a cancelled job does not touch it.
	own bool
	do  func(ctx context.Context, x *execution) error
}

// verdict is the end of a step: its outcome, and what continue-on-error makes of it.
type verdict struct{ outcome, conclusion jobevent.Result }

// causes of the end of a step before its time.
var (
	errJobCancelled = errors.New("the job was cancelled")
	errStepTimeout  = errors.New("the step has timed out")
	errBudget       = errors.New("the time for the end of a cancelled job is over")
)

func always() workflow.Text { return workflow.Literal("always()") }

// begin makes the execution of a task, and tells of it. The error is about the step's env.
func (r *runner) begin(t *task) (*execution, time.Time, error) {
	log := r.newLog(int(r.numbers.Add(1)))
	x := r.newExecution(r.main, t.step, log)
	x.use, x.id = t.use, t.id
	err := x.evaluateEnv()
	name := t.name
	if t.title != nil {
		name = t.title(x)
	}
	x.name = name
	log.emit(jobevent.Event{Kind: jobevent.StepStarted, Text: name})
	return x, time.Now(), err
}

func (x *execution) end(began time.Time, v verdict) {
	x.log.emit(jobevent.Event{Kind: jobevent.StepEnded, Result: v.conclusion, Took: time.Since(began)})
}

// perform runs a task in the foreground. job is done when the job is cancelled, ctx when its time is over too.
func (r *runner) perform(ctx, job context.Context, t *task) {
	if job.Err() != nil {
		r.state.merge(jobevent.Cancelled)
	}
	x, began, err := r.begin(t)
	v, run := x.decide(t.condition, err)
	if run {
		v = x.guarded(ctx, job, t)
	}
	x.publish(v)
	x.end(began, v)
	if v.conclusion == jobevent.Failure || v.conclusion == jobevent.Cancelled {
		r.state.merge(v.conclusion)
	}
}

// decide evaluates the condition, unless there is an error already. Without run, the verdict is final.
func (x *execution) decide(condition workflow.Text, err error) (v verdict, run bool) {
	holds := false
	if err == nil {
		holds, err = x.evaluator().condition(condition)
	}
	switch {
	case err != nil:
		x.log.tell(err)
		return verdict{jobevent.Failure, jobevent.Failure}, false
	case !holds:
		return verdict{jobevent.Skipped, jobevent.Skipped}, false
	}
	return verdict{}, true
}

// guarded runs a task whose condition holds. If the job is cancelled meanwhile, the condition decides whether it goes on.
func (x *execution) guarded(ctx, job context.Context, t *task) verdict {
	if t.own {
		limit, stop := context.WithTimeout(context.WithoutCancel(ctx), orTime(x.opts.CleanupBudget, 5*time.Minute))
		defer stop()
		ctx = limit
	}
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if job.Err() == nil && !t.own {
		defer context.AfterFunc(job, func() {
			x.state.merge(jobevent.Cancelled)
			if holds, err := x.evaluator().condition(t.condition); err != nil || !holds {
				cancel(errJobCancelled)
			}
		})()
	}
	return x.attempt(own, func(ctx context.Context) error { return t.do(ctx, x) })
}

func orTime(d, normal time.Duration) time.Duration {
	if d == 0 {
		return normal
	}
	return d
}

// attempt does the work of a step within its own timeout, and judges how it went.
func (x *execution) attempt(ctx context.Context, do func(context.Context) error) verdict {
	minutes := x.timeout()
	if minutes > 0 {
		limit, stop := context.WithTimeoutCause(ctx, time.Duration(minutes*float64(time.Minute)), errStepTimeout)
		defer stop()
		ctx = limit
	}
	outcome := x.judge(ctx, do(ctx), minutes)
	if x.badCommand {
		outcome = worse(outcome, jobevent.Failure)
	}
	return verdict{outcome, x.forgive(outcome)}
}

func (x *execution) timeout() float64 {
	if x.step == nil {
		return 0
	}
	minutes, err := x.evaluator().number(x.step.TimeoutMinutes)
	if err != nil {
		x.log.error("An error occurred when attempting to determine the step timeout.")
		x.log.tell(err)
	}
	return minutes
}

// judge says what an error means, and tells it.
func (x *execution) judge(ctx context.Context, err error, minutes float64) jobevent.Result {
	switch {
	case err == nil:
		return jobevent.Success
	case errors.Is(err, errFailed):
		if errors.Is(context.Cause(ctx), errStepTimeout) {
			x.log.line(fmt.Sprintf("gantry: the step's timeout of %v minutes was reached", minutes))
		}
		return jobevent.Failure
	case ctx.Err() == nil:
		x.log.tell(err)
		return jobevent.Failure
	case errors.Is(context.Cause(ctx), errStepTimeout):
		what := "action"
		if x.beside {
			what = "background step"
		}
		x.log.error(fmt.Sprintf("The %s '%s' has timed out after %v minutes.", what, x.name, minutes))
		return jobevent.Failure
	}
	x.log.error("The operation was canceled.")
	return jobevent.Cancelled
}

// forgive applies continue-on-error.
func (x *execution) forgive(outcome jobevent.Result) jobevent.Result {
	if outcome != jobevent.Failure || x.step == nil {
		return outcome
	}
	forgiven, err := x.evaluator().flag(x.step.ContinueOnError)
	if err != nil {
		x.log.error("The step failed and an error occurred when attempting to determine whether to continue on error.")
		x.log.tell(err)
	}
	if err == nil && forgiven {
		return jobevent.Success
	}
	return outcome
}

// publish makes outputs and results visible to other steps.
func (x *execution) publish(v verdict) {
	if x.id == "" {
		return
	}
	x.mu.Lock()
	outputs := x.outputs
	x.mu.Unlock()
	x.frame.steps.setOutputs(x.id, outputs)
	x.frame.steps.conclude(x.id, v)
}
