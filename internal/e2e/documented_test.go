package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// The examples of GitHub's page "Customizing the containers used by jobs" (testdata/documented), piped into the hook as
// a person does who reads that page: by hand, without the runner's variables. What cannot be so on every machine is
// replaced: folders of a user octocat, and ports that only root may publish.
func TestGitHubsDocumentedExamples(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		d := newDocumented(t, e)
		response := filepath.Join(d.runner.Work, "guid.json")
		prepare := d.example(t, "prepare_job.json", map[string]string{
			"/users/octocat/runner/_work/{guid}.json": write(t, response, "", 0o644),
		})
		ok(t, d.pipe(t, prepare))
		var answer struct {
			State   json.RawMessage
			Context hook.JobContext
		}
		if err := json.Unmarshal([]byte(read(t, response)), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Context.Container == nil || len(answer.Context.Services) != 1 || answer.Context.Services[0].Ports["801"] == "" {
			t.Fatalf("the response is %s", read(t, response))
		}
		d.state = answer.State
		t.Run("run_script_step", d.scriptStep)
		t.Run("run_container_step with a Dockerfile", d.dockerfileStep)
		t.Run("run_container_step that runs for ever", d.endlessStep)
		t.Run("cleanup_job", func(t *testing.T) {
			ok(t, d.pipe(t, read(t, "testdata/documented/cleanup_job.json"))) // with the ids that are printed there
		})
		ok(t, d.runner.Cleanup(ctx(t)))
		noLeftovers(t, e, d.runner)
	})
}

type documented struct {
	engine *testbed.Engine
	runner *fakerunner.Runner
	host   string // the port 80 of the examples
	state  json.RawMessage
}

func newDocumented(t *testing.T, e *testbed.Engine) *documented {
	t.Helper()
	base := image(t, e, "FROM "+testbed.Bash+`
RUN mkdir -p /runner/temp && \
    echo 'echo "$NODE_ENV $PATH $PWD $(echo /volume*)"' > /runner/temp/example.sh
`)
	r := newRunner(t, e, "GANTRY_IMAGE_REWRITE=node:14.16="+base+",redis="+testbed.Redis)
	r.Client.Env = withoutRunner(r.Client.Env)
	t.Cleanup(func() { _ = e.Command(context.Background(), "volume", "rm", "-f", "my_docker_volume").Run() })
	return &documented{engine: e, runner: r, host: freePort(t)}
}

// withoutRunner drops what the runner sets.
func withoutRunner(env []string) []string {
	var kept []string
	for _, entry := range env {
		if !strings.HasPrefix(entry, "RUNNER_") && !strings.HasPrefix(entry, "GITHUB_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

// example reads one, with a runner's folders in place of octocat's, and the state that prepare_job gave.
func (d *documented) example(t *testing.T, name string, replace map[string]string) string {
	t.Helper()
	text := read(t, filepath.Join("testdata/documented", name))
	text = strings.ReplaceAll(text, "/home/octocat/git/runner/_layout", d.runner.Root)
	text = strings.ReplaceAll(text, `{ "80": "801" }`, `{ "`+d.host+`": "801" }`)
	for from, to := range replace {
		text = strings.ReplaceAll(text, from, to)
	}
	if d.state == nil {
		return text
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	fields["state"] = d.state
	out, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// pipe gives a text to the hook as it is.
func (d *documented) pipe(t *testing.T, text string) *fakerunner.Result {
	t.Helper()
	var out, errs bytes.Buffer
	client := d.runner.Client
	client.Stdout, client.Stderr = &out, &errs
	run, err := client.Run(ctx(t), []byte(text))
	res := &fakerunner.Result{CallResult: &hook.CallResult{}, Err: err}
	if run != nil {
		res.RunResult = *run
	}
	if res.Stdout, res.Stderr = out.String(), errs.String(); err == nil && res.ExitCode != 0 {
		res.Err = fmt.Errorf("status %d", res.ExitCode)
	}
	return res
}

func (d *documented) scriptStep(t *testing.T) {
	res := ok(t, d.pipe(t, d.example(t, "run_script_step.json", nil)))
	const want = "development /foo/bar:bar/foo:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /__w/octocat-test2/octocat-test2 /volume_mount\n"
	if res.Stdout != want {
		t.Errorf("it printed %q", res.Stdout)
	}
}

func (d *documented) dockerfileStep(t *testing.T) {
	withoutImages(t, d.engine, d.runner)
	write(t, filepath.Join(d.runner.Work, "_actions/foo/dockerfile"), "FROM "+testbed.Busybox+"\n", 0o644)
	if res := ok(t, d.pipe(t, d.example(t, "run_container_step.dockerfile.json", nil))); res.Stdout != "hello world\n" {
		t.Errorf("it printed %q", res.Stdout)
	}
}

// The example runs `tail -f /dev/null`: only a cancellation ends it.
func (d *documented) endlessStep(t *testing.T) {
	text := d.example(t, "run_container_step.image.json", nil)
	before := len(containers(t, d.engine, d.runner))
	client := d.runner.Client
	c, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ended := make(chan *hook.RunResult, 1)
	go func() {
		run, err := client.Run(c, []byte(text))
		if err != nil {
			run = &hook.RunResult{ExitCode: -1}
		}
		ended <- run
	}()
	eventually(t, "the step's container runs", func() bool { return len(containers(t, d.engine, d.runner)) > before })
	eventually(t, "its program runs", func() bool {
		for _, name := range containers(t, d.engine, d.runner) {
			if strings.HasSuffix(name, "-step") && strings.Contains(engineTop(t, d.engine, name), "tail -f /dev/null") {
				return true
			}
		}
		return false
	})
	cancel()
	select {
	case run := <-ended:
		if run.ExitCode == 0 || run.ExitCode == -1 {
			t.Errorf("the cancelled step ended with status %d", run.ExitCode)
		}
	case <-time.After(12 * time.Second):
		t.Error("the cancelled step goes on")
	}
	if after := len(containers(t, d.engine, d.runner)); after != before {
		t.Errorf("%d containers before the step, %d after it", before, after)
	}
}

// engineTop lists a container's processes; "" if it is not there (yet).
func engineTop(t *testing.T, e *testbed.Engine, name string) string {
	t.Helper()
	out, err := e.Command(ctx(t), "top", name).Output()
	if err != nil {
		return ""
	}
	return string(out)
}
