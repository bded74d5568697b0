package job_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

func TestTheHeadOfAStepsLog(t *testing.T) {
	b := newBench(t, `
		on: push
		env: {A: "1"}
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps:
		      - shell: bash
		        env: {B: "2"}
		        run: |

		          echo one
		          echo two
	`)
	b.run(jobevent.Success)
	_, log, _ := strings.Cut(b.log(), "== Run echo one\n")
	log, _, _ = strings.Cut(log, "-- success")
	want := strings.ReplaceAll(dedent(`
		##[group]Run echo one
		ESC[36;1mESC[0m
		ESC[36;1mecho oneESC[0m
		ESC[36;1mecho twoESC[0m
		shell: bash --noprofile --norc -e -o pipefail {0}
		env:
		  A: 1
		  B: 2
		##[endgroup]
		##[group]Run 'HOOK'
		shell: BASH --noprofile --norc -e -o pipefail {0}
		##[endgroup]
		one
		two
	`), "ESC", "\x1b")
	lines := strings.Split(log, "\n")
	bash := strings.Fields(lines[10])[1]
	want = strings.NewReplacer("HOOK", b.opts.Hook, "BASH", bash).Replace(want)
	if diff := cmp.Diff(want, log); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesInFileCommandsFailTheStep(t *testing.T) {
	for script, want := range map[string]string{
		`echo nothing >> "$GITHUB_OUTPUT"`:                             "##[error]Invalid format 'nothing'",
		`echo "A<<EOF" >> "$GITHUB_ENV"`:                               "##[error]Invalid value. Matching delimiter not found 'EOF'",
		`echo "NODE_OPTIONS=x" >> "$GITHUB_ENV"`:                       "##[error]Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command.",
		`echo "::set-env name=A::b"`:                                   "",
		`rm "$GITHUB_OUTPUT"; mkdir "$GITHUB_OUTPUT"`:                  "",
		`ln -sf /etc/passwd "$GITHUB_STEP_SUMMARY"`:                    "",
		`rm "$GITHUB_ENV"; mkfifo "$GITHUB_ENV"`:                       "",
		`echo "A=1" >> "$GITHUB_ENV"; echo x >> "$GITHUB_STATE"; true`: "##[error]Unable to process file command 'state' successfully.",
	} {
		b := newBench(t, "on: push\njobs: {build: {runs-on: self-hosted, steps: [{run: 'x', shell: 'sh {0}'}, {run: echo next}]}}")
		b.job.Job.Steps[0].Run.Script.Raw = script
		b.run(jobevent.Failure)
		if want != "" {
			b.has(want)
		}
	}
}

func TestFileCommandsOfAFailedStepCount(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    outputs: {x: "${{ steps.a.outputs.x }}"}
		    steps: [{id: a, run: 'echo "x=1" >> "$GITHUB_OUTPUT"; exit 1'}]
	`)
	if outcome := b.run(jobevent.Failure); outcome.Outputs["x"] != "1" {
		t.Errorf("%v", outcome.Outputs)
	}
}

func TestConditionsThatCannotBeEvaluatedFailTheStep(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps: [{name: odd, if: "fromJSON('{') == 1", run: echo no}, {name: next, run: echo no}]
	`)
	b.run(jobevent.Failure)
	b.ends("odd: failure", "next: skipped")
	if !strings.Contains(b.log(), "ci.yml:") {
		t.Errorf("no place in %s", b.log())
	}
}

func TestHashFiles(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - run: mkdir -p a/b; printf x > a/b/one.lock; printf y > two.lock; printf z > other
		      - run: |
		          echo "all ${{ hashFiles('**/*.lock') == hashFiles('a', '*.lock') }}"
		          echo "less ${{ hashFiles('**/*.lock', '!two.lock') == hashFiles('a/b/one.lock') }}"
		          echo "one ${{ hashFiles('other') }}"
		          echo "none [${{ hashFiles('nothing*') }}]"
	`)
	b.run(jobevent.Success)
	b.has("all true", "less true", "none []", "one c27cd49cb724724842a58b799b1009ecc968b3499767b73ee54693661ff723ca")
}

func TestContextsOfAJob(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - run: |
		          echo "${{ github.repository }} ${{ github.ref_name }} ${{ github.event.number }} ${{ github.job }} ${{ vars.V }}"
		          echo "${{ strategy.job-total }} ${{ strategy.job-index }} ${{ strategy.fail-fast }} ${{ runner.os }} ${{ job.status }}"
		          echo "$GITHUB_REPOSITORY $GITHUB_JOB $RUNNER_OS $CI $GITHUB_ACTIONS $GITHUB_ACTION"
		          cat "$GITHUB_EVENT_PATH"
	`)
	b.opts.Vars = map[string]string{"V": "v"}
	event := map[string]string{"number": "7"}
	b.opts.Event = objectOf(event)
	b.run(jobevent.Success)
	b.has("octocat/repo main 7 build v", "1 0 true Linux success", "octocat/repo build Linux true true __run", `  "number": "7"`)
}

func TestSwitchOfRunnersThatWantAContainer(t *testing.T) {
	b := newBench(t, "on: push\njobs: {build: {runs-on: self-hosted, steps: [{run: echo no}]}}")
	b.opts.Environ = append(b.opts.Environ, "ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER=True")
	b.run(jobevent.Failure)
	b.ends()
}

// recorder is a Recorder that remembers.
type recorder struct {
	mu     sync.Mutex
	mask   func(string) string
	calls  []string
	closed []string // what the mask made of a text at the end
}

func (r *recorder) Begin(c job.Call) (job.Recording, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, string(c.Input.Command))
	return ended{r}, nil
}

func (r *recorder) Close() error {
	r.closed = append(r.closed, r.mask("given hushed x1"))
	return nil
}

type ended struct{ *recorder }

func (r ended) End(result *hook.CallResult, took time.Duration, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprint(result.ExitCode, took > 0, err))
	return nil
}

func TestCallsAreRecordedAndTimed(t *testing.T) {
	b := newBench(t, threeSteps)
	b.job.Secrets["A"], b.job.Secrets["SHORT"] = "given", "x1"
	b.on(hook.CleanupJob, instruction{Stdout: "::add-mask::hushed\n"})
	r := &recorder{}
	b.opts.Record = func(dirs layout.Dirs, worker string, mask func(string) string) job.Recorder {
		r.mask = mask
		return r
	}
	b.run(jobevent.Success)
	const good = "0 true <nil>"
	want := []string{"prepare_job", good, "run_script_step", good, "run_script_step", good, "cleanup_job", good}
	if diff := cmp.Diff(want, r.calls); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"*** *** ***"}, r.closed); diff != "" {
		t.Error(diff)
	}
	phases := 0
	for _, e := range b.events {
		if e.Kind == jobevent.Phase && strings.HasPrefix(e.Text, "hook ") && e.Took > 0 && e.Took < time.Minute {
			phases++
		}
	}
	if phases != 4 {
		t.Errorf("%d phases", phases)
	}
}

func TestAHostStepSeesItsOwnPathBehindTheAddedOnes(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - run: mkdir bin; printf '#!/bin/sh\necho mine' > bin/tool; chmod +x bin/tool; echo "$PWD/bin" >> "$GITHUB_PATH"
		      - run: tool
		      - {run: 'tool; echo "${PATH##*:}"', env: {PATH: "/usr/bin:/bin:/own"}}
	`)
	b.run(jobevent.Success)
	b.has("mine", "/own")
	if _, err := os.Stat(b.opts.Root + "/build/_work/repo/repo/bin/tool"); err != nil {
		t.Error(err)
	}
}
