package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// soon is how long a step may go on without its container.
const soon = 5 * time.Second

// during does something while a call is under way, once the call's step has made the file "begun" in the workspace,
// and gives the call's result and how long it took from then on.
func during(t *testing.T, r *fakerunner.Runner, call func() *fakerunner.Result, do func()) (*fakerunner.Result, time.Duration) {
	t.Helper()
	begun := filepath.Join(r.Workspace, "begun")
	os.Remove(begun)
	ended := make(chan *fakerunner.Result, 1)
	go func() { ended <- call() }()
	eventually(t, "the step begins", func() bool { _, err := os.Lstat(begun); return err == nil })
	do()
	start := time.Now()
	select {
	case res := <-ended:
		return res, time.Since(start)
	case <-time.After(limit):
		t.Fatal("the call does not end")
	}
	return nil, 0
}

// jobContainer is the engine's ID of the job container.
func jobContainer(t *testing.T, r *fakerunner.Runner) string {
	t.Helper()
	id, _ := state(t, r)["container"].(string)
	if id == "" {
		t.Fatalf("the state names no container: %s", r.State)
	}
	return id
}

const waiting = "echo before; touch $GITHUB_WORKSPACE/begun; sleep 60; echo after"

func TestAStepEndsSoonAfterItsContainer(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		for _, c := range []struct {
			name   string
			do     func(t *testing.T, id string)
			whose  string
			words  string
			nextOK bool
		}{
			{"removed", func(t *testing.T, id string) { engineSays(t, e, "rm", "-f", id) }, "infrastructure", "has been removed", false},
			{"killed", func(t *testing.T, id string) { engineSays(t, e, "kill", id) }, "infrastructure", "ended with status 137", false},
			{"stopped", func(t *testing.T, id string) { engineSays(t, e, "stop", "-t", "1", id) }, "infrastructure", "ended with status", false},
			{"restarted", func(t *testing.T, id string) { engineSays(t, e, "restart", "-t", "0", id) }, "infrastructure", "restarted", true},
		} {
			if e.Label != "docker" && (c.name == "killed" || c.name == "stopped") {
				continue // no other code runs for these than for Docker
			}
			t.Run(c.name, func(t *testing.T) {
				r := prepared(t, e, testbed.Busybox)
				id := jobContainer(t, r)
				res, took := during(t, r, func() *fakerunner.Result { return r.RunScript(ctx(t), waiting) }, func() { c.do(t, id) })
				explains(t, res, c.whose, c.words)
				if res.ExitCode == 0 || res.Stdout != "before\n" || took > soon {
					t.Errorf("status %d after %v, output:\n%s", res.ExitCode, took, res.Output())
				}
				next := within(t, soon, func() *fakerunner.Result { return r.RunScript(ctx(t), "echo ran") })
				if !c.nextOK {
					explains(t, next, c.whose, "job container")
				}
				ok(t, r.Cleanup(ctx(t)))
				noLeftovers(t, e, r)
			})
		}
	})
}

// A container that is paused is not dead: its step goes on with it.
func TestAStepOutlivesAPause(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		id := jobContainer(t, r)
		if out, err := e.Command(ctx(t), "pause", id).CombinedOutput(); err != nil {
			t.Skipf("%s cannot pause here: %v\n%s", e.Label, err, out)
		}
		engineSays(t, e, "unpause", id)
		const script = "touch $GITHUB_WORKSPACE/begun; while [ ! -f $GITHUB_WORKSPACE/go ]; do usleep 20000; done; seq 20000"
		res, _ := during(t, r, func() *fakerunner.Result { return r.RunScript(ctx(t), script) }, func() {
			engineSays(t, e, "pause", id)
			write(t, filepath.Join(r.Workspace, "go"), "", 0o644)
			engineSays(t, e, "unpause", id)
		})
		if ok(t, res); strings.Count(res.Stdout, "\n") != 20000 {
			t.Errorf("%d lines of output", strings.Count(res.Stdout, "\n"))
		}
	})
}

func TestAStepContainerThatIsRemovedFailsItsStepSoon(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		for verb, args := range map[string][]string{"removed": {"rm", "-f"}, "killed": {"kill"}} {
			t.Run(verb, func(t *testing.T) {
				r := newRunner(t, e)
				step := r.ContainerStep(testbed.Busybox, "-c", waiting)
				step.EntryPoint = "/bin/sh"
				res, took := during(t, r, func() *fakerunner.Result { return r.Call(ctx(t), hook.RunContainerStep, step) }, func() {
					engineSays(t, e, append(args, containers(t, e, r)...)...)
				})
				if !strings.Contains(res.Stderr, "signal 9") { // the step may be killed a moment before its container, and say so
					explains(t, res, "infrastructure", "the step's container", "ended before its step")
				}
				if took > soon {
					t.Errorf("it took %v", took)
				}
				noLeftovers(t, e, r)
			})
		}
	})
}

// endsAtOnce is an engine whose job containers end right after their start.
func endsAtOnce(t *testing.T, e *testbed.Engine) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), e.Name), fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"run -d"|start*)
	id=$(%[1]s "$@") || exit
	%[1]s kill "$id" >/dev/null 2>&1
	echo "$id" ;;
*) exec %[1]s "$@" ;;
esac
`, e.Path), 0o755)
}

func TestAJobContainerThatEndsAtOnceFailsTheJob(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e, "GANTRY_ENGINE_PATH="+endsAtOnce(t, e))
		res := within(t, 20*time.Second, func() *fakerunner.Result { return r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)) })
		explains(t, res, "workflow", "job container", "137")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// limited is a runner whose job container has little memory; the test is skipped where the engine cannot do that.
func limited(t *testing.T, e *testbed.Engine) *fakerunner.Runner {
	t.Helper()
	probe := e.Command(ctx(t), "run", "--rm", "--memory", "32m", testbed.Busybox, "sh", "-c",
		"cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; exit 0")
	if out, err := probe.CombinedOutput(); err != nil || !strings.Contains(string(out), "33554432") {
		t.Skipf("%s cannot limit memory here: %v\n%s", e.Label, err, out)
	}
	r := newRunner(t, e)
	job := r.JobContainer(testbed.Busybox)
	job.CreateOptions = "--memory 32m --memory-swap 32m"
	ok(t, r.Prepare(ctx(t), job))
	return r
}

const hog = "head -c 200m /dev/zero | tail -c 190m | wc -c"

func TestAStepThatUsesUpTheMemorySaysSo(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := limited(t, e)
		res := r.RunScript(ctx(t), "set -o pipefail; "+hog)
		explains(t, res, "workflow", "memory", "--memory")
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("the next step printed %q", out)
		}
	})
}

// The kernel may choose the step's own process the first time.
func TestAContainerThatUsesUpTheMemorySaysSo(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := limited(t, e)
		res := within(t, 30*time.Second, func() *fakerunner.Result {
			return r.RunScript(ctx(t), "echo 1000 >/proc/1/oom_score_adj; echo 0 >/proc/self/oom_score_adj; while :; do "+hog+"; done")
		})
		if e.Name == "docker" {
			explains(t, res, "workflow", "memory", "--memory")
		} else { // with cgroups of version 1 Podman does not notice
			explains(t, res, "infrastructure", "137", "memory was used up")
		}
	})
}
