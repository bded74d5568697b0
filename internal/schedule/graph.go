package schedule

import (
	"context"
	"strconv"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// graph is one workflow under way: the one that was asked for, or a called one.
type graph struct {
	ctx      context.Context // the workflow's life, not a call's: it ends when its caller is cancelled
	workflow *workflow.Workflow
	inputs   *expr.Map
	secrets  map[string]string
	caller   *instance // nil for the one that was asked for
	nodes    []*node   // in the order of the file
}

// open adds a workflow with a selection of its jobs; nil means all.
func (s *scheduler) open(ctx context.Context, g *graph, jobs []*workflow.Job) *graph {
	g.ctx = ctx
	if jobs == nil {
		jobs = g.workflow.Jobs
	}
	for _, job := range jobs {
		g.nodes = append(g.nodes, &node{graph: g, job: job})
	}
	s.graphs = append(s.graphs, g)
	return g
}

func (g *graph) node(id string) *node {
	job := g.workflow.Job(id)
	for _, n := range g.nodes {
		if n.job == job {
			return n
		}
	}
	return nil
}

// keyOf and nameOf put what called the workflow before a job's own key and name.
func (g *graph) keyOf(key string) string {
	if g.caller == nil {
		return key
	}
	return g.caller.Key + "/" + key
}

func (g *graph) nameOf(name string) string {
	if g.caller == nil {
		return name
	}
	return g.caller.Name + " / " + name
}

func (g *graph) isOver() bool {
	for _, n := range g.nodes {
		if !n.isOver {
			return false
		}
	}
	return true
}

// result is that of all jobs together.
func (g *graph) result() jobevent.Result {
	var all []jobevent.Result
	for _, n := range g.nodes {
		all = append(all, n.outcome.Result)
	}
	return together(all)
}

// together is the result of several: one failure makes all a failure.
func together(results []jobevent.Result) jobevent.Result {
	count := map[jobevent.Result]int{}
	for _, r := range results {
		count[r]++
	}
	switch {
	case count[jobevent.Failure] > 0:
		return jobevent.Failure
	case count[jobevent.Cancelled] > 0:
		return jobevent.Cancelled
	case len(results) > 0 && count[jobevent.Skipped] == len(results):
		return jobevent.Skipped
	}
	return jobevent.Success
}

// node is a job of a graph.
type node struct {
	graph   *graph
	job     *workflow.Job
	decided bool // it was skipped, or its runs are known
	stopped bool // the run was cancelled, so that no more of its runs begin

	ctx         context.Context // of its runs; cancelled by fail-fast
	cancel      context.CancelFunc
	failFast    bool
	maxParallel int
	total       int
	waiting     []*instance
	running     int
	results     []jobevent.Result // of runs that are over, as they count
	outputs     map[string]string

	isOver  bool
	outcome Outcome
}

// ready says that all needed jobs are over. One that is not part of the run does not count.
func (n *node) ready() bool {
	for _, before := range n.needs() {
		if !before.isOver {
			return false
		}
	}
	return true
}

func (n *node) needs() []*node {
	var all []*node
	for _, need := range n.job.Needs {
		if before := n.graph.node(need.ID); before != nil {
			all = append(all, before)
		}
	}
	return all
}

// ancestors are all jobs before this one, indirect ones too.
func (n *node) ancestors(seen map[*node]bool) map[*node]bool {
	for _, before := range n.needs() {
		if !seen[before] {
			seen[before] = true
			before.ancestors(seen)
		}
	}
	return seen
}

// status is what the functions of the job's condition give.
func (n *node) status(runCancelled bool) *expr.Status {
	if runCancelled {
		return &expr.Status{Cancelled: true}
	}
	status := &expr.Status{Success: true}
	for before := range n.ancestors(map[*node]bool{}) {
		status.Success = status.Success && before.outcome.Result == jobevent.Success
		status.Failure = status.Failure || before.outcome.Result == jobevent.Failure
		status.Cancelled = status.Cancelled || before.outcome.Result == jobevent.Cancelled
	}
	return status
}

// over ends a job, and the caller of its workflow when it was the last one.
func (n *node) over(outcome Outcome) {
	n.isOver, n.outcome = true, outcome
	if n.cancel != nil {
		n.cancel()
	}
	if g := n.graph; g.caller != nil && g.isOver() {
		g.caller.end(g.caller.called(g))
	}
}

// called is the outcome of a job whose workflow has ended: it has run, even if none of its jobs had to. Outputs that
// cannot be evaluated are told, and fail it.
func (i *instance) called(g *graph) Outcome {
	outputs, err := i.callOutputs(g)
	if err != nil {
		i.scheduler.tellUnstarted(i.Key, i.Name, jobevent.Failure, err)
		return Outcome{Result: jobevent.Failure, Outputs: outputs}
	}
	result := g.result()
	if result == jobevent.Skipped {
		result = jobevent.Success
	}
	return Outcome{Result: result, Outputs: outputs}
}

// instance is one run of a job.
type instance struct {
	Job
	node            *node
	started         bool
	continueOnError bool
	scheduler       *scheduler
}

// end counts the end of a run. Of outputs that several combinations set, the last one that is not empty stays.
func (i *instance) end(o Outcome) {
	n := i.node
	if i.started {
		n.running--
	}
	if o.Result == jobevent.Failure && i.continueOnError {
		o.Result = jobevent.Success
	}
	n.results = append(n.results, o.Result)
	for name, value := range o.Outputs {
		if _, known := n.outputs[name]; !known || value != "" {
			n.outputs[name] = value
		}
	}
	if n.failFast && o.Result == jobevent.Failure {
		n.cancel()
	}
	if len(n.results) == n.total {
		n.over(Outcome{Result: together(n.results), Outputs: n.outputs})
	}
}

// keyOfRun numbers the runs of a matrix from 1.
func keyOfRun(id string, c *workflow.Combination, index int) string {
	if c == nil {
		return id
	}
	return id + "/" + strconv.Itoa(index+1)
}
