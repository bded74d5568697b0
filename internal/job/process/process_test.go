package process_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/job/process"
)

func sh(script string) (process.Command, *bytes.Buffer) {
	var out bytes.Buffer
	return process.Command{
		Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin", "A=b"}, Dir: "/", Stdout: &out,
		Delays: process.Delays{Interrupt: 200 * time.Millisecond, Terminate: 200 * time.Millisecond, Output: 200 * time.Millisecond},
	}, &out
}

func TestStatusesAndOutput(t *testing.T) {
	for script, want := range map[string]int{"echo $A; exit 0": 0, "echo $A; exit 42": 42, "echo $A; kill -9 $$": 137} {
		c, out := sh(script)
		if exit, err := process.Run(t.Context(), c); err != nil || exit != want || out.String() != "b\n" {
			t.Errorf("%s: %d, %v, %q", script, exit, err, out)
		}
	}
}

func TestStandardInputIsEmpty(t *testing.T) {
	c, out := sh("cat; echo end")
	if _, err := process.Run(t.Context(), c); err != nil || out.String() != "end\n" {
		t.Errorf("%v, %q", err, out)
	}
}

func TestACancelEndsEvenWhatDoesNotWantToEnd(t *testing.T) {
	for script, said := range map[string]string{
		"trap 'echo int; exit 0' INT; echo up; while :; do sleep 0.02; done":                            "up\nint\n",
		"trap 'echo int' INT; trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.02; done":     "up\nint\nterm\n",
		"trap 'echo int' INT; trap 'echo term' TERM; echo up; while :; do sleep 0.02; done; echo never": "up\nint\nterm\n",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		c, _ := sh(script)
		out := &cancelling{cancel: cancel}
		c.Stdout = out
		if _, err := process.Run(ctx, c); !errors.Is(err, context.Canceled) || string(out.text) != said {
			t.Errorf("%s: %v, %q", script, err, out.text)
		}
	}
}

// cancelling cancels at the first output.
type cancelling struct {
	text   []byte
	cancel func()
}

func (c *cancelling) Write(p []byte) (int, error) {
	c.cancel()
	c.text = append(c.text, p...)
	return len(p), nil
}

func TestOutputThatIsHeldIsNotWaitedForLong(t *testing.T) {
	c, out := sh("sleep 30 & echo $!")
	began := time.Now()
	if exit, err := process.Run(t.Context(), c); err != nil || exit != 0 {
		t.Errorf("%d, %v", exit, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if out.Len() == 0 {
		t.Error("no output")
	}
}

func TestOrphansAreFoundByTheirEnvironment(t *testing.T) {
	c, _ := sh("sleep 31 >/dev/null 2>&1 &")
	c.Env = append(c.Env, "RUNNER_TRACKING_ID=github_job_test_orphan", "RUNNER_TEMP=/job_test_orphan/run/_work/_temp")
	if _, err := process.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]process.Orphan{process.Tracked("github_job_test" + "_other"), process.Below("/job_test_orphan/ru")} {
		if len(other) > 0 {
			t.Errorf("%+v is not ours", other)
		}
	}
	below, tracked := process.Below("/job_test_orphan/run"), process.Tracked("github_job_test_orphan")
	if len(tracked) != 1 || len(below) != 1 || below[0].PID != tracked[0].PID || !strings.Contains("sleep sh", tracked[0].Name) {
		t.Fatalf("%+v %+v", tracked, below)
	}
	tracked[0].Kill()
	for end := time.Now().Add(10 * time.Second); len(process.Tracked("github_job_test_orphan")) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not end")
		}
	}
}

func TestProgramsAreFoundInOrder(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := os.WriteFile(dir+"/tool", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := process.Which("tool", []string{second}, first); err != nil || got != second+"/tool" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := process.Which(first+"/tool", nil, ""); err != nil || got != first+"/tool" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := process.Which("nothing", nil, first); !errors.Is(err, process.ErrNotFound) {
		t.Error(err)
	}
}
