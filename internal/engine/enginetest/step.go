package enginetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// gone waits until a step's container is gone.
func (v *env) gone(s *engine.StepContainer) {
	v.Helper()
	select {
	case <-s.Gone:
	case <-time.After(20 * time.Second):
		v.Fatal("the step's container is not gone")
	}
	if _, err := v.Inspect(context.WithoutCancel(v.Context()), s.Name); !errors.Is(err, engine.ErrNotFound) {
		v.Errorf("it was to be gone; looking at it gives %v", err)
	}
}

func checkStep(v *env) {
	for _, args := range [][]string{{"echo hello"}, {"exit 3"}, {"exit 126"}} {
		spec := v.container("step", v.fx.Entry, append([]string{"-c"}, args...)...)
		spec.Entrypoint, spec.ReadImage = "/bin/sh", true
		s, err := v.StartStep(v.Context(), spec, "", &v.log)
		if err != nil {
			v.Fatal(err)
		}
		if s.Name != spec.Name || !slices.Equal(s.Entrypoint, []string{"/bin/echo", "entry"}) || !slices.Equal(s.Cmd, []string{"cmd"}) {
			v.Errorf("started %+v", s)
		}
		v.gone(s)
		if err := s.Err(); err != nil {
			v.Errorf("%q: %v; the process' status is not the engine's failure", args, err)
		}
	}
}

func checkStepCancel(v *env) {
	for _, delay := range []time.Duration{0, 30 * time.Millisecond, 150 * time.Millisecond, time.Second} {
		ctx, cancel := context.WithCancel(v.Context())
		s, err := v.StartStep(ctx, v.shell("step", "echo"), "", &v.log)
		if err != nil {
			v.Fatal(err)
		}
		time.AfterFunc(delay, cancel)
		start := time.Now()
		v.gone(s)
		if took := time.Since(start); took > delay+5*time.Second {
			v.Errorf("cancelled after %s, it was gone after %s", delay, took)
		}
		cancel()
	}
}

func checkStepBadCommand(v *env) {
	s, err := v.StartStep(v.Context(), v.container("step", v.fx.Shell, "no-such-program"), "", &v.log)
	if err != nil {
		v.Fatal(err)
	}
	v.gone(s)
	if found := v.judge(s.Err(), engine.ErrCommand, verdict.Workflow); found.Command == "" || found.Output == "" {
		v.Errorf("the engine's command and words are not shown: %+v", found)
	}
}
