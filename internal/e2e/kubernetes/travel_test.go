package kubernetes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// apartFromAll is the place of jobs that share nothing with their runner.
func apartFromAll() place { return place{"pod, no volume", kubetest.NoVolume, rbac.Pod, rbac.None} }

// What the runner itself reads and writes between the steps of a job is on both sides, without a volume that both mount;
// and what is not is said.
func TestTheRunnerAndTheJobsPodHaveTheSameFiles(t *testing.T) {
	alongside(t)
	p := apartFromAll()
	if p.outside(t) {
		return
	}
	r := p.runner(t, "GANTRY_KUBERNETES_SYNC_EXCLUDE=cache, *.iso", "GANTRY_KUBERNETES_SYNC_MAX_FILE=1m")
	container := r.JobContainer(image(t, testbed.Busybox))
	container.CreateOptions = "--user 1001"
	said := ok(t, r.Prepare(t.Context(), container)).Output()
	if !strings.Contains(said, "without cache, *.iso") {
		t.Errorf("what is excluded is not said: %s", said)
	}
	onHost := func(path string) string {
		text, err := os.ReadFile(filepath.Join(r.Workspace, path))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	write := func(path, text string) {
		path = filepath.Join(r.Work, path)
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
	}

	// A checkout: the runner reads a local action's description, and hashes files of the workspace.
	ok(t, r.RunScript(t.Context(), `mkdir -p action cache; echo name: local >action/action.yml; echo sum >go.sum; echo x >cache/file; echo x >a.iso`))
	if onHost("action/action.yml") != "name: local\n" || onHost("go.sum") != "sum\n" || onHost("cache/file")+onHost("a.iso") != "" {
		t.Errorf("the runner finds %q, %q, %q, %q", onHost("action/action.yml"), onHost("go.sum"), onHost("cache/file"), onHost("a.iso"))
	}

	// Actions that the runner fetches while the job runs.
	write("_actions/owner/name/v1/main.sh", "echo the action")
	if res := ok(t, r.RunScript(t.Context(), ". /__w/_actions/owner/name/v1/main.sh")); res.Stdout != "the action\n" {
		t.Errorf("an action that came later printed %q", res.Output())
	}

	// A step that fails has file commands, too, and its files.
	res := r.RunScript(t.Context(), `echo a=b >>"$GITHUB_OUTPUT"; echo C=d >>"$GITHUB_ENV"; echo /opt >>"$GITHUB_PATH"; rm go.sum; echo half >made; exit 3`)
	for variable, want := range map[string]string{"GITHUB_OUTPUT": "a=b\n", "GITHUB_ENV": "C=d\n", "GITHUB_PATH": "/opt\n"} {
		if got, err := r.FileCommand(variable); err != nil || got != want {
			t.Errorf("%s of a step that failed: %q, %v", variable, got, err)
		}
	}
	if res.ExitCode != 3 || onHost("made") != "half\n" || onHost("go.sum") != "" {
		t.Errorf("status %d, %q, %q", res.ExitCode, onHost("made"), onHost("go.sum"))
	}

	// What is too large is left out and said, in both directions.
	write("repo/repo/large-here", strings.Repeat("x", 2<<20))
	here := r.RunScript(t.Context(), "test ! -e large-here; dd if=/dev/zero of=large-there bs=1M count=2 status=none").Output()
	for _, name := range []string{"large-here", "large-there"} {
		if !strings.Contains(here, name+" was left out") {
			t.Errorf("it is not said that %s is left out: %s", name, here)
		}
	}
	if _, err := os.Stat(filepath.Join(r.Workspace, "large-there")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is too large is there: %v", err)
	}
	ok(t, r.Cleanup(t.Context()))
}

// Only what has changed travels, and no more of it than can be compressed.
func TestOnlyWhatHasChangedTravels(t *testing.T) {
	alongside(t)
	p := apartFromAll()
	if p.outside(t) {
		return
	}
	r := p.runner(t)
	ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
	fill := func(name string, data []byte) { must(t, os.WriteFile(filepath.Join(r.Workspace, name), data, 0o644)) }
	fill("text", []byte(strings.Repeat("a line of a log\n", 3<<16)))
	text := sent(t, r, "wc -l text")
	random := make([]byte, 8<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	fill("random", random)
	for i := range 2000 {
		fill(fmt.Sprint("file", i), fmt.Appendf(nil, "%d\n", i))
	}
	all := sent(t, r, "cat file* | wc -l")
	again := sent(t, r, "true")
	fill("file7", []byte("changed"))
	must(t, os.Rename(filepath.Join(r.Workspace, "file8"), filepath.Join(r.Workspace, "renamed")))
	changed := sent(t, r, "cat file7 renamed; test ! -e file8")
	t.Logf("MB to the pod: 3.1 of text: %.2f; 8.4 that cannot be compressed and 2000 small files: %.2f; nothing: %.3f; a changed and a renamed file: %.3f",
		text, all, again, changed)
	if text > 0.1 || all < 8.4 || all > 9.2 || again > 0.1 || changed > 0.1 {
		t.Error("that is too much, or too little")
	}
	ok(t, r.Cleanup(t.Context()))
}

// sent runs a step and gives what it has sent over the network, in MB.
func sent(t *testing.T, r *fakerunner.Runner, script string) float64 {
	t.Helper()
	before := sentBytes(t)
	ok(t, r.RunScript(t.Context(), script))
	return float64(sentBytes(t)-before) / 1e6
}

// A container action has the runner's files also where no job container has a copy of them, and brings its own back.
func TestAContainerActionAloneHasTheRunnersFiles(t *testing.T) {
	alongside(t)
	p := apartFromAll()
	if p.outside(t) {
		return
	}
	r := p.runner(t)
	act := func(name, status string) {
		must(t, os.WriteFile(filepath.Join(r.Workspace, "source"), []byte(name), 0o644))
		step := shellStep(t, r, "cat source; echo $(cat source) >made; echo x=y >>/github/file_commands/out; exit "+status)
		step.CreateOptions = "--user 1001"
		res := r.Call(t.Context(), hook.RunContainerStep, step)
		if res.Stdout != name || fmt.Sprint(res.ExitCode) != status {
			t.Errorf("%s: it printed %q and ended with %d: %s", name, res.Stdout, res.ExitCode, res.Stderr)
		}
		for path, want := range map[string]string{"repo/repo/made": name + "\n", "_temp/_runner_file_commands/out": "x=y\n"} {
			text, err := os.ReadFile(filepath.Join(r.Work, path))
			if err != nil || string(text) != want {
				t.Errorf("%s: the runner finds %q in %s: %v", name, text, path, err)
			}
			must(t, os.Remove(filepath.Join(r.Work, path)))
		}
		if left, err := filepath.Glob(filepath.Join(stateDir(r.Root), "sync-*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %q, %v", name, left, err)
		}
	}
	act("in a pod of its own", "0")
	ok(t, r.Prepare(t.Context(), nil, hook.Container{Image: image(t, testbed.Redis)}))
	act("beside a service", "0")
	act("failing", "7")
	ok(t, r.Cleanup(t.Context()))
}
