package handler

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// lostRetries is how often an agent is sought again while the engine says that its container runs.
const lostRetries = 10

// retriesOf is lostRetries for the agent of a job. One that is reached by a network keeps its steps for longer.
func retriesOf(rec *jobrecord.Record) int {
	if rec.Container.Agent == nil {
		return lostRetries
	}
	return int(scriptstep.RemoteGrace / scriptstep.RemoteGiveUp)
}

// RunScriptStep runs a step through the agent, as the fast path does, and finds out what happened when the agent
// cannot be reached.
func (h *Handler) RunScriptStep(ctx context.Context, args *hook.ScriptStepArgs, state json.RawMessage) (hook.Result, error) {
	rec, err := h.record(state)
	if err != nil {
		return hook.Result{}, err
	}
	if rec.Container == nil {
		return hook.Result{}, verdict.New(verdict.Bug, "the runner runs such steps on the host", "the job has no job container to run a step in")
	}
	failpoint.Hit("full-script")
	r := &scriptstep.Runner{
		Record: rec, Out: h.Out, Signals: h.Signals, Dial: h.pipe(rec), Env: h.Env, Say: h.Log, AgentStays: true,
		Ended: func(ctx context.Context) error { return h.knownToBeOver(ctx, rec.Container.ID) },
	}
	step := scriptstep.NewStep(rec, args)
	resume, offset := false, int64(0)
	if h.Resume != nil {
		// Without output the agent may not have heard of the step: starting it again attaches if it has.
		step.ID, resume, offset = h.Resume.StepID, h.Resume.Offset > 0, h.Resume.Offset
		r.Progress = h.Resume.Progress
		r.Hold(ctx, step.ID) // the engine may take its time, and a step that nobody has is ended
		if cause := h.knownToBeOver(ctx, rec.Container.ID); cause != nil {
			return hook.Result{}, cause
		}
	}
	for try := 0; ; try++ {
		exit, err := r.Run(ctx, step, resume, offset)
		var lost *agent.LostError
		switch {
		case errors.As(err, &lost) && try < retriesOf(rec):
			if cause := h.ended(ctx, rec.Container.ID, "the job container"); cause != nil {
				return hook.Result{}, cause
			}
			failpoint.Hit("full-script-lost")
			if h.signalled() || len(lost.Signals) > 0 {
				return hook.Result{}, verdict.New(verdict.Workflow, "the agent ends a step that nobody waits for",
					"the step was cancelled while the agent in the job container did not answer")
			}
			offset = lost.Offset
			resume = resume || offset > 0
		case errors.Is(err, agent.ErrRefused):
			return hook.Result{}, refusedVerdict(err)
		case errors.Is(err, agent.ErrForgotten):
			return hook.Result{}, h.forgotten(ctx, rec)
		case lost != nil:
			return hook.Result{}, verdict.New(verdict.Infrastructure, "the container runs, but its first process does not answer: is it paused?",
				"the agent in the job container cannot be reached any more: %w", err)
		case err != nil:
			return hook.Result{ExitCode: exit.Code}, err
		default:
			exit.Survivors = h.endSurvivors(ctx, rec, exit.Survivors)
			return hook.Result{ExitCode: exit.Code}, scriptstep.Verdict(step, exit)
		}
	}
}

// overLimit is how long the engine may take to tell that a container is gone before its agent is sought again all the same.
const overLimit = 2 * time.Second

// knownToBeOver says why the job container does not run, if the engine tells that it does not at once.
func (h *Handler) knownToBeOver(ctx context.Context, id string) error {
	limited, stop := context.WithTimeout(ctx, overLimit)
	defer stop()
	st, err := h.Engine.Inspect(limited, id)
	if errors.Is(err, engine.ErrNotFound) || err == nil && !st.Running {
		return h.ended(ctx, id, "the job container")
	}
	return nil
}

// endSurvivors kills processes of a cancelled step that the container's user may not signal, as root in the
// container; `sudo` in a step makes such ones. It returns what is still there.
func (h *Handler) endSurvivors(ctx context.Context, rec *jobrecord.Record, pids []int) []int {
	if len(pids) == 0 {
		return nil
	}
	argv := []string{agent.MountPoint + "/" + agent.BinaryName, "kill"}
	for _, pid := range pids {
		argv = append(argv, strconv.Itoa(pid))
	}
	if err := h.Engine.Exec(context.WithoutCancel(ctx), rec.Container.ID, "0", argv...); err != nil {
		h.logf("gantry: %v", err)
		return pids
	}
	return nil
}

// EndSurvivors does that for the job of a state, for the fast path.
func (h *Handler) EndSurvivors(ctx context.Context, state json.RawMessage, pids []int) error {
	rec, err := h.record(state)
	if err != nil {
		return err
	}
	if left := h.endSurvivors(ctx, rec, pids); len(left) > 0 {
		return verdict.New(verdict.Infrastructure, "they end with the container", "processes %v of the step could not be ended", left)
	}
	return nil
}

// refusedVerdict explains an agent, or what is in its place, that is not the one which prepare_job took into
// possession.
func refusedVerdict(err error) error {
	var known *verdict.Error
	if errors.As(err, &known) {
		return err // it is the way to the agent that refuses
	}
	return verdict.New(verdict.Workflow,
		"has a step changed what is in /.gantry of its container, or somebody the .gantry folder in _work/_temp? run the job again",
		"the agent's socket is not what was left there: %w", err)
}

// signalled tells whether a signal has come that no step has got.
func (h *Handler) signalled() bool {
	select {
	case <-h.Signals:
		return true
	default:
		return false
	}
}

// forgotten explains an agent that is there but does not know the step.
func (h *Handler) forgotten(ctx context.Context, rec *jobrecord.Record) error {
	if cause := h.ended(ctx, rec.Container.ID, "the job container"); cause != nil {
		return cause
	}
	return verdict.New(verdict.Infrastructure, "was the engine restarted, or the container by hand? what ran in it is lost, so the job has to be run again",
		"the job container was restarted")
}

// record finds the job that a state names.
func (h *Handler) record(state json.RawMessage) (*jobrecord.Record, error) {
	id, ok := jobrecord.StateOf(state)
	if !ok && len(state) > 0 {
		return nil, verdict.New(verdict.Configuration, "was the job prepared by another hook, or did a step write a state into its response file?",
			"the state names no job that gantry has prepared")
	}
	rec, err := h.Store.Load(id, h.Runner.Work)
	if err == nil && h.Runner.Work == "" { // a call by hand: nothing else says whose it is
		h.Runner = Runner{ID: rec.Runner, Work: rec.Work}
	}
	switch {
	case err == nil && rec.Runner == h.Runner.ID:
		return rec, nil
	case err == nil, errors.Is(err, jobrecord.ErrForeign):
		return nil, verdict.New(verdict.Configuration, "a state belongs to one job of one runner", "refused: %w", jobrecord.ErrForeign)
	case errors.Is(err, jobrecord.ErrNone):
		return nil, verdict.New(verdict.Workflow, `see the log of "Initialize containers"`, "prepare_job did not succeed, so there is no container for this step")
	}
	return nil, stateVerdict(err)
}
