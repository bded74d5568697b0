package scriptstep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Copy is the container's copy of a job's work folder, kept in step around whatever runs in the job's containers. That
// of a job which has none is nil, and its methods do nothing.
type Copy struct {
	// Ended says why the container does not run any more, if somebody can tell; nil: it may run. Without, nobody who calls
	// can find out, and what the link breaks off ends with a *agent.LostError.
	Ended func(context.Context) error

	hook  *worksync.Hook
	say   io.Writer
	grace time.Duration
}

// NewCopy gives the copy of a job; client reaches the job container's agent, env is the hook's environment. What is left
// out is said to say.
func NewCopy(rec *jobrecord.Record, client *agent.Client, env []string, say io.Writer) *Copy {
	if rec.Sync == nil {
		return nil
	}
	if say == nil {
		say = io.Discard
	}
	return &Copy{hook: &worksync.Hook{Work: rec.Work, Spec: *rec.Sync, Client: client, Env: env}, say: say, grace: RemoteGrace}
}

// Start makes the copy, for prepare_job: the job container's agent has been claimed, and the job's record is saved.
func (c *Copy) Start(ctx context.Context) error {
	if c == nil {
		return nil
	}
	once := c.hook.Start
	return c.persist(ctx, func(ctx context.Context) (worksync.Report, error) {
		defer func() { once = c.syncOf(tree.Host, "") }()
		return once(ctx)
	})
}

func (c *Copy) syncOf(wins tree.Side, step string) func(context.Context) (worksync.Report, error) {
	return func(ctx context.Context) (worksync.Report, error) { return c.hook.Sync(ctx, wins, step) }
}

// persist does again what the link has broken off, until nothing has moved for RemoteGrace: that is how long a step is
// kept, too. If the container has ended meanwhile, the error is why.
func (c *Copy) persist(ctx context.Context, once func(context.Context) (worksync.Report, error)) error {
	for moved := time.Now(); ; {
		report, err := once(ctx)
		err = c.tell(report, err)
		if !errors.Is(err, worksync.ErrLost) {
			return err
		}
		if c.Ended == nil {
			return &agent.LostError{Err: err}
		}
		if cause := c.Ended(ctx); cause != nil {
			return cause
		}
		if report.Moved {
			moved = time.Now()
		}
		if time.Since(moved) > c.grace {
			return err
		}
	}
}

// Before brings the copy up to date for a step. The step is this hook's until After: when the hook vanishes, the step is
// ended. A signal breaks it off.
func (c *Copy) Before(ctx context.Context, step string, signals <-chan os.Signal) error {
	return c.before(ctx, step, false, signals)
}

func (c *Copy) before(ctx context.Context, step string, resume bool, signals <-chan os.Signal) error {
	if c == nil {
		return nil
	}
	if resume {
		c.hook.Hold(ctx, step)
		return nil
	}
	ctx, stop := untilSignal(ctx, signals)
	err := c.persist(ctx, c.syncOf(tree.Host, step))
	stop()
	if errors.Is(context.Cause(ctx), errSignalled) {
		return errSignalled
	}
	return err
}

// After brings what the step has written to this machine. A signal breaks it off.
func (c *Copy) After(ctx context.Context, signals <-chan os.Signal) error {
	if c == nil {
		return nil
	}
	ctx, stop := untilSignal(ctx, signals)
	defer stop()
	defer c.hook.Leave(context.WithoutCancel(ctx))
	return c.persist(ctx, c.syncOf(tree.Container, ""))
}

// Stop forgets the copy, for cleanup_job. It may be called twice, and for a job whose preparation has failed.
func (c *Copy) Stop(ctx context.Context) error {
	if c == nil {
		return nil
	}
	return c.hook.Stop(ctx)
}

// tell says what was left out, and words an error.
func (c *Copy) tell(report worksync.Report, err error) error {
	for _, line := range report.Lines() {
		fmt.Fprintln(c.say, "gantry: "+line) // nobody reads it any more: nothing to be done
	}
	switch {
	case err == nil, errors.Is(err, agent.ErrForgotten), errors.Is(err, agent.ErrRefused), errors.Is(err, errSignalled):
		return err
	case errors.Is(err, worksync.ErrHostFull):
		return verdict.New(verdict.Infrastructure, "free disk space on the runner's machine", "keeping the work folder in step: %w", err)
	case errors.Is(err, worksync.ErrContainerFull):
		return verdict.New(verdict.Configuration, "give the pod's work volume more room, or leave out what need not be there",
			"keeping the work folder in step: %w", err)
	case errors.Is(err, worksync.ErrUnread):
		return verdict.New(verdict.Workflow, "another user of the container has written it: have it readable for the user that the image runs as",
			"keeping the work folder in step: %w", err)
	case errors.Is(err, worksync.ErrLost):
		return verdict.New(verdict.Infrastructure, "is the network between the runner and the pod broken, or the node?", "keeping the work folder in step: %w", err)
	case errors.Is(err, worksync.ErrTooMany):
		return verdict.New(verdict.Workflow, "leave out folders that the runner need not see, such as caches", "keeping the work folder in step: %w", err)
	}
	return verdict.New(verdict.Infrastructure, "", "keeping the work folder in step: %w", err)
}

var errSignalled = verdict.New(verdict.Workflow, "", "the step was cancelled while the work folder was brought up to date")

// untilSignal ends a context at the first signal. After stop no signal is taken any more.
func untilSignal(ctx context.Context, signals <-chan os.Signal) (until context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-signals:
			cancel(errSignalled)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-left
	}
}
