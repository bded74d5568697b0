package options

import (
	"cmp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// Health is a health check. Zero fields mean what the next source says: see Over.
type Health struct {
	// Command is the program with its arguments; --health-cmd is run by /bin/sh -c, as docker does.
	Command []string
	// Interval is the time from the end of a check to the next, StartInterval the same within StartPeriod, in which
	// failures do not count; Timeout is what one check may take.
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	// Retries is how many failures in a row make the container unhealthy.
	Retries int
	// Disabled switches off the check of the image.
	Disabled bool
}

// Docker's defaults.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
)

// Over fills the zero fields of h from the image's own check (nil: it has none), then with docker's defaults: 30 s,
// 30 s, 0 s, 5 s, 3 retries. It returns nil if there is nothing to check. h may be nil, and neither is changed.
func (h *Health) Over(image *Health) *Health {
	if h == nil {
		h = &Health{}
	}
	if image == nil {
		image = &Health{}
	}
	merged := &Health{
		Command:       h.Command,
		Interval:      cmp.Or(h.Interval, image.Interval, defaultInterval),
		Timeout:       cmp.Or(h.Timeout, image.Timeout, defaultTimeout),
		StartPeriod:   cmp.Or(h.StartPeriod, image.StartPeriod),
		StartInterval: cmp.Or(h.StartInterval, image.StartInterval, defaultStartInterval),
		Retries:       cmp.Or(h.Retries, image.Retries, defaultRetries),
	}
	if merged.Command == nil {
		merged.Command = image.Command
	}
	if h.Disabled || len(merged.Command) == 0 || h.Command == nil && image.Disabled {
		return nil
	}
	return merged
}

// ImageHealth reads the check in an image's configuration, whose Test is ["CMD", program, …], ["CMD-SHELL", line],
// ["NONE"] or empty. nil: the image says nothing.
func ImageHealth(test []string, h Health) *Health {
	if len(test) == 0 {
		return nil
	}
	switch test[0] {
	case "NONE":
		h.Disabled = true
	case "CMD":
		h.Command = test[1:]
	case "CMD-SHELL":
		h.Command = append([]string{"/bin/sh", "-c"}, test[1:]...)
	default:
		return nil
	}
	return &h
}

// StartupProbe is the check, which must have come out of Over, as a probe that Kubernetes runs until it succeeds
// once: for a native side-car, for which whatever comes behind it waits. Kubernetes counts in whole seconds: durations
// are rounded up. It has no other interval for the start period, which becomes further retries.
func (h *Health) StartupProbe() *corev1.Probe {
	period := max(wholeSeconds(h.Interval), 1)
	if h.StartPeriod > 0 {
		period = max(min(period, wholeSeconds(h.StartInterval)), 1)
	}
	failing := wholeSeconds(h.StartPeriod) + wholeSeconds(time.Duration(h.Retries)*min(max(h.Interval, time.Second), time.Hour))
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: h.Command}},
		PeriodSeconds:    period,
		TimeoutSeconds:   max(wholeSeconds(h.Timeout), 1),
		SuccessThreshold: 1,
		FailureThreshold: max((failing+period-1)/period, 1),
	}
}

// maxSeconds is more than any job takes, and small enough to reckon with.
const maxSeconds = 1 << 24

func wholeSeconds(d time.Duration) int32 {
	return int32(min((min(d, maxSeconds*time.Second)+time.Second-1)/time.Second, maxSeconds))
}

// health translates the flags of the health check, which belong together.
func (t *translator) health() {
	h := Health{
		Interval:      t.duration("health-interval"),
		Timeout:       t.duration("health-timeout"),
		StartPeriod:   t.duration("health-start-period"),
		StartInterval: t.duration("health-start-interval"),
		Retries:       t.retries(),
	}
	asked := createopts.Options{Flags: t.flags}
	written := asked.Health()
	h.Disabled = written.Disabled
	if written.Cmd != "" && !h.Disabled {
		h.Command = []string{"/bin/sh", "-c", written.Cmd}
	}
	if h.Disabled || h.Command != nil || written != (createopts.Health{}) {
		t.out.Health = &h
	}
}

// duration reads Go's durations, which are docker's too; podman's "disable" is no interval at all.
func (t *translator) duration(name string) time.Duration {
	f, ok := t.last(name)
	if !ok || f.Value == "disable" {
		return 0
	}
	d, err := time.ParseDuration(f.Value)
	if err != nil || d < 0 {
		t.wrong(f, "is not a duration: write 10s or 1m30s")
		return 0
	}
	return d
}

func (t *translator) retries() int {
	f, ok := t.last("health-retries")
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(f.Value, 10, 16)
	if err != nil {
		t.wrong(f, "is not a whole number")
		return 0
	}
	return int(n)
}
