package ocicli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// awaitHealth waits until every member with a health check is healthy, and fails as soon as one has ended or turned
// unhealthy. One call an interval looks at all of them.
func (r *jobRun) awaitHealth(ctx context.Context) error {
	start := time.Now()
	limited, cancel := engine.Within(ctx, r.spec.Timeouts.Health, "timeouts.health")
	defer cancel()
	for {
		if err := r.look(limited); err != nil {
			return r.healthTimeout(ctx, limited, err)
		}
		failpoint.Hit("health-looked")
		waiting, err := r.judgeAll(ctx, start)
		if err != nil || len(waiting) == 0 {
			return err
		}
		if r.d.diff.probesHealth {
			engine.Each(waiting, func(m *member) error { return m.probe(limited, r.d) })
		}
		if !wait.For(limited, r.d.healthPause) {
			return r.healthTimeout(ctx, limited, context.Cause(limited))
		}
	}
}

// look inspects all members.
func (r *jobRun) look(ctx context.Context) error {
	ids := make([]string, len(r.members))
	for i, m := range r.members {
		ids[i] = m.id
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := r.d.inspect(ctx, ids...)
	if errors.Is(err, engine.ErrNotFound) {
		return r.vanished(ctx, err)
	}
	if err != nil {
		return err
	}
	for i, m := range r.members {
		m.seen = found[i]
	}
	return nil
}

// vanished names the member that does not exist any more.
func (r *jobRun) vanished(ctx context.Context, err error) error {
	for _, m := range r.members {
		if _, err := r.d.inspect(ctx, m.id); errors.Is(err, engine.ErrNotFound) {
			return verdict.New(verdict.Workflow, "remove --rm from its options to see its log",
				"%s (%s) ended at once and was removed: %w", m.spec.Title, m.spec.Image, engine.ErrUnhealthy)
		}
	}
	return err
}

// judgeAll gives the members that are still starting.
func (r *jobRun) judgeAll(ctx context.Context, start time.Time) (waiting []*member, err error) {
	for _, m := range r.members {
		if !m.seen.State.Running {
			return nil, r.d.ended(ctx, m)
		}
		if !m.seen.Config.Healthcheck.declared() || m.noted {
			continue
		}
		switch m.health(r.d.diff.probesHealth) {
		case "healthy":
			m.noted = true
			r.phase("health "+m.spec.Title, start)
			fmt.Fprintf(r.log, "%s is healthy after %s\n", m.spec.Title, rounded(time.Since(m.start)))
		case "unhealthy":
			return nil, r.d.unhealthy(ctx, m, "its health check fails")
		default:
			waiting = append(waiting, m)
		}
	}
	return waiting, nil
}

// healthTimeout explains err if it comes from the time being over.
func (r *jobRun) healthTimeout(ctx, limited context.Context, err error) error {
	if ctx.Err() != nil || limited.Err() == nil {
		return err
	}
	for _, m := range r.members {
		if m.seen.Config.Healthcheck.declared() && !m.noted {
			return r.d.unhealthy(ctx, m, context.Cause(limited).Error())
		}
	}
	return err
}

// ended is the error for a container that should run and does not.
func (d *Driver) ended(ctx context.Context, m *member) error {
	state := m.seen.State
	how := fmt.Sprintf("exited with status %d", state.ExitCode)
	hint := "its log above says why; check its image, its environment and its options"
	if state.OOMKilled {
		how, hint = "was killed because its memory ran out", "raise --memory in its options, or take a bigger machine"
	}
	if state.Error != "" {
		how += " (" + state.Error + ")"
	}
	return d.withLog(ctx, m, how, hint)
}

// unhealthy is the error for a container whose check does not succeed.
func (d *Driver) unhealthy(ctx context.Context, m *member, why string) error {
	how := "is not healthy: " + why
	if check := m.seen.lastCheck(); check != "" {
		how += "; the last one said: " + check
	}
	return d.withLog(ctx, m, how, "look at its log above; raise --health-retries or --health-start-period if it only needs longer")
}

func (d *Driver) withLog(ctx context.Context, m *member, how, hint string) error {
	return &verdict.Error{
		Whose:   verdict.Workflow,
		Err:     &unfit{fmt.Sprintf("%s (%s) %s", m.spec.Title, m.spec.Image, how)},
		Command: programs.Typed(d.path, []string{"logs", "--tail", "100", m.spec.Name}),
		Output:  d.lastLog(ctx, m.id),
		Hint:    hint,
	}
}

// unfit says why a container cannot be used. It is engine.ErrUnhealthy, in better words.
type unfit struct{ text string }

func (e *unfit) Error() string { return e.text }

func (e *unfit) Unwrap() error { return engine.ErrUnhealthy }

// lastCheck is what the last run of the health check printed.
func (i *inspected) lastCheck() string {
	if i.State.Health == nil || len(i.State.Health.Log) == 0 {
		return ""
	}
	last := i.State.Health.Log[len(i.State.Health.Log)-1]
	return lastWords(strings.TrimSpace(last.Output))
}

// watch follows one container's health.
type watch struct {
	start time.Time // when it was started
	noted bool      // it was healthy once

	// Where gantry runs the check itself:
	passed   bool
	failures int       // that count
	counted  time.Time // when the last one did
	asked    time.Time
}

// since sets the clock.
func (w *watch) since(start time.Time) { w.start, w.counted = start, start }

// health is "healthy", "unhealthy" or something else while it is open.
func (m *member) health(probed bool) string {
	switch {
	case !probed:
		return m.seen.status().Health
	case m.passed:
		return "healthy"
	case m.failures >= m.seen.Config.Healthcheck.retries():
		return "unhealthy"
	}
	return "starting"
}

// probe runs the health check once. Gantry asks more often than the engine would, to notice success early; so a
// failure counts at most once an interval, and not in the start period. A check whose failure makes the engine act
// on the container is left at its own pace.
func (m *member) probe(ctx context.Context, d *Driver) error {
	check := m.seen.Config.Healthcheck
	now := time.Now()
	if acts := m.seen.Config.HealthcheckOnFailureAction; acts != "" && acts != "none" && now.Sub(m.asked) < check.interval() {
		return nil
	}
	m.asked = now
	_, err := d.output(ctx, "healthcheck", "run", m.id)
	var failed *CommandError
	switch {
	case err == nil:
		m.passed = true
	case !errors.As(err, &failed) || failed.ExitCode != 1:
		return err // the next look shows what it is
	default:
		m.failed(now, check)
	}
	return nil
}

// failed counts a failure, if it is one that counts.
func (w *watch) failed(now time.Time, check *healthcheck) {
	if now.Sub(w.start) >= check.StartPeriod && now.Sub(w.counted) >= check.interval() {
		w.failures++
		w.counted = now
	}
}

// interval and retries know Docker's defaults.
func (h *healthcheck) interval() time.Duration {
	if h.Interval <= 0 {
		return 30 * time.Second
	}
	return h.Interval
}

func (h *healthcheck) retries() int {
	if h.Retries <= 0 {
		return 3
	}
	return h.Retries
}
