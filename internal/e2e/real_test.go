package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/testbed"
)

const realDir = "../workflow/testdata/real"

// Workflows as people write them end as their comments on top expect.
func TestRealWorkflows(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(realDir, "*.yml"))
	if err != nil || len(files) < 25 {
		t.Fatalf("%d workflows, %v; at least 25 are promised", len(files), err)
	}
	playReal(t, testbed.Docker(t), files)
}

// Those with something of an engine's in them end so on Podman too.
func TestRealWorkflowsOnPodman(t *testing.T) {
	var files []string
	for _, name := range []string{"postgres-service", "redis-by-port", "docker-actions", "service-command", "mysql-credentials",
		"background-steps", "unhealthy-service"} {
		files = append(files, filepath.Join(realDir, name+".yml"))
	}
	playReal(t, testbed.Podman(t), files)
}

func playReal(t *testing.T, e *testbed.Engine, files []string) {
	repository := filepath.Join(t.TempDir(), "repository")
	if err := os.CopyFS(repository, os.DirFS(realDir)); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{".github/actions/*/*.sh", "standins/*/bin/*"} { // CopyFS keeps no mode
		found, err := filepath.Glob(filepath.Join(repository, script))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"tools", "service"} {
		buildStandIn(t, e, name, filepath.Join(repository, "standins", name))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			h := readHeader(read(t, file))
			for image, origin := range h.images {
				h.flags = append(h.flags, "--image-rewrite", image+"="+tagStandIn(t, e, image, origin))
			}
			playOne(t, e, repository, filepath.Base(file), h)
		})
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
	result string
	jobs   map[string]string
	images map[string]string
	flags  []string
}

func readHeader(text string) header {
	h := header{jobs: map[string]string{}, images: map[string]string{}}
	flag := map[string]string{"inputs": "--input", "secrets": "--secret", "vars": "--var"}
	for _, m := range regexp.MustCompile(`(?m)^# (\w+): (.*)$`).FindAllStringSubmatch(text, -1) {
		for i, field := range strings.Fields(m[2]) {
			name, value, _ := strings.Cut(field, "=")
			switch {
			case m[1] == "expect" && i == 0:
				h.result = field
			case m[1] == "expect":
				id, result, _ := strings.Cut(value, ":")
				h.jobs[id] = result
			case m[1] == "images":
				h.images[name] = value
			case flag[m[1]] != "":
				h.flags = append(h.flags, flag[m[1]], field)
			}
		}
	}
	return h
}

// playOne runs a workflow and compares its results with the expected ones. Nothing may be left of it.
func playOne(t *testing.T, e *testbed.Engine, repository, file string, h header) {
	state := filepath.Join(t.TempDir(), "state")
	cmd := runCommand(t, e, state, append([]string{file, "--json", "--actions-dir", "standins/actions"}, h.flags...)...)
	cmd.Dir = repository
	out, _ := cmd.Output()
	status := map[string]int{"success": 0, "failure": 1}[h.result]
	if cmd.ProcessState.ExitCode() != status {
		t.Errorf("status %d, want %d", cmd.ProcessState.ExitCode(), status)
	}
	results := map[string]string{}
	for line := range strings.Lines(string(out)) {
		var event jobevent.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if event.Kind == jobevent.RunEnded {
			results = event.Props
		}
	}
	for id, want := range h.jobs {
		if results[id] != want {
			t.Errorf("job %s: %q, want %s", id, results[id], want)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", out, cmd.Stderr)
	}
	nothingOf(t, e, state)
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
