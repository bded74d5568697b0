package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed"
)

const (
	// envDemo names a folder with the demo's program, and a copy of the folder that it runs.
	envDemo = "GANTRY_TEST_DEMO"
	// envGo is the path of the go program, which builds the demo's images.
	envGo = "GANTRY_TEST_GO"
)

// What README shows first works, and takes everything away again. (That no container and no network is left the demo
// checks itself: it fails otherwise.)
func TestDemo(t *testing.T) {
	dir, goProgram := demoFolder(t), goProgram(t)
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin), envDemo+"="+dir, envGo+"="+goProgram) {
				return
			}
			out, err := demoOn(t, e, dir).CombinedOutput()
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
	dir := demoFolder(t)
	cmd := exec.CommandContext(ctx(t), filepath.Join(dir, "demo"), "-engine", "docker")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(t.TempDir(), "no.sock"))
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("it succeeded:\n%s", out)
	}
	contains(t, string(out), "docker", "no.sock")
}

// demoFolder builds the demo where every user can run it.
func demoFolder(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(envDemo); dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("/tmp", "gantry-demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"chmod", "755", dir},
		{"cp", "-R", "--parents", "go.mod", "go.sum", "examples", "internal/testbed/images", dir}, // it builds its images
		{"go", "build", "-o", dir, "./examples/demo"},
	} {
		cmd := exec.CommandContext(ctx(t), args[0], args[1:]...)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("preparing the demo: %v\n%s", err, out)
		}
	}
	return dir
}

// goProgram is the path of go, also where another user's PATH does not lead to it.
func goProgram(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(envGo); path != "" {
		return path
	}
	path, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// demoOn is a run of the demo with this process' environment and what leads to the engine.
func demoOn(t *testing.T, e *testbed.Engine, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx(t), filepath.Join(dir, "demo"), "-engine", e.Name, "-bin", os.Getenv(envBin))
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "PATH=") })
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(goProgram(t))+":"+os.Getenv("PATH"))
	for _, kv := range e.Env {
		if !strings.HasPrefix(kv, "PATH=") && (os.Getuid() != 0 || !strings.HasPrefix(kv, "HOME=")) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	return cmd
}
