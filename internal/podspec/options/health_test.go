package options_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/podspec/options"
)

func TestHealthOver(t *testing.T) {
	command := []string{"/bin/sh", "-c", "check"}
	image := &options.Health{Command: []string{"image-check"}, Interval: time.Minute, Retries: 7}
	filled := func(command []string, interval time.Duration, retries int) *options.Health {
		return &options.Health{Command: command, Interval: interval, Timeout: 30 * time.Second,
			StartInterval: 5 * time.Second, Retries: retries}
	}
	for name, tt := range map[string]struct{ options, image, want *options.Health }{
		"nobody says anything":          {nil, nil, nil},
		"only the image":                {nil, image, filled(image.Command, time.Minute, 7)},
		"only the options":              {&options.Health{Command: command}, nil, filled(command, 30*time.Second, 3)},
		"the options' command":          {&options.Health{Command: command}, image, filled(command, time.Minute, 7)},
		"the options' interval":         {&options.Health{Interval: time.Second}, image, filled(image.Command, time.Second, 7)},
		"an interval of nothing":        {&options.Health{Interval: time.Second}, nil, nil},
		"switched off":                  {&options.Health{Disabled: true}, image, nil},
		"switched off in the image":     {nil, &options.Health{Disabled: true}, nil},
		"switched on over such a image": {&options.Health{Command: command}, &options.Health{Disabled: true}, filled(command, 30*time.Second, 3)},
	} {
		if diff := cmp.Diff(tt.want, tt.options.Over(tt.image)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestImageHealth(t *testing.T) {
	h := options.Health{Retries: 2}
	for _, tt := range []struct {
		test []string
		want *options.Health
	}{
		{nil, nil},
		{[]string{"NONE"}, &options.Health{Retries: 2, Disabled: true}},
		{[]string{"CMD", "a", "b"}, &options.Health{Retries: 2, Command: []string{"a", "b"}}},
		{[]string{"CMD-SHELL", "a b"}, &options.Health{Retries: 2, Command: []string{"/bin/sh", "-c", "a b"}}},
		{[]string{"else"}, nil},
	} {
		if diff := cmp.Diff(tt.want, options.ImageHealth(tt.test, h)); diff != "" {
			t.Errorf("%q: %s", tt.test, diff)
		}
	}
}

// A probe gives up no earlier than docker would.
func TestStartupProbe(t *testing.T) {
	for _, tt := range []struct {
		interval, timeout, startPeriod time.Duration
		retries                        int
		period, wantTimeout, failures  int32
	}{
		{10 * time.Second, 5 * time.Second, 0, 5, 10, 5, 5},
		{100 * time.Millisecond, 1500 * time.Millisecond, 0, 3, 1, 2, 3},
		{30 * time.Second, time.Second, time.Minute, 3, 5, 1, 30},
		{time.Second, time.Second, time.Minute, 3, 1, 1, 63},
		{1 << 62, 1 << 62, 1 << 62, 1 << 15, 5, 1 << 24, 1<<31 - 1},
	} {
		h := (&options.Health{Command: []string{"c"}, Interval: tt.interval, Timeout: tt.timeout,
			StartPeriod: tt.startPeriod, Retries: tt.retries}).Over(nil)
		p := h.StartupProbe()
		if tt.failures == 1<<31-1 {
			tt.failures = p.FailureThreshold
		}
		if p.PeriodSeconds != tt.period || p.TimeoutSeconds != tt.wantTimeout || p.FailureThreshold != tt.failures || p.FailureThreshold < 1 {
			t.Errorf("%+v gives %d s, %d s, %d failures", h, p.PeriodSeconds, p.TimeoutSeconds, p.FailureThreshold)
		}
	}
}
