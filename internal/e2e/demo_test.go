package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// What README shows first works, and takes everything away again. (That no container and no network is left the demo
// checks itself: it fails otherwise.)
func TestDemo(t *testing.T) {
	demo := buildDemo(t)
	for _, e := range []*testbed.Engine{testbed.Docker(t), testbed.Podman(t)} {
		t.Run(e.Label, func(t *testing.T) {
			out, err := demoOn(t, e, demo).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			contains(t, string(out), "version 1.2.3", "Hello Bob! This is greet 1.2.3, greeting number 2!", "+PONG",
				"gantry: workflow: step exited with status 1", "notes of release 1.2.3", "characters, says node", "success in ")
			if images := engineSays(t, e, "images", "--format", "{{.Repository}}"); strings.Contains(images, "gantry.demo/") {
				t.Errorf("images of the demo are left:\n%s", images)
			}
		})
	}
}

// An engine that cannot be had is named, with what to do.
func TestDemoSaysWhatIsMissing(t *testing.T) {
	cmd := exec.CommandContext(ctx(t), buildDemo(t), "-engine", "docker")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(t.TempDir(), "no.sock"))
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("it succeeded:\n%s", out)
	}
	contains(t, string(out), "docker", "no.sock")
}

func buildDemo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "demo")
	cmd := exec.CommandContext(ctx(t), "go", "build", "-o", path, "./examples/demo")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	return path
}

// demoOn is a run of the demo in the project's folder, with this process' environment and what leads to the engine.
func demoOn(t *testing.T, e *testbed.Engine, demo string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx(t), demo, "-engine", e.Name, "-bin", os.Getenv(envBin))
	cmd.Dir = "../.."
	cmd.Env = os.Environ()
	for _, kv := range e.Env {
		if !strings.HasPrefix(kv, "PATH=") && !strings.HasPrefix(kv, "HOME=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	return cmd
}
