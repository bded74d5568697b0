// Package scriptstep carries a run_script_step call out through the agent of a prepared job.
//
// It is the step path: the lean program links it and nothing that is not in the standard library.
package scriptstep

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// OrphanGrace is how long a step goes on whose hook has vanished from this machine, and RemoteGrace how long one whose
// hook reaches the agent by a network, which may be away for a while without anybody being dead.
const (
	OrphanGrace = time.Second
	RemoteGrace = time.Minute
)

// GiveUp is how long an agent is sought that does not answer, before the engine is asked about its container;
// RemoteGiveUp the same by a network.
const (
	GiveUp       = time.Second
	RemoteGiveUp = 2 * time.Second
)

// Runner runs script steps of one job.
type Runner struct {
	Record  *jobrecord.Record
	Out     io.Writer // the step's output, byte for byte
	Signals <-chan os.Signal
	// Dial, if set, is the way to an agent of agent.NetworkPipe.
	Dial agent.Dialer
	// AgentStays says that the agent goes on after the step, as that of a job container does.
	AgentStays bool
	// Env is the hook's own environment, and Say where it tells of what the work folder's copy left out; both are needed
	// for jobs that have one.
	Env []string
	Say io.Writer
	// Ended is that of the Copy.
	Ended func(context.Context) error
	// Progress is nothing for a step that is new.
	Progress

	copied *Copy
}

// Progress is how far a step has come, beside its output, for a Runner that goes on with it where another one, of another
// process perhaps, has lost it.
type Progress struct {
	// Began is when it was started: the record's StepTimeout counts from there.
	Began time.Time `json:"began,omitzero"`
	// Exit is how it has ended: only what it wrote has not been brought here yet. TimedOut says that its time was up.
	Exit     *agent.Exit `json:"exit,omitempty"`
	TimedOut bool        `json:"timedOut,omitempty"`
}

// NewStep makes the agent's step from the runner's arguments.
func NewStep(rec *jobrecord.Record, args *hook.ScriptStepArgs) *agent.Step {
	return &agent.Step{
		ID:          NewStepID(),
		Argv:        append([]string{args.EntryPoint}, hook.Argv(args.EntryPointArgs)...),
		Env:         args.EnvironmentVariables,
		PrependPath: args.PrependPath,
		Dir:         cmp.Or(args.WorkingDirectory, rec.Container.Dir),
		OrphanGrace: orphanGrace(rec),
		CancelGrace: rec.CancelGrace,
	}
}

func orphanGrace(rec *jobrecord.Record) time.Duration {
	if rec.Container.Agent != nil {
		return RemoteGrace
	}
	return OrphanGrace
}

// NewStepID names a step; it only has to be unique within its job.
func NewStepID() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// Run runs a step to its end, from offset of its output on (0: start it). A *agent.LostError asks the caller to
// find out what became of the container, and to come again with its offset and the Runner's Progress.
//
// The container's copy of the work folder, if it has one, is brought up to date before the step, and this machine's after
// it, however the step has ended.
func (r *Runner) Run(ctx context.Context, step *agent.Step, resume bool, offset int64) (agent.Exit, error) {
	c := r.client()
	copied := r.copyBy(c)
	var lost *agent.LostError
	if err := copied.before(ctx, step.ID, resume || r.Exit != nil, r.Signals); err != nil {
		if errors.As(err, &lost) {
			lost.ID = step.ID
		}
		return agent.Exit{}, err
	}
	exit, err := r.toItsEnd(ctx, c, step, resume, offset)
	if errors.As(err, &lost) {
		return exit, err // somebody else goes on with it
	}
	switch after := copied.After(ctx, r.Signals); {
	case errors.As(after, &lost) && r.Exit != nil:
		lost.ID, lost.Offset = step.ID, exit.Output
		return exit, lost // as above
	case after != nil && lost == nil && (err == nil || exit.Code == 0):
		err = after
	}
	return exit, err
}

// Hold takes over a step of another process before anything else is done for it: one that nobody has is ended.
func (r *Runner) Hold(ctx context.Context, step string) {
	_ = r.copyBy(r.client()).before(ctx, step, true, nil) // it only tells
}

// copyBy is the container's copy of the work folder. It has the step as long as it is there.
func (r *Runner) copyBy(c *agent.Client) *Copy {
	if r.copied == nil {
		if r.copied = NewCopy(r.Record, c, r.Env, r.Say); r.copied != nil {
			r.copied.Ended = r.Ended
		}
	}
	return r.copied
}

// toItsEnd runs the step, unless it has ended already.
func (r *Runner) toItsEnd(ctx context.Context, c *agent.Client, step *agent.Step, resume bool, offset int64) (agent.Exit, error) {
	if r.Exit == nil {
		if exit, err := r.provideAndRun(ctx, c, step, resume, offset); err != nil {
			return exit, err
		}
	}
	if r.TimedOut {
		return *r.Exit, verdict.New(verdict.Configuration, "timeouts.step of gantry.yaml bounds every step on this runner",
			"the step took longer than %v and was stopped", r.Record.StepTimeout)
	}
	return *r.Exit, nil
}

// provideAndRun brings the step's program along if the container has it not.
func (r *Runner) provideAndRun(ctx context.Context, c *agent.Client, step *agent.Step, resume bool, offset int64) (agent.Exit, error) {
	spec := r.Record.Container.Externals
	if resume || spec == nil {
		return r.run(ctx, c, step, resume, offset)
	}
	err := spec.Provide(ctx, r.Record.Work, c, step.Argv[0])
	switch {
	case err == nil:
		return r.run(ctx, c, step, resume, offset)
	case errors.Is(err, worksync.ErrLost):
		return agent.Exit{}, &agent.LostError{ID: step.ID, Err: err}
	case errors.Is(err, agent.ErrForgotten), errors.Is(err, agent.ErrRefused):
		return agent.Exit{}, err
	}
	return agent.Exit{}, verdict.New(verdict.Infrastructure, "can the container's user write there, and is there room?", "%w", err)
}

func (r *Runner) run(ctx context.Context, c *agent.Client, step *agent.Step, resume bool, offset int64) (agent.Exit, error) {
	signals, timedOut, stop := r.withTimeout()
	defer stop()
	failpoint.Hit("script-opening-files")
	if !resume {
		if err := OpenFiles(r.Record, step); err != nil {
			return agent.Exit{}, err
		}
	}
	failpoint.Hit("script-asking")
	var exit agent.Exit
	var err error
	if resume {
		exit, err = c.Resume(ctx, step, offset, r.Out, signals)
	} else {
		exit, err = c.Run(ctx, step, r.Out, signals)
	}
	late := timedOut()
	if err == nil && !late && r.AgentStays && exit.Signal == int(syscall.SIGKILL) {
		err = r.stillThere(ctx, c, step.ID, exit)
	}
	if err == nil {
		r.Exit, r.TimedOut = &exit, late
	}
	return exit, err
}

// dying is how long a container that is being killed may take from its first process to its last.
const dying = 100 * time.Millisecond

// stillThere tells a step that was killed from a container that was: engines may kill its processes one by one, and
// then the agent reports the step before it ends itself.
func (r *Runner) stillThere(ctx context.Context, c *agent.Client, id string, exit agent.Exit) error {
	time.Sleep(dying)
	if _, err := c.Hello(ctx); err != nil {
		return &agent.LostError{ID: id, Offset: exit.Output, Err: err}
	}
	return nil
}

// withTimeout adds a SIGTERM of our own to the signals when the step's time is up.
func (r *Runner) withTimeout() (signals <-chan os.Signal, timedOut func() bool, stop func()) {
	if r.Record.StepTimeout <= 0 {
		return r.Signals, func() bool { return false }, func() {}
	}
	if r.Began.IsZero() {
		r.Began = time.Now()
	}
	merged := make(chan os.Signal, 8)
	done, fired := make(chan struct{}), make(chan struct{})
	timer := time.NewTimer(time.Until(r.Began.Add(r.Record.StepTimeout)))
	go func() {
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case <-timer.C:
				close(fired)
				merged <- syscall.SIGTERM
			case sig := <-r.Signals:
				merged <- sig
			}
		}
	}()
	timedOut = func() bool {
		select {
		case <-fired:
			return true
		default:
			return false
		}
	}
	return merged, timedOut, func() { close(done) }
}

// Verdict words the end of a step; nil if it succeeded.
func Verdict(step *agent.Step, exit agent.Exit) error {
	switch {
	case exit.Code == 0 && exit.Error == "":
		return nil
	case exit.Error != "" && exit.Signal != 0:
		return verdict.New(verdict.Workflow, "", "step exited with status %d: %s", exit.Code, exit.Error)
	case exit.Error != "":
		return verdict.New(verdict.Workflow, startHint(step, exit), "the step could not be started: %s", exit.Error)
	case exit.OOM:
		return verdict.New(verdict.Workflow, "raise --memory in container.options, or let the step use less",
			"step exited with status %d: the kernel killed a process of the container because its memory was used up", exit.Code)
	case len(exit.Survivors) > 0:
		return verdict.New(verdict.Infrastructure, "these processes belong to another user than the container's; they end with the container",
			"step was stopped with status %d, but processes %v could not be", exit.Code, exit.Survivors)
	case exit.Signal != 0:
		return verdict.New(verdict.Workflow, "", "step exited with status %d (signal %d: %v)", exit.Code, exit.Signal, syscall.Signal(exit.Signal))
	}
	return verdict.New(verdict.Workflow, "", "step exited with status %d", exit.Code)
}

func startHint(step *agent.Step, exit agent.Exit) string {
	switch {
	case exit.Code == 127 && !strings.Contains(step.Argv[0], "/"):
		return fmt.Sprintf("the image has no %s; choose another `shell:` or another image", step.Argv[0])
	case exit.TooLong:
		return "the kernel takes at most 128 KiB for one variable or argument, and about 2 MiB for all: " + largest(step)
	}
	return ""
}

// largest names what takes most of a step's room.
func largest(step *agent.Step) string {
	name, size := "the arguments", 0
	for _, arg := range step.Argv {
		size += len(arg)
	}
	for variable, value := range step.Env {
		if len(value) > size {
			name, size = "the variable "+variable, len(value)
		}
	}
	return fmt.Sprintf("%s has %d KiB; put it into a file", name, size>>10)
}

// fileCommands are the variables that name files which a step may write and the runner reads afterwards.
func fileCommands() []string {
	return []string{
		"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY",
		"GITHUB_ARTIFACTS", "GITHUB_ARTIFACTS_LIST",
	}
}

// OpenFiles lets the container's user write the file commands of this step and read its script, where that user
// is not the runner's. Nothing else is opened here; prepare_job opened the folders.
func OpenFiles(rec *jobrecord.Record, step *agent.Step) error {
	if !rec.Container.OpenFiles || rec.Sync != nil { // a copy belongs to the container's user
		return nil
	}
	for _, name := range fileCommands() {
		if err := openOne(rec, step.Env[name], 0o666); err != nil {
			return openVerdict("$"+name, err)
		}
	}
	for _, arg := range step.Argv {
		if err := openOne(rec, arg, 0o644); err != nil {
			return openVerdict("the step's script", err)
		}
	}
	return nil
}

// openVerdict explains a file that cannot be opened. The runner has just made it; only the job can have put something
// else in its place.
func openVerdict(what string, err error) error {
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, safefs.ErrKind) {
		return verdict.New(verdict.Workflow, "a process that an earlier step left behind has put it there",
			"refused to open %s for the container's user: a symbolic link or a special file is in its place, or above it (%w)", what, err)
	}
	return verdict.New(verdict.Infrastructure, "is the work folder the runner's own?", "opening %s for the container's user: %w", what, err)
}

// openOne sets the mode of a file that lies directly in _temp or in its file commands, named by container path.
// Other paths, and files that are not there, are left alone.
func openOne(rec *jobrecord.Record, containerPath string, mode os.FileMode) error {
	host, ok := HostPath(rec.Container.Mounts, containerPath)
	if !ok {
		return nil
	}
	rel, ok := safefs.Rel(rec.Work, host)
	dir := path.Dir(rel)
	if !ok || dir != "_temp" && dir != "_temp/_runner_file_commands" {
		return nil
	}
	err := safefs.Chmod(rec.Work, rel, mode)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// HostPath maps a container path to the host by the longest mount target above it.
func HostPath(mounts []jobrecord.Mount, containerPath string) (string, bool) {
	p := path.Clean(containerPath)
	best, found := jobrecord.Mount{}, false
	for _, m := range mounts {
		if (p == m.Target || strings.HasPrefix(p, strings.TrimSuffix(m.Target, "/")+"/")) && len(m.Target) > len(best.Target) {
			best, found = m, true
		}
	}
	if !found {
		return "", false
	}
	return path.Join(best.Source, strings.TrimPrefix(p, best.Target)), true
}
