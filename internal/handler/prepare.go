package handler

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// PrepareJob removes what earlier jobs of this runner left, and starts the job's network and containers. After an
// error what was made is left for CleanupJob, which the runner calls in any case.
func (h *Handler) PrepareJob(ctx context.Context, args *hook.PrepareJobArgs) (hook.Result, error) {
	if args.Container == nil && len(args.Services) == 0 {
		return hook.Result{Response: hook.Response{State: map[string]any{}}}, nil
	}
	if h.Runner.Work == "" {
		return hook.Result{}, errNoWork()
	}
	ctx, release := h.cancelOnSignal(ctx)
	defer release()
	ph := &phases{began: time.Now()}
	job := newID()
	dir := h.agentDir(job)
	info, err := h.Engine.Local(ctx)
	if err != nil {
		return hook.Result{}, err
	}
	failpoint.Hit("prepare-start")
	spec, err := h.planner(job, info).jobSpec(args, dir)
	if err == nil {
		err = h.makeAllSources(args, spec, dir)
	}
	if err != nil {
		return hook.Result{}, err
	}
	rec := h.newRecord(job, info, spec, args, dir)
	spec.Before = func(ctx context.Context) error { return h.makeReady(ctx, ph, spec, rec, args) }
	return h.startJob(ctx, ph, spec, rec, args)
}

// makeReady removes what earlier jobs of this runner left, and makes what the job needs on the host.
func (h *Handler) makeReady(ctx context.Context, ph *phases, spec engine.JobSpec, rec *jobrecord.Record, args *hook.PrepareJobArgs) error {
	err := ph.do("remove leftovers of earlier jobs", func() error { return h.removeLeftovers(ctx, rec.ID) })
	failpoint.Hit("prepare-leftovers")
	if err == nil && args.Container != nil {
		err = h.makeAgentDir(ctx, h.agentDir(rec.ID))
	}
	failpoint.Hit("prepare-agent-folder")
	if err == nil {
		err = h.makeAllSources(args, spec, h.agentDir(rec.ID)) // once more: nothing of an earlier job runs now
	}
	if err != nil {
		return err
	}
	if err := h.Store.Save(rec); err != nil {
		return stateVerdict(err)
	}
	failpoint.Hit("prepare-record")
	return nil
}

// startJob has the engine start everything and takes the agent into possession.
func (h *Handler) startJob(ctx context.Context, ph *phases, spec engine.JobSpec, rec *jobrecord.Record, args *hook.PrepareJobArgs) (hook.Result, error) {
	made, err := h.Engine.StartJob(ctx, spec, h.Log)
	ph.rows = append(ph.rows, made.Phases...)
	if err != nil {
		return hook.Result{}, interrupted(ctx, "preparing the job", err)
	}
	failpoint.Hit("prepare-started")
	rec.Network = made.Network
	for i := range made.Services {
		rec.Services[i].ID = made.Services[i].ID
	}
	var hello agent.Hello
	if made.Container != nil {
		rec.Container.ID, rec.Container.Agent = made.Container.ID, made.Container.Agent
		rec.Container.Externals = h.externals(rec, made)
		err := ph.do("agent in the job container", func() error {
			hello, err = h.takeAgent(ctx, rec, made, args.Container.WorkingDirectory)
			return err
		})
		if err != nil {
			return hook.Result{}, interrupted(ctx, "preparing the job", err)
		}
	}
	failpoint.Hit("prepare-claimed")
	if made.Apart && made.Container != nil {
		if err := h.keepApart(rec); err != nil {
			return hook.Result{}, err
		}
	}
	if err := h.Store.Save(rec); err != nil {
		return hook.Result{}, stateVerdict(err)
	}
	if rec.Sync != nil {
		if err := ph.do("copy of the work folder", func() error { return h.copyOf(rec).Start(ctx) }); err != nil {
			return hook.Result{}, interrupted(ctx, "preparing the job", err)
		}
	}
	failpoint.Hit("prepare-saved")
	h.sayNames(args, spec, made)
	ph.print(h.Log)
	return hook.Result{Response: response(rec, made, hello)}, nil
}

// interrupted words the end of a command that was cancelled.
func interrupted(ctx context.Context, doing string, err error) error {
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), context.Canceled) {
		return err
	}
	return verdict.New(verdict.Workflow, "", "%s was cancelled", doing)
}

func errNoWork() error {
	return verdict.New(verdict.Configuration, "the runner sets RUNNER_TEMP to the _temp folder in its work folder; set it when you call the hook by hand",
		"the runner's work folder cannot be told from the input")
}

func stateVerdict(err error) error {
	if isNoSpace(err) {
		return spaceVerdict(err)
	}
	return verdict.New(verdict.Infrastructure, "set GANTRY_STATE_DIR to a folder that only the runner's user can write, outside of _work", "%w", err)
}

// newRecord describes the job as far as it is known before anything is started.
func (h *Handler) newRecord(job string, info engine.Info, spec engine.JobSpec, args *hook.PrepareJobArgs, dir agentDir) *jobrecord.Record {
	rec := &jobrecord.Record{
		ID: job, Runner: h.Runner.ID, Work: h.Runner.Work, Created: time.Now(),
		Engine: jobrecord.Engine{Name: info.Name, Path: info.Path}, Network: spec.Network.Name,
		Full:        h.stepsNeedFull(),
		StepTimeout: h.Config.Timeouts.Step, CancelGrace: h.Config.Timeouts.Cancel,
		Owner: jobrecord.Parent(),
	}
	if spec.Container != nil {
		rec.Container = &jobrecord.Container{
			Name: spec.Container.Name, Image: spec.Container.Image, AgentDir: dir.rel, Token: newID(), Dir: spec.Container.WorkingDir,
		}
		rec.Container.Mounts = recordMounts(spec.Container.Mounts)
	}
	for _, s := range spec.Services {
		rec.Services = append(rec.Services, jobrecord.Service{Name: s.Name, Title: s.Title})
	}
	return rec
}

// recordMounts are the bind mounts among mounts.
func recordMounts(mounts []engine.Mount) []jobrecord.Mount {
	var all []jobrecord.Mount
	for _, m := range mounts {
		if strings.HasPrefix(m.Source, "/") {
			all = append(all, jobrecord.Mount{Source: m.Source, Target: m.Target})
		}
	}
	return all
}

// stepsNeedFull says whether script steps must go through the full program.
func (h *Handler) stepsNeedFull() bool {
	c := h.Config
	return c.TraceDir != "" || c.RecordDir != "" || c.Overrides[string(hook.RunScriptStep)] != ""
}

// makeAllSources makes the folders that the job container mounts, but for the agent's, and refuses those that links
// lead to.
func (h *Handler) makeAllSources(args *hook.PrepareJobArgs, spec engine.JobSpec, dir agentDir) error {
	if args.Container == nil {
		return nil
	}
	mounts := slices.DeleteFunc(slices.Clone(spec.Container.Mounts), func(m engine.Mount) bool {
		_, agents := safefs.Rel(filepath.Join(dir.work, dir.rel), m.Source)
		return agents
	})
	return h.makeSources(args.Container.SystemMountVolumes, mounts)
}

// takeAgent claims the agent of the job container that was made, and opens files for its user.
func (h *Handler) takeAgent(ctx context.Context, rec *jobrecord.Record, made engine.Job, workspace string) (agent.Hello, error) {
	h.chooseReach(ctx, rec)
	client := h.agentClient(rec)
	client.Env = made.Container.Env
	hello, err := h.claim(ctx, client, func() error { return h.ended(ctx, rec.Container.ID, "the job container") })
	if err != nil {
		return hello, err
	}
	h.sayUndone(hello)
	if made.Apart {
		return hello, nil // it shares no folder whose files would have to be opened
	}
	uid, err := agent.SocketOwner(rec.Work, rec.Container.AgentDir)
	if err != nil {
		return hello, err
	}
	rec.Container.HostUID, rec.Container.Root = uid, hello.UID == 0
	rec.Container.OpenFiles = uid != 0 && uid != h.UID
	if rec.Container.OpenFiles {
		h.logf("gantry: the image's user (uid %d) is not the runner's: opening workspace, home and temp folder for it", hello.UID)
		return hello, openFolders(rec, workspace)
	}
	return hello, nil
}

// ended says why a container does not run; nil if it does.
func (h *Handler) ended(ctx context.Context, id, title string) error {
	st, err := h.Engine.Inspect(context.WithoutCancel(ctx), id)
	switch {
	case errors.Is(err, engine.ErrTaken):
		return err
	case errors.Is(err, engine.ErrNotFound):
		return verdict.New(verdict.Infrastructure, "somebody or something on this machine removed it (docker rm, a prune job?)", "%s has been removed", title)
	case err != nil:
		return err
	case st.Running:
		return nil
	case st.OOMKilled:
		return verdict.New(verdict.Workflow, "raise --memory in container.options", "%s was killed because its memory was used up", title)
	}
	v := verdict.New(verdict.Infrastructure, endedHint(st.ExitCode), "%s has ended with status %d", title, st.ExitCode)
	if st.Error != "" {
		v.Err = fmt.Errorf("%w: %s", v.Err, st.Error)
	}
	var logs strings.Builder
	if h.Engine.Logs(context.WithoutCancel(ctx), id, 100, &logs) == nil {
		v.Output = logs.String()
	}
	return v
}

// endedHint is the next step after a first process has ended that never ends by itself.
func endedHint(status int) string {
	if status == 128+int(syscall.SIGKILL) {
		return "was the container killed by hand, or by the kernel because memory was used up (the engine cannot always tell)? or was the engine restarted?"
	}
	return "was the engine restarted, or the container stopped by hand?"
}

// sayNames tells under which names services are reached: the runner does not tell hooks how the workflow calls
// them.
func (h *Handler) sayNames(args *hook.PrepareJobArgs, spec engine.JobSpec, made engine.Job) {
	for i, s := range made.Services {
		names := slices.Clone(spec.Services[i].Aliases)
		if opts, err := createopts.Parse(args.Services[i].CreateOptions); err == nil {
			names = unique(append(append(names, opts.NetworkAliases()...), opts.Name())...)
		}
		line := fmt.Sprintf("gantry: service %d (%s): ", i+1, spec.Services[i].Image)
		if spec.Container != nil {
			line += "containers of this job reach it as " + strings.Join(names, ", ")
		}
		for _, port := range sortedKeys(s.Ports) {
			line += fmt.Sprintf("; its port %s is port %s of the host", port, s.Ports[port])
		}
		h.logf("%s", line)
	}
}

func response(rec *jobrecord.Record, made engine.Job, hello agent.Hello) hook.Response {
	state := map[string]any{"gantry": 1, "job": rec.ID, "engine": rec.Engine.Name, "network": rec.Network}
	ctx := &hook.JobContext{Services: []hook.ServiceContext{}}
	r := hook.Response{State: state, Context: ctx}
	if c := made.Container; c != nil {
		state["container"] = c.ID
		r.IsAlpine = &hello.Alpine
		ctx.Container = &hook.ContainerContext{ID: c.ID, Network: c.Network}
	}
	var ids []string
	for _, s := range made.Services {
		ids = append(ids, s.ID)
		ctx.Services = append(ctx.Services, hook.ServiceContext{ID: s.ID, Network: s.Network, Ports: nonNil(s.Ports)})
	}
	if ids != nil {
		state["services"] = ids
	}
	return r
}
