package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// built runs a Dockerfile action.
func built(t *testing.T, r *fakerunner.Runner, dockerfile, entryPoint, args string) *fakerunner.Result {
	t.Helper()
	step := actionStep(r, "", entryPoint, args)
	step.Dockerfile = dockerfile
	return r.Call(ctx(t), hook.RunContainerStep, step)
}

// imagesOf are the images that were built for a runner.
func imagesOf(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) []string {
	t.Helper()
	return strings.Fields(engineSays(t, e, "image", "ls", "-q", "--filter", "label=io.gantry.runner="+runnerID(r)))
}

// withoutImages removes what a test has built, when it ends.
func withoutImages(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) {
	t.Helper()
	t.Cleanup(func() {
		c, stop := context.WithTimeout(context.Background(), limit)
		defer stop()
		out, err := e.Command(c, "image", "ls", "-q", "--filter", "label=io.gantry.runner="+runnerID(r)).Output()
		if err != nil {
			t.Error(err)
		}
		for _, id := range strings.Fields(string(out)) {
			if out, err := e.Command(c, "rmi", "-f", id).CombinedOutput(); err != nil {
				t.Errorf("removing an image: %v\n%s", err, out)
			}
		}
	})
}

// Pre, main and post of an action are three calls with the same Dockerfile.
func TestADockerfileActionIsBuiltOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		withoutImages(t, e, r)
		dir := filepath.Join(r.Work, "_actions/owner/action/v1/container")
		file := write(t, filepath.Join(dir, "Dockerfile.action"), "FROM "+testbed.Busybox+"\nENV STAMP="+filepath.Base(r.Root)+
			"\nCOPY . /action\nRUN echo building now\nENTRYPOINT [\"/action/entrypoint.sh\"]\nCMD [\"main\"]\n", 0o644)
		write(t, filepath.Join(dir, "entrypoint.sh"), "#!/bin/sh\necho \"entry $*\"\nls /action\n", 0o755)
		write(t, filepath.Join(dir, "ignored"), "", 0o644)
		write(t, filepath.Join(dir, ".dockerignore"), "ignored\n.dockerignore\n", 0o644)
		const files = "Dockerfile.action\nentrypoint.sh\n"
		first := ok(t, built(t, r, file, "", ""))
		if first.Stdout != "entry main\n"+files {
			t.Errorf("the action printed %q", first.Stdout)
		}
		contains(t, first.Stderr, "building now")
		for entryPoint, want := range map[string]string{"": "entry post\n" + files, "/bin/echo": "post\n"} {
			res := ok(t, built(t, r, file, entryPoint, "post"))
			if res.Stdout != want || strings.Contains(res.Stderr, "building now") {
				t.Errorf("the second call printed %q and %q", res.Stdout, res.Stderr)
			}
		}
		if images := imagesOf(t, e, r); len(images) != 1 {
			t.Errorf("images: %v", images)
		}
		write(t, filepath.Join(dir, "entrypoint.sh"), "#!/bin/sh\necho changed\n", 0o755)
		if res := ok(t, built(t, r, file, "", "")); res.Stdout != "changed\n" {
			t.Errorf("the changed action printed %q", res.Stdout)
		}
		noLeftovers(t, e, r)
		gc := e.Program(ctx(t), filepath.Join(os.Getenv(envBin), "gantry"), "gc", "--dry-run", "--images", "--older-than", "0s")
		gc.Env = r.Client.Env
		if out, err := gc.CombinedOutput(); err != nil || strings.Count(string(out), "gantry-action:") < 2 {
			t.Errorf("gantry gc would not remove the images: %v\n%s", err, out)
		}
	})
}

func TestADockerfileThatCannotBeBuiltShowsWhy(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		withoutImages(t, e, r)
		dir := filepath.Join(r.Work, "_actions/owner/action/v1")
		for text, words := range map[string][]string{
			"FROM " + testbed.Busybox + "\nRUN echo nearly there; exit 3\n": {"nearly there", "3"},
			"FROM " + testbed.Busybox + "\nCOPY no-such-file /\n":           {"no-such-file"},
			"FROM " + testbed.Busybox + "\nFLY me\n":                        {"FLY"},
		} {
			file := write(t, filepath.Join(dir, "Dockerfile"), text, 0o644)
			failsWith(t, built(t, r, file, "", ""), 1, append(words, "gantry: workflow:", "building", "Dockerfile")...)
		}
		failsWith(t, built(t, r, filepath.Join(dir, "gone/Dockerfile"), "", ""), 1, "gantry: workflow:", "gone/Dockerfile", "no such file")
		noLeftovers(t, e, r)
	})
}

func TestABuildThatTakesTooLongIsStopped(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e, "GANTRY_TIMEOUTS_BUILD=3s")
		withoutImages(t, e, r)
		file := write(t, filepath.Join(r.Work, "_actions/o/a/v1/Dockerfile"), "FROM "+testbed.Busybox+"\nRUN sleep 100\n", 0o644)
		res := within(t, 20*time.Second, func() *fakerunner.Result { return built(t, r, file, "", "") })
		failsWith(t, res, 1, "3s", "building", "timeouts.build")
	})
}
