package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// withState runs a script step and a container step with a state of the test's.
func withState(t *testing.T, r *fakerunner.Runner, script string, state json.RawMessage) map[string]*fakerunner.Result {
	t.Helper()
	args, err := r.Script(script)
	if err != nil {
		t.Fatal(err)
	}
	step := r.ContainerStep(testbed.Busybox, "-c", script)
	step.EntryPoint = "/bin/sh"
	mine := r.State
	defer func() { r.State = mine }()
	return map[string]*fakerunner.Result{
		"script step":    r.CallWithState(ctx(t), hook.RunScriptStep, args, state),
		"container step": r.CallWithState(ctx(t), hook.RunContainerStep, step, state),
	}
}

// The state has passed through a file that every step can write.
func TestAStateThatIsNotThisJobsIsRefused(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		shared := "GANTRY_STATE_DIR=" + filepath.Join(t.TempDir(), "state")
		r := prepared(t, e, testbed.Busybox, shared)
		other := prepared(t, e, testbed.Busybox, shared)
		id, _ := state(t, other)["job"].(string)
		forge := func(job string) string { return fmt.Sprintf(`{"gantry":1,"job":%q}`, job) }
		for _, c := range []struct{ name, state, whose string }{
			{"an empty one", `{}`, "configuration"},
			{"another hook's", `{"network":"n","container":"c","services":[]}`, "configuration"},
			{"without a job", `{"gantry":1}`, "configuration"},
			{"a job that is a number", `{"gantry":1,"job":7}`, "configuration"},
			{"a job that is an object", `{"gantry":1,"job":{"job":"` + id + `"}}`, "configuration"},
			{"another runner's job", forge(id), "configuration"},
			{"a job that never was", forge(strings.Repeat("0", 32)), "workflow"},
			{"a path", forge("../../x"), "configuration"},
			{"a path of the right length", forge("../../../../../../tmp/x" + strings.Repeat("/", 9)), "configuration"},
			{"an absolute path", forge("/etc/passwd"), "configuration"},
			{"letters of another case", forge(strings.ToUpper(id)), "configuration"},
			{"a NUL in it", `{"gantry":1,"job":"` + id[:31] + `\u0000"}`, "configuration"},
			{"a huge one", forge(strings.Repeat("f", 8<<20)), "configuration"},
			{"a deep one", `{"gantry":1,"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "configuration"},
		} {
			t.Run(c.name, func(t *testing.T) {
				for command, res := range withState(t, r, "touch "+"$GITHUB_WORKSPACE/it-ran", json.RawMessage(c.state)) {
					t.Run(command, func(t *testing.T) { explains(t, res, c.whose) })
				}
				for _, w := range []string{r.Workspace, other.Workspace} {
					if _, err := os.Lstat(filepath.Join(w, "it-ran")); err == nil {
						t.Errorf("the step was run in %s", w)
					}
				}
			})
		}
		// A forged state does not keep a job from being cleaned up, and does not lead to another one.
		ok(t, r.CallWithState(ctx(t), hook.CleanupJob, nil, json.RawMessage(forge(id))))
		noLeftovers(t, e, r)
		if out := stdout(t, other, "echo still here"); out != "still here\n" {
			t.Errorf("the other runner's job printed %q", out)
		}
	})
}

// Steps with `if: always()` run although prepare_job has failed: the runner sends null as state.
func TestAStepOfAJobThatWasNotPreparedSaysSo(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		args, err := r.Script("true")
		if err != nil {
			t.Fatal(err)
		}
		res := r.CallWithState(ctx(t), hook.RunScriptStep, args, nil)
		explains(t, res, "workflow", "prepare_job did not succeed", "Initialize containers")
		nothingMade(t, e, r)
	})
}

func TestAStateThatAStepForgedHasNoEffect(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		mine := string(r.State)
		forged := `{"state":{"gantry":1,"job":"ffffffffffffffffffffffffffffffff"},"isAlpine":true,"context":{"container":{"id":"x"}}}`
		write := "for f in /*/*/_runner_hook_responses/*; do echo '" + forged + "' >$f; done"
		res := ok(t, r.RunScript(ctx(t), write+"; cat /__w/_temp/_runner_hook_responses/*"))
		contains(t, res.Stdout, forged) // it could
		if string(r.State) != mine || len(res.ResponseText) > 0 {
			t.Errorf("the runner got %q, and has %s", res.ResponseText, r.State)
		}
		step := r.ContainerStep(testbed.Busybox, "-c", "for f in /github/runner_temp/_runner_hook_responses/*; do echo x >$f; done; echo wrote")
		step.EntryPoint = "/bin/sh"
		res = ok(t, r.Call(ctx(t), hook.RunContainerStep, step))
		contains(t, res.Stdout, "wrote")
		if string(r.State) != mine || len(res.ResponseText) > 0 {
			t.Errorf("the runner got %q, and has %s", res.ResponseText, r.State)
		}
		keepsForging(t, r, forged, json.RawMessage(mine))
		r.State = json.RawMessage(`{"gantry":1,"job":"ffffffffffffffffffffffffffffffff"}`)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// keepsForging leaves a process behind that may come between the hook's last word and the runner's look at it. What
// the runner believes then, the next call must not.
func keepsForging(t *testing.T, r *fakerunner.Runner, forged string, mine json.RawMessage) {
	t.Helper()
	ok(t, r.RunScript(ctx(t), "(while :; do for f in /__w/_temp/_runner_hook_responses/*; do [ -f $f ] && echo '"+forged+"' >$f; done; done) >/dev/null 2>&1 &"))
	r.State = mine
	won := 0
	for range 40 {
		res := r.RunScript(ctx(t), "echo ran")
		switch forgedState := string(r.State) != string(mine); {
		case forgedState && res.Err == nil:
			won++
			next := r.RunScript(ctx(t), "echo ran")
			explains(t, next, "workflow")
			if strings.Contains(next.Stdout, "ran") {
				t.Errorf("a step was run by a forged state:\n%s", next.Output())
			}
			r.State = mine
		case res.Err == nil && res.Stdout != "ran\n":
			t.Errorf("a step printed %q", res.Output())
		}
	}
	t.Logf("%d of 40 answers were forged", won)
}
