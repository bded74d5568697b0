package ocicli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// scripted is a driver for docker whose program is a shell script. Every call's arguments are a line in calls(t, d).
func scripted(t *testing.T, script string) *Driver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker")
	text := "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$0.calls\"\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{Name: "docker", Path: path, Env: os.Environ(), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d.retryPause = func(int) time.Duration { return time.Millisecond }
	return d
}

func calls(t *testing.T, d *Driver) []string {
	t.Helper()
	text, err := os.ReadFile(d.path + ".calls")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestPullIsTriedAgainOnlyForTheNetwork(t *testing.T) {
	for _, c := range []struct {
		says  string
		cause error
		tries int
	}{
		{"dial tcp: lookup registry: no such host", nil, 3},
		{"unauthorized: authentication required", engine.ErrDenied, 1},
		{"manifest unknown", engine.ErrImageNotFound, 1},
		{"no space left on device", engine.ErrNoSpace, 1},
		{"words nobody knows", nil, 1},
	} {
		d := scripted(t, "echo '"+c.says+"' >&2; exit 1")
		var log bytes.Buffer
		err := d.fetch(t.Context(), wanted{image: "x", policy: engine.PullAlways}, &log)
		if err == nil || c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("%s: %v", c.says, err)
		}
		if got := calls(t, d); len(got) != c.tries || got[0] != "pull x" {
			t.Errorf("%s: calls %q, want %d", c.says, got, c.tries)
		}
	}
}

func TestPullPause(t *testing.T) {
	for range 100 {
		for try := 1; try <= 3; try++ {
			if p := pullPause(try); p < time.Second || p > 10*time.Second {
				t.Fatalf("pause %s", p)
			}
		}
	}
}

// An image named by its digest cannot change: it is not pulled again, whatever the policy.
func TestDigestsAreNotPulledAgain(t *testing.T) {
	d := scripted(t, `echo '[{"Id":"sha256:1"}]'`)
	pinned := wanted{image: "x@sha256:0123", policy: engine.PullAlways}
	missing, err := d.missingFrom(t.Context(), []wanted{pinned, {image: "y", policy: engine.PullAlways}})
	if err != nil || len(missing) != 1 || missing[0].image != "y" {
		t.Errorf("to be pulled: %+v (%v)", missing, err)
	}
}

func TestImagesAreLookedUpWithOneCall(t *testing.T) {
	d := scripted(t, `echo '[{"Id":"1"},{"Id":"2"},{"Id":"3"}]'`)
	images := []wanted{{image: "a", policy: engine.PullMissing}, {image: "b", policy: engine.PullMissing}, {image: "c", policy: engine.PullNever}}
	if missing, err := d.missingFrom(t.Context(), images); err != nil || len(missing) > 0 {
		t.Errorf("%v %v", missing, err)
	}
	if got := calls(t, d); len(got) != 1 {
		t.Errorf("calls %q", got)
	}
}

// Options that make the program print something else than a container's ID.
func TestNoContainerCameOfIt(t *testing.T) {
	d := scripted(t, `echo "Usage: docker run"`)
	if _, err := d.makeContainer(t.Context(), &plan{}, []string{"run"}, ""); !errors.Is(err, engine.ErrOptions) {
		t.Errorf("%v", err)
	}
}

// A program that ignores signals, or leaves a child that holds its output open, does not hold us.
func TestNothingHangs(t *testing.T) {
	for _, script := range []string{"trap '' TERM; sleep 60", "sleep 60 & exit 0"} {
		d := scripted(t, script)
		ctx, cancel := engine.Within(t.Context(), 100*time.Millisecond, "timeouts.start")
		start := time.Now()
		_, err := d.output(ctx, "version")
		cancel()
		if took := time.Since(start); err == nil || took > 10*time.Second {
			t.Errorf("%s: %v after %s", script, err, took)
		}
	}
}

func TestTimeoutSaysHowLong(t *testing.T) {
	d := scripted(t, "exec sleep 60")
	ctx, cancel := engine.Within(t.Context(), 50*time.Millisecond, "timeouts.start")
	defer cancel()
	_, err := d.output(ctx, "version")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "50ms") || !strings.Contains(verdict.Of(err).Hint, "timeouts.start") {
		t.Errorf("%v", err)
	}
}

// The runner's tracking ID would have the engine's monitors killed; the job's PATH could bring other programs.
func TestEnvironmentOfTheProgram(t *testing.T) {
	t.Setenv("RUNNER_TRACKING_ID", "github_1")
	t.Setenv("PATH", "/evil:"+os.Getenv("PATH"))
	t.Setenv("KEPT", "yes")
	d := scripted(t, `echo "$PATH $KEPT $RUNNER_TRACKING_ID."`)
	out, err := d.output(t.Context(), "x")
	if err != nil || string(out) != CleanPath+" yes .\n" {
		t.Errorf("%q (%v)", out, err)
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{Name: "nerdctl"}); err == nil {
		t.Error("an unknown engine is taken")
	}
	if _, err := Find("no-such-engine"); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if path, err := Find("sh"); err != nil || !filepath.IsAbs(path) {
		t.Errorf("%q %v", path, err)
	}
}
