package job

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// frame is where a step stands: in the job itself, or in one use of a composite action.
type frame struct {
	steps  *steps
	inputs *expr.Map
	source workflow.Source // for errors
	// Of composite actions only: the step that uses it, and the result so far.
	outer  *execution
	result jobevent.Result
}

// composite says whether the frame is one of a composite action.
func (f *frame) composite() bool { return f.outer != nil }

// execution is a step that runs: of the job, of a composite action, or the runner's own.
type execution struct {
	*runner
	frame *frame
	name  string         // for people
	step  *workflow.Step // nil for the runner's own
	id    string         // in the context steps; "" if it is not there
	// qualified is the context name behind those of the composite actions around.
	qualified string
	use       *use // the action; nil if there is none
	log       *stepLog

	mu         sync.Mutex
	env        []pair          // the context env
	overrides  map[string]bool // names in env that this step, or one around it, has set
	github     map[string]string
	outputs    []pair
	badCommand bool
	beside     bool // the step itself runs in the background, and not only one around it
	// deferred is set for a step in the background: what it has set is seen by others when it has been waited for.
	deferred *deferred
}

// deferred is what a step in the background has set.
type deferred struct {
	mu    sync.Mutex
	env   []pair
	paths []string
}

// newExecution prepares a step whose env is not evaluated yet.
func (r *runner) newExecution(f *frame, step *workflow.Step, log *stepLog) *execution {
	x := &execution{runner: r, frame: f, step: step, log: log, github: map[string]string{}, overrides: map[string]bool{}}
	x.env = r.state.environment()
	if step != nil {
		x.qualified = step.ContextName
		x.github["action"] = step.ContextName
		x.id = step.ID
	}
	if outer := f.outer; outer != nil {
		outer.inherit(x)
	}
	return x
}

// inherit gives a step of a composite action what the step around it has.
func (x *execution) inherit(inner *execution) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.env {
		if x.overrides[p.name] {
			inner.env = set(inner.env, p.name, p.value)
			inner.overrides[p.name] = true
		}
	}
	inner.github["action_path"] = x.use.dir
	inner.github["action"] = x.qualified
	inner.qualified = x.qualified + "." + inner.qualified
	inner.deferred = x.deferred
}

// evaluateEnv adds the step's own env.
func (x *execution) evaluateEnv() error {
	if x.step == nil {
		return nil
	}
	pairs, err := x.evaluator().vars(x.step.Env)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range pairs {
		x.env = set(x.env, p.name, p.value)
		x.overrides[p.name] = true
	}
	return nil
}

func (x *execution) lookupEnv(name string) (string, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.env {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// setEnv is what $GITHUB_ENV does: for the job, and for the step's own env context.
func (x *execution) setEnv(name, value string) {
	x.mu.Lock()
	x.env = set(x.env, name, value)
	x.mu.Unlock()
	if d := x.deferred; d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.env = set(d.env, name, value)
		return
	}
	x.state.setEnv(name, value)
}

func (x *execution) addPaths(paths ...string) {
	if d := x.deferred; d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.paths = append(d.paths, paths...)
		return
	}
	x.state.addPaths(paths...)
}

func (x *execution) setOutput(name, value string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.outputs = set(x.outputs, name, value)
}

func (x *execution) saveState(name, value string) {
	if x.use != nil {
		x.use.saveState(name, value)
	}
}

func (x *execution) failCommand() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.badCommand = true
}

// evaluator sees what expressions of the step see, with paths of the host.
func (x *execution) evaluator() evaluator { return x.seeing(func(path string) string { return path }) }

// inside is the evaluator for scripts and inputs: where steps run in the job container, paths are the container's.
func (x *execution) inside() evaluator { return x.seeing(x.resolve) }

// resolve gives a path as the step sees it.
func (x *execution) resolve(path string) string {
	if x.container == nil {
		return path
	}
	return x.container.mapping.Resolve(path)
}

// seeing makes the contexts, with the paths in github and runner changed.
func (x *execution) seeing(resolve func(string) string) evaluator {
	contexts := map[string]expr.Value{
		"github": x.githubObject(resolve), "runner": resolved(x.host, resolve), "env": x.envObject(),
		"job": x.state.job(), "steps": x.frame.steps.context(), "inputs": x.frame.inputs,
		"strategy": x.job.strategy(), "matrix": x.matrix(),
	}
	if x.frame.inputs == nil {
		contexts["inputs"] = expr.NewMap()
	}
	if !x.frame.composite() {
		contexts["vars"] = mapObject(x.opts.Vars)
		contexts["secrets"] = mapObject(x.job.Secrets)
		contexts["needs"] = expr.NewMap()
		if x.job.Needs != nil {
			contexts["needs"] = x.job.Needs
		}
	}
	return evaluator{x.frame.source, expr.Scope{Contexts: contexts, HashFiles: x.hashFiles, Status: x.status()}}
}

// status is what the status functions give: in a composite action success and failure are its own.
func (x *execution) status() *expr.Status {
	job := x.state.result()
	here := job
	if x.frame.composite() {
		here = x.frame.result
	}
	return &expr.Status{
		Success: here == jobevent.Success, Failure: here == jobevent.Failure, Cancelled: job == jobevent.Cancelled,
	}
}

func (x *execution) matrix() expr.Value {
	if x.job.Matrix == nil {
		return nil
	}
	return x.job.Matrix.Values
}

func (x *execution) envObject() *expr.Map {
	x.mu.Lock()
	defer x.mu.Unlock()
	return object(x.env, true)
}

// githubMembers are the context's texts, those of this step last.
func (x *execution) githubMembers() []pair {
	x.mu.Lock()
	defer x.mu.Unlock()
	pairs := slices.Clone(x.runner.github)
	for _, name := range slices.Sorted(maps.Keys(x.github)) {
		pairs = set(pairs, name, x.github[name])
	}
	return pairs
}

func (x *execution) githubObject(resolve func(string) string) *expr.Map {
	m := resolved(x.githubMembers(), resolve)
	m.Set("event", expr.Value(expr.NewMap()))
	if x.opts.Event != nil {
		m.Set("event", x.opts.Event)
	}
	return m
}

func resolved(pairs []pair, resolve func(string) string) *expr.Map {
	m := expr.NewMap()
	for _, p := range pairs {
		m.Set(p.name, resolve(p.value))
	}
	return m
}

func mapObject(values map[string]string) *expr.Map {
	m := expr.NewMap()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		m.Set(name, values[name])
	}
	return m
}

// exported are the members of github that steps get as GITHUB_* (GitHubContext.cs).
const exported = " action action_path action_ref action_repository actor actor_id api_url base_ref env event_name " +
	"event_path graphql_url head_ref job output path ref ref_name ref_protected ref_type repository repository_id " +
	"repository_owner repository_owner_id retention_days run_attempt run_id run_number server_url sha state " +
	"step_summary triggering_actor workflow workflow_ref workflow_sha workspace "

// contextVariables are GITHUB_* by their names, and RUNNER_*, with paths of the host.
func (x *execution) contextVariables() []pair {
	var all []pair
	for _, p := range x.githubMembers() {
		if strings.Contains(exported, " "+p.name+" ") {
			all = append(all, pair{"GITHUB_" + strings.ToUpper(p.name), p.value})
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	for _, p := range x.host {
		all = append(all, pair{"RUNNER_" + strings.ToUpper(p.name), p.value})
	}
	return all
}

// variables is the environment of the step's program, before paths are translated: the context env, the state that
// the action has saved, more, and the contexts.
func (x *execution) variables(more []pair) []pair {
	x.mu.Lock()
	all := slices.Clone(x.env)
	x.mu.Unlock()
	if x.use != nil {
		for _, p := range x.use.savedState() {
			all = set(all, "STATE_"+p.name, p.value)
		}
	}
	for _, p := range append(slices.Clone(more), x.contextVariables()...) {
		all = set(all, p.name, p.value)
	}
	return all
}

// environ is the environment of a process of the runner on the host, without what the step sets.
func (x *execution) environ() []string {
	base := slices.DeleteFunc(slices.Clone(x.opts.Environ), func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	env := append(base, "PATH="+x.searchPath(), "GITHUB_ACTIONS=true", "RUNNER_TRACKING_ID="+x.tracking)
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "CI=") }) {
		env = append(env, "CI=true")
	}
	return env
}

// searchPath is the PATH of processes on the host.
func (x *execution) searchPath() string {
	return strings.Join(append(x.state.prepend(), process.Lookup(x.opts.Environ, "PATH")), string(filepath.ListSeparator))
}

func variables(pairs []pair) []string {
	all := make([]string, 0, len(pairs))
	for _, p := range pairs {
		all = append(all, p.name+"="+p.value)
	}
	return all
}
