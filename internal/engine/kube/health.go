package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// healthPause is the time between two health checks that gantry runs itself.
const healthPause = 200 * time.Millisecond

const healthHint = "look at its log above; raise --health-retries or --health-start-period if it only needs longer"

// watch follows the health of a container whose checks gantry runs.
type watch struct {
	health   *options.Health
	start    time.Time
	counted  time.Time // when the last failure did
	failures int
	said     string
	// byExec: the check goes through the API server. What takes too long is not ended then, so that the next one comes only after
	// the interval; and that none can be begun may pass.
	byExec   bool
	patience time.Duration // with that
	away     time.Time     // since when none can be begun
	works    bool          // one has ended by itself
}

// Patience with an API server through which no check can be begun: until gantry goes without exec, and where it cannot.
const (
	execPatience = 30 * time.Second
	execLimit    = 90 * time.Second
)

// noExecError: programs cannot be run in the pod, although that may be allowed.
type noExecError struct{ error }

func (e *noExecError) Unwrap() error { return e.error }

// check runs the health check once: its exit status, and what it said.
type check func(ctx context.Context) (status int, said string, err error)

// await checks until that succeeds, and gives up when docker would. Gantry asks more often than docker, to notice success
// early; so a failure counts at most once an interval, and not in the start period.
func (w *watch) await(ctx context.Context, run check) error {
	for {
		limited, cancel := context.WithTimeout(ctx, w.health.Timeout)
		status, said, err := run(limited)
		late := limited.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case late:
			w.said = fmt.Sprintf("it took longer than %s", w.health.Timeout)
		case err != nil:
			if err := w.cannot(err); err != nil {
				return err
			}
		case status == 0:
			return nil
		default:
			w.said = firstOf(strings.TrimSpace(said), fmt.Sprintf("exit status %d", status))
		}
		if err == nil || late {
			w.away, w.works = time.Time{}, w.works || !late
			w.failed(time.Now())
		}
		switch {
		case w.failures < w.health.Retries:
		case w.byExec && !w.works:
			return &noExecError{&unhealthyError{w.said}} // it may be exec that hangs
		default:
			return &unhealthyError{w.said}
		}
		pause := healthPause
		if late && w.byExec {
			pause = max(pause, w.health.Interval)
		}
		if !wait.For(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// cannot takes it that a check could not be begun, and gives the error if that is the end.
func (w *watch) cannot(err error) error {
	w.said = fmt.Sprintf("it cannot be begun: %v", err)
	v, judged := verdictIn(err)
	switch {
	case !w.byExec:
		return err
	case judged && v.Whose == verdict.Configuration && !errors.Is(err, kubeapi.ErrInvalid) && !errors.Is(err, engine.ErrNotFound):
		return &noExecError{err} // it is forbidden, which does not pass
	case w.away.IsZero():
		w.away = time.Now()
	case time.Since(w.away) > w.patience:
		return &noExecError{err}
	}
	return nil
}

// failed counts a failure, if it is one that counts.
func (w *watch) failed(now time.Time) {
	if now.Sub(w.start) >= w.health.StartPeriod && now.Sub(w.counted) >= w.health.Interval {
		w.failures++
		w.counted = now
	}
}

// unhealthyError: the check has failed as often as it may.
type unhealthyError struct{ said string }

func (e *unhealthyError) Error() string {
	return "its health check fails; the last one said: " + e.said
}

// checkByAgent runs the check under the agent of a container.
func checkByAgent(c *agent.Client, h *options.Health, env map[string]string) check {
	return func(ctx context.Context) (int, string, error) {
		step := &agent.Step{ID: "health-" + nonce(), Argv: h.Command, Env: env, OrphanGrace: time.Second, CancelGrace: time.Second}
		var said strings.Builder
		exit, err := c.Run(ctx, step, &limited{w: &said, left: 4 << 10}, nil)
		if err == nil && exit.Error != "" {
			said.WriteString(exit.Error)
		}
		return exit.Code, said.String(), err
	}
}

// notStarted is the status of a check that cannot be started, as shells have it.
const notStarted = 126

// checkByExec runs the check through the API server.
func (d *Driver) checkByExec(pod, container string, h *options.Health) check {
	return func(ctx context.Context) (int, string, error) {
		var out, talk strings.Builder
		status, err := d.api.Exec(ctx, pod, container, nil, &limited{w: &out, left: 4 << 10}, &limited{w: &talk, left: 4 << 10}, h.Command...)
		if err != nil && commandTrouble(strings.ReplaceAll(err.Error(), execAccess.Resource, "")) != nil {
			return notStarted, err.Error(), nil
		}
		return status, out.String() + talk.String(), err
	}
}

// awaitStarted waits until the node finds a container healthy for the first time. A check that cannot even be started is none
// that the node counts.
func (l *lookout) awaitStarted(ctx context.Context, container string) error {
	l.holdUp(1)
	defer l.holdUp(-1)
	for {
		limited, stop := context.WithTimeout(ctx, eventPause)
		_, err := l.until(limited, func(pod *corev1.Pod) bool {
			s := statusOf(pod, container)
			return s != nil && s.Started != nil && *s.Started
		})
		stop()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if said := l.notStarted(ctx, container); said != "" {
			return &unhealthyError{said}
		}
	}
}

// holdUp notes that one more service, or one less, keeps the node from starting what comes after it.
func (l *lookout) holdUp(change int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.probing += change
	l.since = time.Now()
}

// notStarted is what the cluster says of a health check that cannot be started; "" if it says nothing of that kind.
func (l *lookout) notStarted(ctx context.Context, container string) string {
	events, err := l.d.api.Events(ctx, l.uid)
	if err != nil {
		return ""
	}
	for _, e := range events {
		if e.Reason == "Unhealthy" && containerOf(e) == container && commandTrouble(e.Message) != nil {
			return strings.TrimSpace(e.Message)
		}
	}
	return ""
}

// limited drops what comes after the first bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unhealthyVerdict explains a container that does not become healthy.
func (d *Driver) unhealthyVerdict(ctx context.Context, pod *corev1.Pod, m *member, why error) error {
	return &verdict.Error{
		Whose:   verdict.Workflow,
		Err:     &worded{fmt.Sprintf("%s (%s) is not healthy: %v", m.spec.Title, m.spec.Image, why), engine.ErrUnhealthy},
		Command: kubectl("-n", d.opts.Place.Namespace, "logs", m.pod, "-c", m.name),
		Output:  d.lastLog(ctx, pod, m.name),
		Hint:    healthHint,
	}
}

// isUnhealthy tells that a check has had all its tries.
func isUnhealthy(err error) bool {
	var e *unhealthyError
	return errors.As(err, &e)
}
