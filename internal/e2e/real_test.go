package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/testbed"
)

const realDir = "../workflow/testdata/real"

// envReal names a copy of the workflows that every user can read.
const envReal = "GANTRY_TEST_REAL"

// Workflows as people write them end as the .outcome beside them says, each step of theirs: all of them on Docker, and those with something of
// an engine's in them on Podman, with and without root, too.
func TestRealWorkflows(t *testing.T) {
	dir := realCopy(t)
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin), envReal+"="+dir) {
				return
			}
			names := []string{"postgres-service", "redis-by-port", "docker-actions", "service-command", "mysql-credentials",
				"background-steps", "unhealthy-service", "volumes-and-options"}
			if e.Name == "docker" {
				names = realNames(t, dir)
			}
			playReal(t, e, dir, names)
		})
	}
}

// realNames are all workflows.
func realNames(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil || len(names) < 25 {
		t.Fatalf("%d workflows, %v; at least 25 are promised", len(names), err)
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(filepath.Base(name), ".yml")
	}
	return names
}

// realCopy copies the workflows, with what belongs to them, to where every user can read them.
func realCopy(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(envReal); dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("/tmp", "gantry-real-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.Chmod(dir, 0o755), os.CopyFS(dir, os.DirFS(realDir))); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{".github/actions/*/*.sh", "standins/*/bin/*"} { // CopyFS keeps no mode
		found, err := filepath.Glob(filepath.Join(dir, script))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func playReal(t *testing.T, e *testbed.Engine, dir string, names []string) {
	for _, name := range []string{"tools", "service"} {
		buildStandIn(t, e, name, filepath.Join(dir, "standins", name))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			file := name + ".yml"
			h := readHeader(read(t, filepath.Join(dir, file)))
			skipWithout(t, e, h.options)
			for image, origin := range h.images {
				h.flags = append(h.flags, "--image-rewrite", image+"="+tagStandIn(t, e, image, origin))
			}
			got := playOne(t, e, dir, file, h)
			if *update {
				write(t, filepath.Join(realDir, name+".outcome"), got, 0o644)
			} else if diff := cmp.Diff(read(t, filepath.Join(dir, name+".outcome")), got); diff != "" {
				t.Errorf("it does not end as expected (-want +got):\n%s", diff)
			}
		})
	}
}

// skipWithout skips a test if the engine itself refuses options on this machine.
func skipWithout(t *testing.T, e *testbed.Engine, options []string) {
	t.Helper()
	if len(options) == 0 {
		return
	}
	args := slices.Concat([]string{"run", "--rm"}, options, []string{standIn("tools"), "true"})
	if out, err := e.Command(ctx(t), args...).CombinedOutput(); err != nil {
		t.Skipf("%s cannot do that here: %v\n%s", e.Label, err, out)
	}
}

func standIn(name string) string { return "gantry.test/standin-" + name + ":1" }

func buildStandIn(t *testing.T, e *testbed.Engine, name, dir string) {
	t.Helper()
	engineSays(t, e, "build", "-t", standIn(name), dir)
	t.Cleanup(func() {
		if out, err := e.Command(context.Background(), "rmi", standIn(name)).CombinedOutput(); err != nil {
			t.Errorf("removing a stand-in: %v\n%s", err, out)
		}
	})
}

// tagStandIn gives a stand-in the name of the image that it stands for, because services are reached by it.
func tagStandIn(t *testing.T, e *testbed.Engine, image, origin string) string {
	t.Helper()
	if !strings.Contains(origin, "/") {
		origin = standIn(origin)
	}
	name := "gantry.test/real/" + path.Base(image)
	if !strings.Contains(name, ":") {
		name += ":latest"
	}
	engineSays(t, e, "tag", origin, name)
	t.Cleanup(func() {
		if out, err := e.Command(context.Background(), "rmi", name).CombinedOutput(); err != nil {
			t.Errorf("removing a stand-in: %v\n%s", err, out)
		}
	})
	return name
}

// header are the comments on top of a workflow.
type header struct {
	images map[string]string
	// options are those of a container that the engine has to accept on this machine.
	options []string
	flags   []string
}

func readHeader(text string) header {
	h := header{images: map[string]string{}}
	flag := map[string]string{"inputs": "--input", "secrets": "--secret", "vars": "--var"}
	for _, m := range regexp.MustCompile(`(?m)^# (\w+): (.*)$`).FindAllStringSubmatch(text, -1) {
		for _, field := range strings.Fields(m[2]) {
			name, value, _ := strings.Cut(field, "=")
			switch {
			case m[1] == "images":
				h.images[name] = value
			case m[1] == "options":
				h.options = append(h.options, field)
			case flag[m[1]] != "":
				h.flags = append(h.flags, flag[m[1]], field)
			}
		}
	}
	return h
}

// playOne runs a workflow and gives its outcome. Nothing may be left of it.
func playOne(t *testing.T, e *testbed.Engine, repository, file string, h header) string {
	state := filepath.Join(t.TempDir(), "state")
	cmd := runCommand(t, e, state, append([]string{file, "--json", "--actions-dir", "standins/actions"}, h.flags...)...)
	cmd.Dir = repository
	out, _ := cmd.Output()
	var o outcome
	for line := range strings.Lines(string(out)) {
		var event jobevent.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		o.event(event)
	}
	want := map[jobevent.Result]int{jobevent.Success: 0, jobevent.Failure: 1}
	if status, ok := want[o.result]; !ok || cmd.ProcessState.ExitCode() != status {
		t.Errorf("status %d for result %q", cmd.ProcessState.ExitCode(), o.result)
	}
	nothingOf(t, e, state)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", out, cmd.Stderr)
		}
	})
	return o.text()
}

// outcome is how a run, its jobs and their steps have ended.
type outcome struct {
	result jobevent.Result
	jobs   map[string]*endedJob // by key
}

type endedJob struct {
	name   string
	result jobevent.Result
	steps  map[int]*endedStep
}

type endedStep struct {
	name   string
	result jobevent.Result
}

func (o *outcome) event(e jobevent.Event) {
	if o.jobs == nil {
		o.jobs = map[string]*endedJob{}
	}
	switch e.Kind {
	case jobevent.RunEnded:
		o.result = e.Result
	case jobevent.JobStarted:
		o.jobs[e.Job] = &endedJob{name: e.Text, steps: map[int]*endedStep{}}
	case jobevent.JobEnded:
		o.jobs[e.Job].result = e.Result
	case jobevent.StepStarted:
		o.jobs[e.Job].steps[e.Step] = &endedStep{name: e.Text}
	case jobevent.StepEnded:
		o.jobs[e.Job].steps[e.Step].result = e.Result
	}
}

// ids are of networks and containers.
var ids = regexp.MustCompile(`[0-9a-f]{6}[0-9a-f]*`)

// text has the jobs by their keys, and the steps in the order in which they began.
func (o *outcome) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", o.result)
	for _, key := range slices.Sorted(maps.Keys(o.jobs)) {
		j := o.jobs[key]
		fmt.Fprintf(&b, "\n%s: %s (%s)\n", key, j.result, j.name)
		for _, number := range slices.Sorted(maps.Keys(j.steps)) {
			fmt.Fprintf(&b, "  %-9s %s\n", j.steps[number].result, j.steps[number].name)
		}
	}
	return ids.ReplaceAllString(b.String(), "ID")
}

// runCommand is a call of gantry run with that engine.
func runCommand(t *testing.T, e *testbed.Engine, state string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx(t), filepath.Join(os.Getenv(envBin), "gantry"), append([]string{"run"}, args...)...)
	cmd.Env = append(slices.Clone(e.Env), "GANTRY_ENGINE="+e.Name, "GANTRY_PULL=missing", "GANTRY_STATE_DIR="+state, "TMPDIR="+t.TempDir())
	cmd.Stderr = &strings.Builder{}
	return cmd
}

// nothingOf fails if the engine has a container or network that was made with that state folder.
func nothingOf(t *testing.T, e *testbed.Engine, state string) {
	t.Helper()
	label := "label=" + handler.LabelState + "=" + handler.StateID(state)
	for _, args := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}} {
		if left := engineSays(t, e, append(args, "--filter", label)...); left != "" {
			t.Errorf("left over (%s):\n%s", args[0], left)
		}
	}
}
