package job_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

func TestStepsInTheBackground(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {name: slow, id: slow, background: true, run: 'while [ ! -e go ]; do sleep 0.02; done; echo "x=1" >> "$GITHUB_OUTPUT"; echo "E=2" >> "$GITHUB_ENV"'}
		      - {name: meanwhile, run: 'echo "[${{ steps.slow.outputs.x }}$E]"; touch go'}
		      - {wait: [slow]}
		      - {name: after, run: 'echo "[${{ steps.slow.outputs.x }}$E]"'}
		      - {name: endless, id: endless, background: true, run: sleep 60}
		      - {cancel: endless}
		      - parallel: [{name: one, run: 'while [ ! -e two ]; do sleep 0.02; done; touch one'}, {name: two, run: 'touch two; while [ ! -e one ]; do sleep 0.02; done'}]
		      - {name: fails, id: fails, background: true, run: exit 1}
		      - wait-all:
		      - {name: last, run: echo no}
	`)
	b.run(jobevent.Failure)
	b.has("[]", "[12]")
	results := strings.Join(b.results(), "\n")
	for _, want := range []string{"slow: success", "endless: cancelled", "one: success", "two: success", "fails: failure", "last: skipped"} {
		if !strings.Contains(results, want) {
			t.Errorf("no %q in\n%s", want, results)
		}
	}
}

func TestAForgottenBackgroundStepIsWaitedForAndCounts(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs: {build: {runs-on: self-hosted, steps: [{background: true, id: late, name: late, run: sleep 0.2; exit 1}, {name: main, run: "true"}]}}
	`)
	b.run(jobevent.Failure)
	b.ends("main: success", "late: failure")
}

// Calls for steps side by side have their own response files. Of the states that they answer with the last one stays.
func TestBackgroundStepsCallTheHookSideBySide(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps:
		      - {name: slow, id: slow, background: true, env: {ANSWER: '{"state":{"by":"slow"}}'}, run: 'touch one; while [ ! -e go ]; do sleep 0.02; done'}
		      - {name: quick, env: {ANSWER: '{"state":{"by":"quick"}}'}, run: 'while [ ! -e one ]; do sleep 0.02; done'}
		      - {name: next, run: touch go}
		      - {wait: [slow]}
		      - {name: last, run: "true"}
	`)
	b.run(jobevent.Success)
	b.sees(`prepare_job null`, `run_script_step {"n":1}`, `run_script_step {"n":1}`, `run_script_step {"by":"quick"}`,
		`run_script_step {"by":"slow"}`, `cleanup_job {"by":"slow"}`)
	files := map[string]bool{}
	for _, call := range b.calls() {
		files[call.ResponseFile] = true
	}
	if len(files) != 6 {
		t.Errorf("%d response files for 6 calls", len(files))
	}
}

// A step that a step cancels is no failure on the host. With a container hook it is one to the runner, whose words the
// log has: the runner cannot tell a cancelled call from a failed one.
func TestCancellingABackgroundStep(t *testing.T) {
	const steps = `
		    steps:
		      - {name: endless, id: endless, background: true, run: touch up; exec sleep 60}
		      - {run: "while [ ! -e up ]; do sleep 0.02; done"}
		      - {cancel: endless}
		      - wait-all:
		      - {name: last, if: always(), run: "echo ${{ steps.endless.outcome }} ${{ job.status }}"}
	`
	const head = `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted`
	b := newBench(t, head+steps)
	b.run(jobevent.Success)
	b.has("Cancelling background step(s): endless", "Finished cancelling background step(s).", "  endless: Canceled",
		"No background steps remaining to wait for.", "cancelled success")
	b = newBench(t, head+"\n\t\t    container: alpine"+steps)
	b.run(jobevent.Failure)
	b.has("  endless: Failed", wrapper, "failure success")
}

// A cancelled step in the background that does not end is not waited for. So a call of the hook may go on while
// cleanup_job is called. But nothing of it outlives the job.
func TestABackgroundStepThatDoesNotEnd(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps:
		      - {name: stubborn, id: stubborn, background: true, run: "trap '' INT; touch up; while [ -e up ]; do sleep 0.05; done"}
		      - {run: "while [ ! -e up ]; do sleep 0.02; done"}
		      - {cancel: stubborn}
		      - {name: last, run: "echo ${{ steps.stubborn.outcome }}"}
	`)
	b.opts.BackgroundGrace = 50 * time.Millisecond
	b.opts.Delays = process.Delays{Interrupt: time.Minute, Terminate: time.Minute, Output: time.Second}
	began := time.Now()
	b.run(jobevent.Success)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	b.has("  stubborn: Canceled", "cancelled")
	calls := b.commands()
	if len(calls) != 5 || !strings.HasPrefix(calls[4], string(hook.CleanupJob)) {
		t.Errorf("%q", calls)
	}
	results := b.results()
	if i, j := slices.Index(results, "Stop containers: success"), slices.Index(results, "stubborn: failure"); i < 0 || j < i {
		t.Errorf("the step did not go on beside the others: %q", results)
	}
	if left := process.Below(b.opts.Root); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestTheTimeoutOfABackgroundStep(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {name: slow, id: slow, background: true, timeout-minutes: 0.005, run: exec sleep 60}
		      - {wait: [slow], continue-on-error: true}
	`)
	b.run(jobevent.Failure)
	b.has("##[error]The background step 'slow' has timed out after 0.005 minutes.", "  slow: Failed")
}

// A cancel of the job ends steps in the background too, before what runs in spite of it.
func TestACancelledJobEndsItsBackgroundSteps(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps:
		      - {name: server, id: server, background: true, if: always(), run: exec sleep 60}
		      - {name: long, run: "echo here; exec sleep 60"}
		      - {name: always, if: always(), run: echo tidy}
	`)
	b.cancelled("here", jobevent.Cancelled)
	results := b.results()
	for _, want := range []string{"server: failure", "long: failure", "always: success", "Stop containers: success"} {
		if !slices.Contains(results, want) {
			t.Errorf("no %q in %q", want, results)
		}
	}
}
