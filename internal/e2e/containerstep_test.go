package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// action runs a container action: an image with an entry point of the action's ("": the image's), and the text of
// `args:` as the runner splits it.
func action(t *testing.T, r *fakerunner.Runner, image, entryPoint, args string) *fakerunner.Result {
	t.Helper()
	return r.Call(ctx(t), hook.RunContainerStep, actionStep(r, image, entryPoint, args))
}

func actionStep(r *fakerunner.Runner, image, entryPoint, args string) *hook.Container {
	step := r.ContainerStep(image)
	step.EntryPoint, step.EntryPointArgs = entryPoint, strings.Fields(args)
	return step
}

// The steps of this test share a job with a service.
func TestContainerSteps(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), hook.Container{Image: testbed.Redis}))
		for _, promise := range []struct {
			name string
			test func(*testing.T, *testbed.Engine, *fakerunner.Runner)
		}{
			{"run the program that the engine would run", actionProgram},
			{"share the workspace with the job", actionWorkspace},
			{"reach the job's services by name", actionNetwork},
			{"give the hook their exit status", actionStatuses},
			{"keep secrets to themselves, and leave nothing", actionSecrets},
			{"run four at a time", actionsAtOnce},
			{"may do what they want to RUNNER_TEMP", actionTemp},
		} {
			t.Run(promise.name, func(t *testing.T) { promise.test(t, e, r) })
		}
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("after all that a step printed %q", out)
		}
	})
}

func actionProgram(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	for _, c := range []struct{ entryPoint, args, want string }{
		{"", "", "entry cmd\n"},
		{"", "given", "entry given\n"},
		{"/bin/echo", "", "\n"},
		{"echo", `one "two three" "qu\"ote" it's $HOME 'a`, "one two three qu\"ote it's $HOME 'a\n"},
		{"/bin/sh", `-c "pwd; echo \"$0|$1\"" "" x`, "/github/workspace\n|x\n"},
	} {
		if res := ok(t, action(t, r, testbed.Entry, c.entryPoint, c.args)); res.Stdout != c.want {
			t.Errorf("entry point %q with args %q printed %q, want %q", c.entryPoint, c.args, res.Stdout, c.want)
		}
	}
	failsWith(t, action(t, r, testbed.Busybox, "/no/such/program", ""), 127, "gantry: workflow:", "/no/such/program")
	if res := ok(t, action(t, r, testbed.Scratch, "", "no shell")); res.Stdout != "no\nshell\n" {
		t.Errorf("an image without a shell printed %q", res.Stdout)
	}
}

func actionWorkspace(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	write(t, filepath.Join(r.Workspace, "from-the-job"), "job\n", 0o644)
	ok(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "cat from-the-job > from-the-action; echo home > $HOME/x"`))
	if got := stdout(t, r, "cat from-the-action $HOME/x"); got != "job\nhome\n" {
		t.Errorf("the job reads %q", got)
	}
}

func actionNetwork(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	res := ok(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "printf 'PING\r\n' | nc redis 6379"`))
	if res.Stdout != "+PONG\r\n" {
		t.Errorf("the service says %q", res.Stdout)
	}
}

func actionStatuses(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	for script, status := range map[string]int{"exit 125": 125, "kill -TERM $$": 143} {
		failsWith(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "`+script+`"`), status, "gantry: workflow:", fmt.Sprint(status))
	}
}

// A step that waits for the test can be looked at from outside while it runs.
func actionSecrets(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) {
	const secret = "s3cr3t-of-the-step"
	step := actionStep(r, testbed.Entry, "/bin/sh", `-c "printf %s \"$SECRET\"; touch started; while [ ! -e go ]; do usleep 20000; done" `+secret+`-argument`)
	step.EnvironmentVariables["SECRET"] = secret + "\nof two lines"
	before := containers(t, e, r)
	done := make(chan *fakerunner.Result, 1)
	c := ctx(t)
	go func() { done <- alone(c, r, hook.RunContainerStep, step) }()
	eventually(t, "the step runs", func() bool { _, err := os.Stat(filepath.Join(r.Workspace, "started")); return err == nil })
	var volumes []string
	for _, name := range containers(t, e, r) {
		if text := engineSays(t, e, "inspect", name); strings.Contains(text, secret) {
			t.Errorf("`inspect` shows the secret of the step")
		}
		volumes = append(volumes, volumesOf(t, e, name)...)
	}
	if len(volumes) != 1 {
		t.Errorf("volumes of the step: %q", volumes)
	}
	if where := onCommandLines(t, secret, "printf %s"); where != "" {
		t.Errorf("a secret of the step stands on the command line of %s", where)
	}
	write(t, filepath.Join(r.Workspace, "go"), "", 0o644)
	if res := ok(t, <-done); res.Stdout != secret+"\nof two lines" {
		t.Errorf("the step printed %q", res.Stdout)
	}
	if after := containers(t, e, r); len(after) != len(before) {
		t.Errorf("the job had the containers %v before the step, and %v after it", before, after)
	}
	for _, name := range volumes {
		if engineKnows(t, e, "volume", name) {
			t.Errorf("the step's volume %s is still there", name)
		}
	}
}

// onCommandLines finds a text in the arguments of this machine's processes, except those that have another text too:
// the step's own.
func onCommandLines(t *testing.T, text, except string) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), text) && !strings.Contains(string(line), except) {
			return string(line)
		}
	}
	return ""
}

func actionsAtOnce(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	c, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	results := make([]*fakerunner.Result, 4)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			results[i] = alone(c, r, hook.RunContainerStep, actionStep(r, testbed.Busybox, "/bin/sh", fmt.Sprintf(`-c "echo %d; exit %d"`, i, i)))
		})
	}
	wg.Wait()
	for i, res := range results {
		if res.Stdout != fmt.Sprintln(i) || res.ExitCode != i {
			t.Errorf("step %d: status %d\n%s", i, res.ExitCode, res.Output())
		}
	}
}

func actionTemp(t *testing.T, _ *testbed.Engine, r *fakerunner.Runner) {
	ok(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "rm -rf /github/runner_temp/* /github/runner_temp/.[!.]*; true"`))
	for _, dir := range []string{"_runner_file_commands", "_github_home", "_github_workflow"} {
		if err := os.MkdirAll(filepath.Join(r.Work, "_temp", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAContainerStepWithoutAJob(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		res := ok(t, action(t, r, testbed.Entry, "", "alone"))
		if res.Stdout != "entry alone\n" {
			t.Errorf("it printed %q", res.Stdout)
		}
		failsWith(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "exit 9"`), 9)
		noLeftovers(t, e, r)
		if records, _ := filepath.Glob(filepath.Join(filepath.Dir(r.Root), "../*/state/*")); len(records) > 0 {
			t.Errorf("left over: %v", records)
		}
	})
}
