package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

const (
	// backgroundSlots is how many steps run in the background at the same time.
	backgroundSlots = 10
	// backgroundGrace is how long a cancelled step in the background is waited for; then it is left alone.
	backgroundGrace = 7500 * time.Millisecond
)

// background runs steps beside others (BackgroundStepCoordinator.cs). All of it is used by the goroutine that goes
// through the steps.
type background struct {
	runner *runner
	slots  chan struct{}
	steps  []*backgroundStep
}

// backgroundStep is one of them. verdict is valid once done is closed, or if it was left alone.
type backgroundStep struct {
	id      string
	x       *execution
	cancel  context.CancelCauseFunc
	done    chan struct{}
	verdict verdict
	flushed bool
	wanted  bool // a step has cancelled it
}

func newBackground(r *runner) *background {
	return &background{runner: r, slots: make(chan struct{}, backgroundSlots)}
}

// take starts a step in the background, or does what a step says about others. It is false for an ordinary step.
func (b *background) take(ctx, job context.Context, t *task) bool {
	switch {
	case !t.main:
		return false
	case t.step.Background:
		b.start(ctx, job, t)
	case len(t.step.Parallel) > 0:
		b.parallel(ctx, job, t)
	case t.step.Wait != nil || t.step.Cancel != nil:
		t.do = func(ctx context.Context, x *execution) error { return b.control(ctx, x) }
		return false
	default:
		return false
	}
	return true
}

// start evaluates the condition at once, and runs the step as soon as there is a slot.
func (b *background) start(ctx, job context.Context, t *task) *backgroundStep {
	x, began, err := b.runner.begin(t)
	x.deferred, x.beside = &deferred{}, true
	v, run := x.decide(t.condition, err)
	own, cancel := context.WithCancelCause(ctx)
	s := &backgroundStep{id: t.step.ContextName, x: x, cancel: cancel, done: make(chan struct{}), verdict: v}
	b.steps = append(b.steps, s)
	if !run {
		x.end(began, v)
		cancel(nil)
		close(s.done)
		return s
	}
	stop := context.AfterFunc(job, func() { cancel(errJobCancelled) })
	go func() {
		defer close(s.done)
		defer cancel(nil)
		defer stop()
		s.verdict = b.inSlot(own, t, x)
		x.end(began, s.verdict)
	}()
	return s
}

func (b *background) inSlot(ctx context.Context, t *task, x *execution) verdict {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return verdict{jobevent.Cancelled, jobevent.Cancelled}
	}
	defer func() { <-b.slots }()
	return x.attempt(ctx, func(ctx context.Context) error { return t.do(ctx, x) })
}

// parallel runs the steps of a group side by side, and waits for all of them.
func (b *background) parallel(ctx, job context.Context, t *task) {
	var group []*backgroundStep
	for _, step := range t.step.Parallel {
		group = append(group, b.start(ctx, job, b.runner.mainTask(step)))
	}
	b.wait(job, group)
	if b.flush(group) != jobevent.Success {
		b.runner.state.merge(jobevent.Failure)
	}
}

// control is a step that waits for others, or cancels one.
func (b *background) control(ctx context.Context, x *execution) error {
	if x.step.Cancel != nil {
		chosen := b.find([]workflow.Need{x.step.Cancel.Step})
		x.log.line("Cancelling background step(s): " + describe(chosen))
		for _, s := range chosen {
			s.wanted = true
		}
		b.stop(chosen, errJobCancelled)
		b.flush(chosen)
		report(x, "Finished cancelling background step(s).", chosen)
		return nil
	}
	chosen, which := b.find(x.step.Wait.For), ""
	if x.step.Wait.All {
		chosen, which = b.open(), "all "
	}
	if x.step.Wait.All && len(chosen) == 0 {
		x.log.line("No background steps remaining to wait for.")
	} else {
		x.log.line("Waiting for " + which + "background step(s) to complete: " + describe(chosen))
	}
	b.wait(ctx, chosen)
	result := b.flush(chosen)
	report(x, "Finished waiting for "+which+"background step(s).", chosen)
	if result != jobevent.Success {
		return errFailed
	}
	return nil
}

func (b *background) find(ids []workflow.Need) []*backgroundStep {
	var all []*backgroundStep
	for _, s := range b.steps {
		if slices.ContainsFunc(ids, func(n workflow.Need) bool { return strings.EqualFold(n.ID, s.id) }) {
			all = append(all, s)
		}
	}
	return all
}

// open are the steps that nobody has waited for.
func (b *background) open() []*backgroundStep {
	return slices.DeleteFunc(slices.Clone(b.steps), func(s *backgroundStep) bool { return s.flushed })
}

// wait waits for steps. If ctx is done before, they are cancelled.
func (b *background) wait(ctx context.Context, chosen []*backgroundStep) {
	for _, s := range chosen {
		select {
		case <-s.done:
		case <-ctx.Done():
			b.stop(chosen, context.Cause(ctx))
			return
		}
	}
}

// stop cancels steps and waits a while for their end.
func (b *background) stop(chosen []*backgroundStep, cause error) {
	for _, s := range chosen {
		s.cancel(cause)
	}
	limit := time.After(orTime(b.runner.opts.BackgroundGrace, backgroundGrace))
	for _, s := range chosen {
		select {
		case <-s.done:
		case <-limit:
			return
		}
	}
}

// ended says whether the step is over, and how.
func (s *backgroundStep) ended() (verdict, bool) {
	select {
	case <-s.done:
		return s.verdict, true
	default:
		return verdict{jobevent.Cancelled, jobevent.Cancelled}, false
	}
}

// flush makes what steps have set visible to others, and gives the worst of their results.
func (b *background) flush(chosen []*backgroundStep) jobevent.Result {
	result := jobevent.Success
	for _, s := range chosen {
		v, _ := s.ended()
		if !s.flushed {
			s.flushed = true
			s.x.publish(v)
			s.x.publishDeferred()
		}
		if s.wanted && v.conclusion == jobevent.Cancelled {
			continue // as asked for. A cancelled call of a hook is a failure to the runner, though, and counts.
		}
		result = worse(result, v.conclusion)
	}
	return result
}

// publishDeferred hands the job what the step has set.
func (x *execution) publishDeferred() {
	d := x.deferred
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.env {
		x.state.setEnv(p.name, p.value)
	}
	x.state.addPaths(d.paths...)
	d.env, d.paths = nil, nil
}

// drain waits for all steps before the post steps begin, and merges their results into the job's.
func (b *background) drain(job context.Context) {
	open := b.open()
	b.wait(job, open)
	b.flush(open)
	if result := b.flush(b.steps); result != jobevent.Success {
		b.runner.state.merge(result)
	}
}

func describe(chosen []*backgroundStep) string {
	if len(chosen) == 0 {
		return "(none)"
	}
	var names []string
	for _, s := range chosen {
		names = append(names, s.x.name)
	}
	return strings.Join(names, ", ")
}

func report(x *execution, summary string, chosen []*backgroundStep) {
	x.log.line(summary)
	for _, s := range chosen {
		v, _ := s.ended()
		x.log.line(fmt.Sprintf("  %s: %s", s.x.name, taskResults()[v.conclusion]))
	}
}

// taskResults are the runner's own words for results (TaskResult.cs).
func taskResults() map[jobevent.Result]string {
	return map[jobevent.Result]string{
		jobevent.Success: "Succeeded", jobevent.Failure: "Failed", jobevent.Cancelled: "Canceled", jobevent.Skipped: "Skipped",
	}
}

// settle waits for steps that were left alone, whose processes have been ended by now: none goes on behind the job's end.
func (b *background) settle() {
	for _, s := range b.steps {
		<-s.done
	}
}

// controlName is the display name of a step that concerns others.
func controlName(step *workflow.Step) string {
	switch {
	case step.Wait != nil && step.Wait.All:
		return "Wait for all background steps"
	case step.Wait != nil:
		return "Wait for background steps"
	case step.Cancel != nil:
		return "Cancel " + step.Cancel.Step.ID
	}
	return "Run in parallel"
}
