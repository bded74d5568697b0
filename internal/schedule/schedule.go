// Package schedule runs the jobs of a workflow in their order: it decides which job runs, how often and with which
// inputs, and what its result means for the others. What a job does is its caller's matter (see [Run.Start]).
//
// The rules are GitHub's. A job begins when all that it needs are over. Its condition sees the results of all jobs
// before it, the indirectly needed ones too: one that was skipped or failed keeps those behind it from running, unless
// their condition says otherwise (actions/runner#491). A failed job with continue-on-error counts as a success.
//
// When a run is cancelled (see [Run.Cancel]), the condition of each job that is not over decides anew: cancelled() is true
// then, success() and failure() are false. Where it holds, as always() does, the job goes on, or begins when its time
// comes; all others are cancelled. Each job of a called workflow is judged by its own condition. Cancelling the context
// cancels all jobs, whatever their conditions say, and none begins any more.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// Job is one run of a job.
type Job struct {
	// Key tells it from all others: "test", "build/2" for the second combination of a matrix, "deploy/publish" for a
	// job of the workflow that deploy calls.
	Key  string
	Name string // for people
	Job  *workflow.Job
	// Workflow is the one that has the job, which may be a called one.
	Workflow *workflow.Workflow
	Matrix   *workflow.Combination // nil without a matrix
	// Index counts from 0 among Total combinations. FailFast and MaxParallel (0: no limit) are the strategy's.
	Index, Total int
	FailFast     bool
	MaxParallel  int
	Needs        *expr.Map // the context needs
	Inputs       *expr.Map // the context inputs
	Secrets      map[string]string
}

// Outcome is the end of a job: of one run, or of all combinations of its matrix together.
type Outcome struct {
	Result  jobevent.Result
	Outputs map[string]string
}

// Run is a workflow to be run.
type Run struct {
	Workflow *workflow.Workflow
	Jobs     []*workflow.Job // a selection that has with each job those that it needs; nil means all
	Github   expr.Object     // the context github
	Vars     expr.Object     // the context vars
	Inputs   *expr.Map       // the context inputs
	Secrets  map[string]string
	// Matrix restricts every matrix that has these names to the combinations with these values.
	Matrix map[string]string
	// Limit is how many jobs run at the same time; 0 means no limit.
	Limit int
	// Cancel is closed when the run is cancelled; nil means never.
	Cancel <-chan struct{}
	// Start runs one job to its end, with its events from JobStarted to JobEnded. It is called by several goroutines
	// at once. An error says that the job could not be run, which is more than its failure; the run goes on with a
	// failed job.
	Start func(ctx context.Context, j Job) (Outcome, error)
	Sink  jobevent.Sink
}

// Do runs the jobs and returns the result of the whole, and the outcome of each job by its id. It emits the run's own
// events, and those of jobs that do not start. The error joins those of Start.
func (r *Run) Do(ctx context.Context) (jobevent.Result, map[string]Outcome, error) {
	began := time.Now()
	r.Sink.Event(jobevent.Event{Time: began, Kind: jobevent.RunStarted, Text: r.Workflow.Name})
	s := &scheduler{Run: r, finished: make(chan finished)}
	root := s.open(ctx, &graph{workflow: r.Workflow, inputs: r.Inputs, secrets: r.Secrets}, r.Jobs)
	s.loop()
	result, outcomes, results := root.result(), map[string]Outcome{}, map[string]string{}
	for _, n := range root.nodes {
		outcomes[n.job.ID], results[n.job.ID] = n.outcome, string(n.outcome.Result)
	}
	if ctx.Err() != nil || s.cancelled {
		result = jobevent.Cancelled
	}
	r.Sink.Event(jobevent.Event{
		Time: time.Now(), Kind: jobevent.RunEnded, Result: result, Took: time.Since(began), Props: results,
	})
	return result, outcomes, errors.Join(s.errs...)
}

// scheduler is a run under way. All its fields belong to the goroutine of loop.
type scheduler struct {
	*Run
	graphs    []*graph
	running   int
	finished  chan finished
	cancelled bool
	errs      []error
}

// finished is the end of one run of a job.
type finished struct {
	instance *instance
	outcome  Outcome
	err      error
}

// loop starts what can start until nothing is left.
func (s *scheduler) loop() {
	for {
		if !s.cancelled && closed(s.Cancel) {
			s.cancel()
		}
		for s.step() {
		}
		if s.running == 0 {
			return
		}
		cancel := s.Cancel
		if s.cancelled {
			cancel = nil
		}
		select {
		case <-cancel:
		case f := <-s.finished:
			s.over(f)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// over counts the end of one run of a job.
func (s *scheduler) over(f finished) {
	s.running--
	if f.err != nil {
		s.errs = append(s.errs, fmt.Errorf("running job %s: %w", f.instance.Key, f.err))
		f.outcome.Result = jobevent.Failure
	}
	f.instance.end(f.outcome)
}

// cancel cancels what has begun and does not want to go on. Of a call only the combinations that have not begun are
// touched: the jobs of its workflow are judged themselves.
func (s *scheduler) cancel() {
	s.cancelled = true
	for _, g := range s.graphs {
		for _, n := range g.nodes {
			if !n.decided || n.isOver {
				continue
			}
			if holds, err := n.condition(s); err == nil && holds {
				continue
			}
			n.stopped = true
			if n.job.Call == nil {
				n.cancel()
			}
		}
	}
}

// step does everything that can be done without waiting, and says whether that was something.
func (s *scheduler) step() (moved bool) {
	for i := 0; i < len(s.graphs); i++ { // a step may open more of them
		for _, n := range s.graphs[i].nodes {
			moved = s.decide(n) || moved
			moved = s.startWaiting(n) || moved
		}
	}
	return moved
}

// decide looks at a job that has not been decided about and whose needs are over.
func (s *scheduler) decide(n *node) bool {
	if n.decided || !n.ready() {
		return false
	}
	n.decided = true
	if n.graph.ctx.Err() != nil {
		s.end(n, jobevent.Cancelled, nil)
		return true
	}
	holds, err := n.condition(s)
	switch {
	case err != nil:
		s.end(n, jobevent.Failure, err)
	case !holds && s.cancelled:
		s.end(n, jobevent.Cancelled, nil)
	case !holds:
		s.end(n, jobevent.Skipped, nil)
	default:
		if err := n.expand(s); err != nil {
			s.end(n, jobevent.Failure, err)
		}
	}
	return true
}

// end ends a job that does not start.
func (s *scheduler) end(n *node, result jobevent.Result, err error) {
	s.tellUnstarted(n.graph.keyOf(n.job.ID), n.graph.nameOf(n.plainName()), result, err)
	n.over(Outcome{Result: result})
}

func (s *scheduler) tellUnstarted(key, name string, result jobevent.Result, err error) {
	now := time.Now()
	s.Sink.Event(jobevent.Event{Time: now, Kind: jobevent.JobStarted, Job: key, Text: name})
	for text, excerpt := range workflow.Tell(err) {
		s.Sink.Event(jobevent.Event{Time: now, Kind: jobevent.Line, Job: key, Style: "error", Text: text})
		for line := range strings.Lines(excerpt) {
			s.Sink.Event(jobevent.Event{Time: now, Kind: jobevent.Line, Job: key, Text: strings.TrimSuffix(line, "\n")})
		}
		s.Sink.Event(jobevent.Event{Time: now, Kind: jobevent.Annotation, Job: key, Style: "error", Text: text})
	}
	s.Sink.Event(jobevent.Event{Time: now, Kind: jobevent.JobEnded, Job: key, Result: result})
}

// startWaiting starts as many runs of a job as limits allow, and ends those that are cancelled.
func (s *scheduler) startWaiting(n *node) (moved bool) {
	for len(n.waiting) > 0 {
		next := n.waiting[0]
		switch {
		case n.ctx.Err() != nil || n.stopped:
			s.tellUnstarted(next.Key, next.Name, jobevent.Cancelled, nil)
			n.waiting = n.waiting[1:]
			next.end(Outcome{Result: jobevent.Cancelled})
		case n.maxParallel > 0 && n.running >= n.maxParallel:
			return moved
		case n.job.Call != nil:
			n.waiting = n.waiting[1:]
			n.running++
			s.call(next)
		case s.Limit > 0 && s.running >= s.Limit:
			return moved
		default:
			n.waiting = n.waiting[1:]
			n.running++
			s.start(next)
		}
		moved = true
	}
	return moved
}

func (s *scheduler) start(i *instance) {
	s.running++
	i.started = true
	go func() {
		outcome, err := s.Start(i.node.ctx, i.Job)
		s.finished <- finished{i, outcome, err}
	}()
}
