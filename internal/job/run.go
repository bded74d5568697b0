package job

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// plan is what the step "Set up job" finds out.
type plan struct {
	tasks   []*task
	timeout time.Duration
}

// run does the whole job.
func (r *runner) run(ctx context.Context) Outcome {
	var p plan
	r.perform(ctx, ctx, &task{name: "Set up job", condition: always(), do: func(ctx context.Context, x *execution) (err error) {
		p, err = x.setUp(ctx)
		return err
	}})
	kept := r.steps(ctx, p)
	outcome := Outcome{Kept: kept}
	r.perform(context.WithoutCancel(ctx), ctx, &task{name: "Complete job", condition: always(), own: true, do: func(ctx context.Context, x *execution) (err error) {
		outcome.Outputs, err = x.complete(kept != nil)
		return err
	}})
	r.background.settle()
	outcome.Result = r.state.result()
	return outcome
}

// steps runs the planned steps, and then the post steps.
func (r *runner) steps(ctx context.Context, p plan) *Kept {
	job, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if p.timeout > 0 {
		timer := time.AfterFunc(p.timeout, func() { stop(r.timedOut(p.timeout)) })
		defer timer.Stop()
	}
	all, stopAll := r.budget(ctx, job)
	defer stopAll()
	for _, t := range p.tasks {
		if !r.background.take(all, job, t) {
			r.perform(all, job, t)
		}
	}
	r.background.drain(job)
	var kept *Kept
	for t := r.state.popPost(); t != nil; t = r.state.popPost() {
		if t.own && r.opts.Keep && r.state.result() == jobevent.Failure {
			kept = r.keep(t)
			continue
		}
		r.perform(all, job, t)
	}
	return kept
}

// budget gives a context for all steps, which ends some time after that of the job.
func (r *runner) budget(ctx, job context.Context) (all context.Context, stop func()) {
	all, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-job.Done():
		case <-all.Done():
			return
		}
		select {
		case <-time.After(orTime(r.opts.CancelBudget, 285*time.Second)):
			cancel(errBudget)
		case <-all.Done():
		}
	}()
	return all, func() { cancel(nil) }
}

func (r *runner) timedOut(limit time.Duration) error {
	r.newLog(0).error(fmt.Sprintf("The job running on runner %s has exceeded the maximum execution time of %v minutes.",
		r.member("name"), limit.Minutes()))
	return errors.New("the job has timed out")
}

// member is a member of the context runner.
func (r *runner) member(name string) string {
	for _, p := range r.host {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// keep leaves the containers to the caller.
func (r *runner) keep(cleanup *task) *Kept {
	k := r.state.kept()
	k.Dirs = r.dirs
	k.Cleanup = func(ctx context.Context) error {
		x := r.newExecution(r.main, nil, r.newLog(0))
		return errors.Join(cleanup.do(ctx, x), r.dirs.CleanTemp())
	}
	return k
}

// setUp is the step "Set up job": it makes the folders, evaluates what concerns the job as a whole, and gets the
// actions of other repositories.
func (x *execution) setUp(ctx context.Context) (plan, error) {
	event, err := x.eventText()
	if err == nil {
		err = x.dirs.Create(x.runner.member("name"), []byte(event))
	}
	if err == nil {
		err = x.jobEnv()
	}
	if err == nil {
		err = x.jobDefaults()
	}
	if err != nil {
		return plan{}, err
	}
	req, err := x.jobContainers()
	if err != nil {
		return plan{}, err
	}
	p := plan{}
	if p.timeout, err = x.jobTimeout(); err != nil {
		return plan{}, err
	}
	p.tasks = x.jobHooks()
	if !req.empty() {
		p.tasks = append(p.tasks, prepareTask(req))
	}
	pre, main, err := x.plan(ctx, x.job.Job.Steps)
	if err != nil {
		return plan{}, err
	}
	p.tasks = slices.Concat(p.tasks, pre, main)
	x.log.line("Complete job name: " + x.job.Name)
	return p, nil
}

// jobContainers evaluates the containers, and settles where steps run.
func (x *execution) jobContainers() (request, error) {
	req, err := x.containers()
	if err != nil {
		return req, err
	}
	if c := req.args.Container; c != nil {
		x.runner.container = &container{mapping: x.dirs.JobContainer(slices.Concat(c.SystemMountVolumes, c.UserMountVolumes))}
	} else if truthy(process.Lookup(x.opts.Environ, "ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER")) {
		return req, errors.New("Jobs without a job container are forbidden on this runner, please add a 'container:' to your job " +
			"or contact your self-hosted runner administrator.")
	}
	return req, nil
}

func (x *execution) jobTimeout() (time.Duration, error) {
	minutes, err := x.evaluator().number(x.job.Job.TimeoutMinutes)
	if minutes <= 0 {
		minutes = 360
	}
	return time.Duration(minutes * float64(time.Minute)), err
}

// truthy reads a switch in the runner's environment (StringUtil.cs).
func truthy(value string) bool {
	return slices.Contains([]string{"1", "true", "$true"}, strings.ToLower(value))
}

func (x *execution) eventText() (string, error) {
	if x.opts.Event == nil {
		return "{}", nil
	}
	text, err := expr.EncodeJSON(x.opts.Event)
	if err != nil {
		return "", fmt.Errorf("writing the event: %w", err)
	}
	return text, nil
}

// jobEnv evaluates the env of workflow and job.
func (x *execution) jobEnv() error {
	for _, source := range []func() ([]pair, error){
		func() ([]pair, error) { return x.evaluator().vars(x.job.Workflow.Env) },
		func() ([]pair, error) {
			var pairs []pair
			for _, name := range slices.Sorted(maps.Keys(x.opts.Env)) {
				pairs = append(pairs, pair{name, x.opts.Env[name]})
			}
			return pairs, nil
		},
		func() ([]pair, error) { return x.evaluator().vars(x.job.Job.Env) },
	} {
		pairs, err := source()
		if err != nil {
			return err
		}
		for _, p := range pairs {
			x.state.setEnv(p.name, p.value)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.env = x.state.environment()
	return nil
}

// jobDefaults evaluates defaults.run, the job's over the workflow's.
func (x *execution) jobDefaults() error {
	job, all := x.job.Job.Defaults, x.job.Workflow.Defaults
	values, err := x.evaluator().texts([]workflow.Text{
		orDefault(job.Shell, all.Shell), orDefault(job.WorkingDirectory, all.WorkingDirectory),
	})
	if err != nil {
		return err
	}
	x.runner.defaults = workflow.Defaults{
		Shell: workflow.Literal(values[0]), WorkingDirectory: workflow.Literal(values[1]),
	}
	return nil
}

// prepareTask is "Initialize containers". Before it begins, "Stop containers" is registered, so that this runs once
// whatever happens.
func prepareTask(req request) *task {
	return &task{name: "Initialize containers", do: func(ctx context.Context, x *execution) error {
		x.state.pushPost(&task{name: "Stop containers", condition: always(), own: true,
			do: func(ctx context.Context, x *execution) error {
				_, err := x.call(ctx, hook.CleanupJob, nil)
				return errors.Join(err, x.hooks.paid())
			}})
		if err := x.hooks.owe(x.dirs.Root, variables(x.contextVariables())); err != nil {
			return err
		}
		return x.prepare(ctx, req)
	}}
}

// complete is the step "Complete job": it evaluates the job's outputs, and leaves nothing behind.
func (x *execution) complete(keep bool) (map[string]string, error) {
	outputs := map[string]string{}
	var problems []error
	for _, o := range x.job.Job.Outputs {
		value, err := x.evaluator().text(o.Value)
		switch {
		case err != nil:
			problems = append(problems, err)
		case x.masks.Mask(value) != value:
			x.log.warning(fmt.Sprintf("Skip output '%s' since it may contain secret.", o.Name))
		case value != "":
			outputs[o.Name] = value
		}
	}
	x.closeRecord()
	if keep {
		return outputs, errors.Join(problems...)
	}
	for _, orphan := range process.Tracked(x.tracking) {
		x.log.line(fmt.Sprintf("Terminate orphan process: pid (%d) (%s)", orphan.PID, orphan.Name))
		orphan.Kill()
	}
	if err := x.dirs.CleanTemp(); err != nil {
		x.log.warning(err.Error())
	}
	return outputs, errors.Join(problems...)
}
