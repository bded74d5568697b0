package job_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

const wrapper = "##[error]Executing the custom container implementation failed. Please contact your self hosted runner administrator."

func (b *bench) sees(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.commands()); diff != "" {
		b.t.Errorf("calls (-want +got):\n%s\n%s", diff, b.log())
	}
}

func (b *bench) ends(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.results()); diff != "" {
		b.t.Errorf("steps (-want +got):\n%s\n%s", diff, b.log())
	}
}

const threeSteps = `
	on: push
	jobs:
	  build:
	    runs-on: self-hosted
	    container: alpine:3.20
	    steps:
	      - {name: plain, run: echo plain}
	      - {name: on failure, run: echo failed, if: failure()}
	      - {name: always, run: echo always, if: always()}
`

func TestAfterAFailedPrepareOnlyStepsThatWantToRunDo(t *testing.T) {
	b := newBench(t, threeSteps)
	b.on(hook.PrepareJob, instruction{Exit: 7, Stdout: "no image\n", Response: `{"isAlpine":true,"state":{"lost":1}}`})
	b.run(jobevent.Failure)
	b.sees("prepare_job null", "run_script_step null", "run_script_step null", "cleanup_job null")
	b.ends("Initialize containers: failure", "plain: skipped", "on failure: success", "always: success", "Stop containers: success")
	b.has("no image", "##[error]Process completed with exit code 7.", wrapper)
}

// The scripts that a runner's environment names for each job run around all else, on the host.
func TestJobHooks(t *testing.T) {
	b := newBench(t, threeSteps)
	dir := t.TempDir()
	write(t, dir+"/started.sh", "echo \"in $PWD\"; echo LATER=set >>\"$GITHUB_ENV\"; echo '::notice::from a hook'\n")
	write(t, dir+"/completed.sh", "echo \"$LATER$GITHUB_JOB\"; exit 4\n")
	b.opts.Environ = append(b.opts.Environ, "ACTIONS_RUNNER_HOOK_JOB_STARTED="+dir+"/started.sh",
		"ACTIONS_RUNNER_HOOK_JOB_COMPLETED="+dir+"/completed.sh")
	b.job.Job.Steps[0].Run.Script.Raw = "echo $LATER"
	b.run(jobevent.Failure)
	b.ends("Set up runner: success", "Initialize containers: success", "plain: success", "on failure: skipped", "always: success",
		"Stop containers: success", "Complete runner: failure")
	b.has("A job started hook has been configured by the self-hosted runner administrator", "in "+b.opts.Root+"/build/_work/repo/repo",
		"##[notice]from a hook", "set", "build", "##[error]Process completed with exit code 4.")
}

// After a failed start nothing is prepared, so that there is nothing to clean up. What wants to run still does.
func TestAFailedJobStartedHook(t *testing.T) {
	b := newBench(t, threeSteps)
	b.opts.Environ = append(b.opts.Environ, "ACTIONS_RUNNER_HOOK_JOB_STARTED=/nowhere/started.sh")
	b.run(jobevent.Failure)
	b.ends("Set up runner: failure", "Initialize containers: skipped", "plain: skipped", "on failure: success", "always: success")
	b.sees("run_script_step null", "run_script_step null")
	b.has("##[error]File doesn't exist: /nowhere/started.sh")
}

func TestAFailedCleanupFailsTheJob(t *testing.T) {
	b := newBench(t, threeSteps)
	b.on(hook.CleanupJob, instruction{Exit: 1})
	b.run(jobevent.Failure)
	b.ends("Initialize containers: success", "plain: success", "on failure: skipped", "always: success", "Stop containers: failure")
}

func TestWithoutContainersTheHookIsAskedForContainerActionsOnly(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: ${{ '' }}
		    services: {none: {image: "${{ '' }}"}}
		    steps:
		      - run: echo here
		      - uses: docker://alpine
	`)
	b.run(jobevent.Success)
	b.sees("run_container_step null")
}

func TestTheStateGoesRound(t *testing.T) {
	b := newBench(t, threeSteps)
	b.on(hook.RunScriptStep, instruction{Response: `{"state":{"n":2,"more":[1.5,"x"]}}`})
	b.on(hook.CleanupJob, instruction{Response: `{"state":{"n":9}}`})
	b.run(jobevent.Success)
	b.sees(`prepare_job null`, `run_script_step {"n":1}`, `run_script_step {"n":2,"more":[1.5,"x"]}`, `cleanup_job {"n":2,"more":[1.5,"x"]}`)
}

func TestAStatusOfTheHookIsTheStepsFailure(t *testing.T) {
	b := newBench(t, threeSteps)
	b.on(hook.RunScriptStep, instruction{Exit: 42})
	b.run(jobevent.Failure)
	b.ends("Initialize containers: success", "plain: failure", "on failure: failure", "always: failure", "Stop containers: success")
	b.has("##[error]Process completed with exit code 42.", wrapper)
}

func TestAnInvalidResponseIsExplainedAfterTheRunnersWords(t *testing.T) {
	for response, want := range map[string]string{
		`{"state":{}}`: "gantry: The property 'isAlpine' is required but was not found in the response file.",
		`{`:            "",
		`{"isAlpine":true,"context":{"services":[{"id":"x","ports":{}}]}}`: "##[error]Index was out of range. Must be non-negative and less than the size of the collection. (Parameter 'index')",
	} {
		b := newBench(t, threeSteps)
		b.on(hook.PrepareJob, instruction{Response: response})
		b.run(jobevent.Failure)
		if want != "" {
			b.has(want)
		} else {
			b.has(wrapper)
		}
	}
}

// What the workflow sets is in the request only. The hook has the runner's environment, with the host's paths, and
// what steps have put before PATH.
func TestTheEnvironmentOfTheHook(t *testing.T) {
	b := newBench(t, `
		on: push
		env: {WORKFLOW_SETS: "1"}
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: alpine, env: {CONTAINER_SETS: "1"}}
		    steps:
		      - run: "echo /first >>$GITHUB_PATH; echo /second >>$GITHUB_PATH; echo FILE_SETS=1 >>$GITHUB_ENV"
		      - {run: pwd, env: {STEP_SETS: "1", CI: "no"}}
	`)
	b.job.Secrets["GITHUB_TOKEN"] = "ghs_secret"
	b.opts.Environ = append(b.opts.Environ, "OF_THE_RUNNER=1", "PATH=/own:"+os.Getenv("PATH"))
	write(t, b.opts.Hook, "{ env; pwd; } >"+b.dir+"/environ\n. "+b.dir+"/fake.sh\n")
	write(t, b.dir+"/fake.sh", "exec "+os.Args[0]+"\n")
	b.on(hook.CleanupJob, instruction{Stdout: "the last call\n"})
	b.run(jobevent.Success)
	text, err := os.ReadFile(b.dir + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	root := filepath.Join(b.opts.Root, "build")
	for _, want := range []string{
		"OF_THE_RUNNER=1", "CI=true", "GITHUB_ACTIONS=true", "GITHUB_JOB=build", "GITHUB_WORKSPACE=" + root + "/_work/repo/repo",
		"RUNNER_TEMP=" + root + "/_work/_temp", "RUNNER_TOOL_CACHE=" + root + "/_work/_tool", root + "/_work/repo/repo",
		"GITHUB_EVENT_PATH=" + root + "/_work/_temp/_github_workflow/event.json", "PATH=/second:/first:/own:" + os.Getenv("PATH"),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, bad := range []string{"_SETS=", "ghs_secret", "GITHUB_TOKEN", "ACTIONS_RUNTIME"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("%s is in\n%s", bad, text)
		}
	}
}

func TestAHookThatIsNotThereIsNamed(t *testing.T) {
	b := newBench(t, threeSteps)
	b.opts.Hook = "/nowhere/hook.sh"
	b.run(jobevent.Failure)
	b.has(wrapper, "gantry: File not found at '/nowhere/hook.sh'. Set ACTIONS_RUNNER_CONTAINER_HOOKS to the path of an existing file.")
}

func TestAHookThatHangsIsNamedWithItsCall(t *testing.T) {
	b := newBench(t, threeSteps)
	b.on(hook.CleanupJob, instruction{Hang: true})
	b.opts.CleanupBudget = 100 * time.Millisecond
	b.run(jobevent.Failure)
	log := b.log()
	if !strings.Contains(log, "gantry: cleanup_job of "+b.opts.Hook+" had not ended after ") || !strings.Contains(log, ", and was cancelled by SIGINT\n") {
		t.Error(log)
	}
}

// cancelled runs a job that is cancelled once its log has a line.
func (b *bench) cancelled(line string, want jobevent.Result) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	sink := b.opts.Sink
	b.opts.Sink = jobevent.Func(func(e jobevent.Event) {
		sink.Event(e)
		if e.Kind == jobevent.Line && e.Text == line {
			cancel()
		}
	})
	b.runIn(ctx, want)
}

func TestACancelledJobRunsWhatWantsToRunAndCleansUp(t *testing.T) {
	for _, container := range []string{"", "container: alpine"} {
		b := newBench(t, `
			on: push
			jobs:
			  build:
			    runs-on: self-hosted
			    `+container+`
			    steps:
			      - {name: long, run: "echo here; sleep 60 & wait"}
			      - {name: plain, run: echo plain}
			      - {name: failed, run: echo failed, if: failure()}
			      - {name: when cancelled, run: echo cancelled, if: cancelled()}
			      - {name: always, run: echo always, if: always()}
		`)
		began := time.Now()
		b.cancelled("here", jobevent.Cancelled)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
		if container == "" {
			b.ends("long: cancelled", "plain: skipped", "failed: skipped", "when cancelled: success", "always: success")
			b.has("##[error]The operation was canceled.")
			continue
		}
		b.ends("Initialize containers: success", "long: failure", "plain: skipped", "failed: skipped",
			"when cancelled: success", "always: success", "Stop containers: success")
	}
}

func TestAStepThatGoesOnInSpiteOfACancelIsNotTouched(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {name: stays, if: always(), run: "echo here; sleep 0.3; echo done"}
		      - {name: plain, run: echo plain}
	`)
	b.cancelled("here", jobevent.Cancelled)
	b.ends("stays: success", "plain: skipped")
	b.has("done")
}

func TestTheBudgetOfACancelledJobEndsWhatGoesOn(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps:
		      - {name: stays, if: always(), run: "echo here; sleep 60"}
	`)
	b.opts.CancelBudget = 100 * time.Millisecond
	b.cancelled("here", jobevent.Cancelled)
	b.ends("Initialize containers: success", "stays: failure", "Stop containers: success")
}

func TestTimeouts(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {name: slow, run: sleep 60, timeout-minutes: 0.005, continue-on-error: true}
		      - {name: plain, run: "true"}
	`)
	b.run(jobevent.Success)
	b.ends("slow: success", "plain: success")
	b.has("##[error]The action 'slow' has timed out after 0.005 minutes.")
	b = newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    timeout-minutes: 0.04
		    container: alpine
		    steps:
		      - {name: slow, run: sleep 60}
		      - {name: always, run: "true", if: always()}
	`)
	b.run(jobevent.Cancelled)
	b.ends("Initialize containers: success", "slow: failure", "always: success", "Stop containers: success")
	b.has("##[error]The job running on runner build has exceeded the maximum execution time of 0.04 minutes.")
}

func TestKeptContainersAreCleanedUpByTheCaller(t *testing.T) {
	b := newBench(t, threeSteps)
	b.opts.Keep = true
	b.on(hook.PrepareJob, instruction{Response: `{"isAlpine":true,"context":{"container":{"id":"c1","network":"n1"}}}`})
	b.on(hook.RunScriptStep, instruction{Exit: 1})
	outcome := b.run(jobevent.Failure)
	if outcome.Kept == nil || outcome.Kept.Container != "c1" || outcome.Kept.Network != "n1" {
		t.Fatalf("kept %+v", outcome.Kept)
	}
	before := len(b.commands())
	if err := outcome.Kept.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	if after := b.commands(); len(after) != before+1 || after[before] != "cleanup_job null" {
		t.Errorf("calls %v", after)
	}
}

func TestTheTemporaryFolderIsEmptyBeforeAndAfter(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs: {build: {runs-on: self-hosted, steps: [{run: "test ! -e ../../_temp/old; echo x > ../../_temp/new"}]}}
	`)
	temp := filepath.Join(b.opts.Root, "build/_work/_temp")
	write(t, filepath.Join(temp, "old"), "x")
	b.run(jobevent.Success)
	if entries, err := os.ReadDir(temp); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestProcessesThatAStepLeavesBehindAreEnded(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs: {build: {runs-on: self-hosted, steps: [{run: "sleep 61.5 >/dev/null 2>&1 & echo $!"}]}}
	`)
	b.run(jobevent.Success)
	if !strings.Contains(b.log(), "Terminate orphan process: pid (") {
		t.Error(b.log())
	}
}

func TestSecretsAreNowhere(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    outputs: {leak: "x${{ secrets.TOKEN }}", fine: y}
		    env: {T: "${{ secrets.TOKEN }}"}
		    steps:
		      - name: step ${{ secrets.TOKEN }}
		        run: |
		          echo "$T"; echo "::error title=$T::$T"; echo "$T" >> "$GITHUB_STEP_SUMMARY"
		          echo "::add-mask::hush"
		          echo hush
	`)
	b.job.Secrets["TOKEN"] = "s3cr3t"
	outcome := b.run(jobevent.Success)
	if diff := cmp.Diff(map[string]string{"fine": "y"}, outcome.Outputs); diff != "" {
		t.Error(diff)
	}
	for _, e := range b.events {
		text := e.Text
		for _, v := range e.Props {
			text += v
		}
		if strings.Contains(text, "s3cr3t") || e.Text == "hush" {
			t.Errorf("%+v", e)
		}
	}
	b.has("##[warning]Skip output 'leak' since it may contain secret.")
}
