package handler

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// RunContainerStep runs a container action: its image's program under an agent of its own, on the job's network.
// Program, arguments and environment go through the agent's socket, so that nobody else sees them.
func (h *Handler) RunContainerStep(ctx context.Context, args *hook.Container, state json.RawMessage) (hook.Result, error) {
	ctx, handOver := h.cancelOnSignal(ctx)
	defer handOver()
	failpoint.Hit("step-start")
	id := newID()
	rec, err := h.stepJob(state, id)
	if err != nil {
		return hook.Result{}, err
	}
	ownJob := rec.ID == id
	if ownJob {
		defer h.say(func() error { return h.Store.Delete(id) })
	}
	spec, err := h.stepSpec(ctx, rec, id, args)
	if err != nil {
		return hook.Result{}, interrupted(ctx, "building the action's image", err)
	}
	failpoint.Hit("step-image")
	dir := h.agentDir(id)
	defer h.say(dir.remove)
	if err := h.makeAgentDir(ctx, dir); err != nil {
		return hook.Result{}, err
	}
	release, err := dir.lease()
	if err != nil {
		return hook.Result{}, err
	}
	defer h.say(release)
	failpoint.Hit("step-agent-folder")
	spec.Mounts = append(append(spec.Mounts, dir.mount()), dir.covers(spec.Mounts)...)
	sources, err := h.openSources(args.SystemMountVolumes)
	if err != nil {
		return hook.Result{}, err
	}
	defer closeSources(sources)
	s := &containerStep{h: h, job: rec, spec: spec, args: args, dir: dir, sources: sources, handOver: handOver}
	exit, err := s.run(ctx, rec.Network)
	if ownJob {
		h.restoreWithoutJob(context.WithoutCancel(ctx), dir, spec.Image)
	}
	return hook.Result{ExitCode: exit.Code}, err
}

// cancelOnSignal makes a signal end ctx, until handOver leaves the signals to the step.
func (h *Handler) cancelOnSignal(ctx context.Context) (_ context.Context, handOver func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := make(chan struct{})
	go func() {
		select {
		case <-h.Signals:
			cancel()
		case <-stop:
		}
	}()
	return ctx, sync.OnceFunc(func() { close(stop) })
}

// say reports an error of clean-up that must not hide the step's result.
func (h *Handler) say(f func() error) {
	if err := f(); err != nil {
		h.logf("gantry: %v", err)
	}
}

// stepJob is the job that the state names. A job without containers has neither state nor record: the step then is
// a job of its own, so that clean-up of leftovers can tell whether it still runs.
func (h *Handler) stepJob(state json.RawMessage, id string) (*jobrecord.Record, error) {
	if len(state) > 0 {
		return h.record(state)
	}
	if h.Runner.Work == "" {
		return nil, errNoWork()
	}
	rec := &jobrecord.Record{
		ID: id, Runner: h.Runner.ID, Work: h.Runner.Work, Created: time.Now(), Owner: jobrecord.Parent(), Network: h.Config.Network,
	}
	if err := h.Store.Save(rec); err != nil {
		return nil, stateVerdict(err)
	}
	return rec, nil
}

// stepSpec plans the container, after the image has been built if the action has a Dockerfile. What it is built
// from has to be allowed before.
func (h *Handler) stepSpec(ctx context.Context, rec *jobrecord.Record, id string, args *hook.Container) (engine.ContainerSpec, error) {
	info, err := h.Engine.Local(ctx)
	if err != nil {
		return engine.ContainerSpec{}, err
	}
	pt := part{role: roleStep, title: "step container", field: "the container action", in: args, hasJob: rec.Container != nil}
	dockerfile := ""
	if args.Image == "" {
		if dockerfile, pt.baseImages, err = h.readDockerfile(args); err != nil {
			return engine.ContainerSpec{}, err
		}
	}
	spec, err := h.planner(rec.ID, info).container(pt)
	if err != nil {
		return spec, err
	}
	if dockerfile != "" {
		if spec.Image, err = h.build(ctx, dockerfile, pt.baseImages); err != nil {
			return spec, err
		}
		spec.Pull, spec.Built = engine.PullNever, true
	}
	spec.Name, spec.ReadImage, spec.Alone = h.name(id, roleStep), args.EntryPoint == "", rec.Container == nil
	spec.Env = map[string]string{} // the step's own goes through the agent
	spec.Entrypoint, spec.Args = agent.MountPoint+"/"+agent.BinaryName, []string{"serve", "--once"}
	return spec, h.makeSources(args.SystemMountVolumes, spec.Mounts)
}

// containerStep is one run of a container action.
type containerStep struct {
	h        *Handler
	job      *jobrecord.Record
	spec     engine.ContainerSpec
	args     *hook.Container
	dir      agentDir
	sources  []source
	handOver func() // leaves signals to the step
}

// run starts the container and runs the step in it. The container is gone when it returns.
func (s *containerStep) run(ctx context.Context, network string) (agent.Exit, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c, err := s.h.Engine.StartStep(ctx, s.spec, network, s.h.Log)
	if err != nil {
		return agent.Exit{}, interrupted(ctx, "starting the step's container", err)
	}
	failpoint.Hit("step-started")
	exit, err := s.inside(ctx, c)
	cancelled := ctx.Err() != nil
	switch {
	case err != nil && exit.Code == 0, c.Root != "":
		stop() // the engine removes the container
	case c.Over != nil:
		c.Over()
	}
	<-c.Gone
	failpoint.Hit("step-gone")
	if engineErr := c.Err(); err != nil && exit.Code == 0 && engineErr != nil && !cancelled {
		err = engineErr
	}
	return exit, err
}

// inside waits for the agent and has it run the step.
func (s *containerStep) inside(ctx context.Context, c *engine.StepContainer) (agent.Exit, error) {
	rec := s.h.stepRecord(s.spec, s.dir, c)
	if rec.Container.Agent = reachAs(s.job, c.Agent); s.job.Container == nil {
		s.h.chooseReach(ctx, rec) // no job container's agent was tried before
	}
	client := s.h.agentClient(rec)
	client.Env = c.Env
	hello, err := s.h.claim(ctx, client, func() error { return gone(c) })
	if err != nil {
		return agent.Exit{}, interrupted(ctx, "starting the step's container", err)
	}
	failpoint.Hit("step-claimed")
	s.h.sayUndone(hello)
	if !c.Apart {
		if err := s.takeFolders(ctx, rec); err != nil {
			return agent.Exit{}, err
		}
	}
	if c.Root != "" {
		forget, err := s.h.ownCopy(ctx, rec, s.dir.id(), c)
		if err != nil {
			return agent.Exit{}, err
		}
		defer forget()
	}
	step := scriptstep.NewStep(rec, &hook.ScriptStepArgs{
		EnvironmentVariables: environment(s.h.Config.Env, s.args.EnvironmentVariables), WorkingDirectory: s.args.WorkingDirectory,
	})
	step.Argv = stepArgv(c, s.args)
	if len(step.Argv) == 0 {
		return agent.Exit{}, verdict.New(verdict.Workflow, "set `entrypoint:` in the action, or ENTRYPOINT in its image", "the image %s has no program to run", s.spec.Image)
	}
	copied := s.h.copyOf(s.job)
	if err := copied.Before(ctx, "", nil); err != nil {
		return agent.Exit{}, interrupted(ctx, "starting the step's container", err)
	}
	s.handOver()
	r := &scriptstep.Runner{
		Record: rec, Out: s.h.Out, Signals: s.h.Signals, Dial: s.h.pipe(rec), Env: s.h.Env, Say: s.h.Log,
		Ended: func(context.Context) error { return gone(c) },
	}
	running, stop := untilGone(ctx, c)
	exit, err := s.seek(running, r, step)
	stop()
	lost := stepLost(err)
	if lost || exit.Signal == int(syscall.SIGKILL) { // an agent that is told to go kills its step
		if taken := s.h.taken(ctx, c); taken != nil {
			return agent.Exit{}, taken // and the job's copy of the work folder, too
		}
	}
	if after := copied.After(ctx, s.h.Signals); after != nil && err == nil {
		err = after
	}
	if lost {
		return exit, s.h.lostContainer(c)
	}
	if err != nil {
		return exit, interrupted(ctx, "starting the step's container", err)
	}
	return exit, scriptstep.Verdict(step, exit)
}

// seek runs the step. An agent that is reached by a network is sought again and again when it is lost, as long as it keeps
// its step: links come back. ctx ends when the container has.
func (s *containerStep) seek(ctx context.Context, r *scriptstep.Runner, step *agent.Step) (agent.Exit, error) {
	offset := int64(0)
	for try := 0; ; try++ {
		exit, err := r.Run(ctx, step, offset > 0, offset) // starting it again attaches, if the agent has heard of it
		var lost *agent.LostError
		if !errors.As(err, &lost) || r.Record.Container.Agent == nil || try == retriesOf(r.Record) || len(lost.Signals) > 0 || s.h.signalled() {
			return exit, err
		}
		offset = lost.Offset
	}
}

// errStepGone: the engine says that the step's container is gone.
var errStepGone = errors.New("the step's container is gone")

// lastWords is how long the end of a step may be on its way when its container is gone already.
const lastWords = time.Second

// untilGone ends a context, with errStepGone, when a step's container is gone and has nothing more to say: its agent need
// not be sought then.
func untilGone(ctx context.Context, c *engine.StepContainer) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.Gone:
			wait.For(ctx, lastWords)
		case <-ctx.Done():
		}
		cancel(errStepGone)
	}()
	return ctx, func() { cancel(nil) }
}

// takeFolders makes sure that the container has the runner's own folders, and opens what the step must write where its
// user is not the runner's.
func (s *containerStep) takeFolders(ctx context.Context, rec *jobrecord.Record) error {
	if err := verifySources(ctx, s.h.agentClient(rec), s.sources, rec.Container.Agent != nil); err != nil {
		return err
	}
	uid, err := agent.SocketOwner(s.dir.work, s.dir.rel)
	if err != nil {
		return err
	}
	rec.Container.OpenFiles = uid != 0 && uid != s.h.UID
	if !rec.Container.OpenFiles {
		return nil
	}
	return openFolders(rec, s.args.WorkingDirectory)
}

// stepLost tells that nobody can say how a step has ended.
func stepLost(err error) bool {
	var lost *agent.LostError
	return errors.As(err, &lost) || errors.Is(err, agent.ErrForgotten) || errors.Is(err, errStepGone)
}

// taken says what the engine tells of a container that it has taken away; nil: nothing.
func (h *Handler) taken(ctx context.Context, c *engine.StepContainer) error {
	if _, err := h.Engine.Inspect(context.WithoutCancel(ctx), c.ID); errors.Is(err, engine.ErrTaken) {
		return err
	}
	return nil
}

// lostContainer explains a step container that went away under its step.
func (h *Handler) lostContainer(c *engine.StepContainer) error {
	return verdict.New(verdict.Infrastructure, "was it removed by hand, or did it run out of memory?", "the step's container %s has ended before its step", c.Name)
}

// gone tells why the container of a step has ended before its agent was there.
func gone(c *engine.StepContainer) error {
	select {
	case <-c.Gone:
	default:
		return nil
	}
	if err := c.Err(); err != nil {
		return err
	}
	return verdict.New(verdict.Infrastructure, "", "the step's container %s has ended before its step", c.Name)
}

// stepArgv is what the engine would run: the given entry point or the image's, with the given arguments or, for
// the image's own entry point, its default ones.
func stepArgv(c *engine.StepContainer, args *hook.Container) []string {
	given := hook.Argv(args.EntryPointArgs)
	if args.EntryPoint != "" {
		return append([]string{args.EntryPoint}, given...)
	}
	if len(given) == 0 {
		given = c.Cmd
	}
	return append(append([]string{}, c.Entrypoint...), given...)
}

// stepRecord describes the step's container as scriptstep wants it.
func (h *Handler) stepRecord(spec engine.ContainerSpec, dir agentDir, c *engine.StepContainer) *jobrecord.Record {
	return &jobrecord.Record{
		Work: h.Runner.Work, StepTimeout: h.Config.Timeouts.Step, CancelGrace: h.Config.Timeouts.Cancel,
		Container: &jobrecord.Container{
			ID: c.ID, Name: spec.Name, AgentDir: dir.rel, Agent: c.Agent, Token: newID(), Mounts: recordMounts(spec.Mounts),
		},
	}
}

// restoreWithoutJob mends ownership after a container step of a job that has no cleanup_job. The agent's own files are
// no reason to.
func (h *Handler) restoreWithoutJob(ctx context.Context, dir agentDir, image string) {
	_ = dir.remove() // what cannot be removed yet is a reason; RunContainerStep tries again
	if h.foreign() {
		h.say(func() error { return h.restoreInHelper(ctx, image) })
	}
}
