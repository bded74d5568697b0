package options

import (
	"time"

	corev1 "k8s.io/api/core/v1"
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

// Over fills the zero fields of h from the image's own check (nil: it has none), then with docker's defaults: 30 s,
// 30 s, 0 s, 5 s, 3 retries. It returns nil if there is nothing to check. h may be nil.
func (h *Health) Over(image *Health) *Health { return h }

// StartupProbe is the check as a probe that Kubernetes runs until it succeeds once, for a native side-car: whatever
// comes behind that waits for it. Kubernetes counts in whole seconds: durations are rounded up.
func (h *Health) StartupProbe() *corev1.Probe { return nil }
