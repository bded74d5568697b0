package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// A machine that can run jobs passes, with a real job, as the engine's user; and nothing of that job stays.
func TestARealMachinePasses(t *testing.T) {
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			b := newRunner(t, e)
			b.run("install", "--runner", b.runner, "--hook-dir", b.hook, "--engine", e.Name)
			found := b.examine("--runner", b.runner)
			for _, code := range []string{"G101", "G102", "G203", "G205", "G501", "G502", "G503", "G504", "G505", "G506"} {
				if f := found[code]; f.Status != doctor.OK {
					t.Errorf("%s: %+v", code, f)
				}
			}
			for code, f := range found {
				if f.Status == doctor.Fail {
					t.Errorf("%s: %+v", code, f)
				}
			}
			b.nothingLeft()
		})
	}
}

// Rules of the administrator that are about other images do not get into the way.
func TestThePolicyIsForOtherImages(t *testing.T) {
	b := newRunner(t, testbed.Docker(t))
	put(t, filepath.Join(filepath.Dir(b.runner), "gantry.yaml"),
		"pull: always\nimage_rewrite: {docker.io: mirror.invalid}\npolicy: {images: ['ghcr.io/acme/**'], require_digest: true}\n")
	found := b.examine("--runner", b.runner, "--config", filepath.Join(filepath.Dir(b.runner), "gantry.yaml"))
	for _, code := range []string{"G301", "G502", "G503", "G505", "G506"} {
		if f := found[code]; f.Status != doctor.OK {
			t.Errorf("%s: %+v", code, f)
		}
	}
	b.nothingLeft()
}

// A job that cannot be started is a finding with the engine's words, and is cleaned up all the same.
func TestAJobThatCannotStart(t *testing.T) {
	b := newRunner(t, testbed.Docker(t))
	put(t, filepath.Join(filepath.Dir(b.runner), "gantry.yaml"), "create_args: {job: ['--network=no-such-network']}\n")
	found := b.examine("--runner", b.runner, "--config", filepath.Join(filepath.Dir(b.runner), "gantry.yaml"))
	if f := found["G502"]; f.Status != doctor.Fail || !strings.Contains(f.Detail, "no-such-network") || f.NextStep == "" {
		t.Errorf("G502: %+v", f)
	}
	if f := found["G503"]; f.Status != doctor.Skipped {
		t.Errorf("G503: %+v", f)
	}
	if f := found["G506"]; f.Status != doctor.OK {
		t.Errorf("G506: %+v", f)
	}
	b.nothingLeft()
}

// bench is a runner's folder of the engine's user, and the built programs.
type bench struct {
	t            *testing.T
	engine       *testbed.Engine
	programs     string
	runner, hook string
}

func newRunner(t *testing.T, e *testbed.Engine) *bench {
	t.Helper()
	base, err := os.MkdirTemp(e.Home, "doctor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, engine: e, programs: filepath.Join(base, "dist"), runner: filepath.Join(base, "runner"), hook: filepath.Join(base, "hook")}
	if err := os.MkdirAll(filepath.Join(b.runner, "_work"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(b.runner, ".runner"), `{"agentName":"doctor","workFolder":"_work"}`)
	buildPrograms(t, b.programs)
	err = filepath.WalkDir(base, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, e.UID, e.GID))
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func buildPrograms(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X main.version=test",
		"-o", dir+"/", "./cmd/gantry", "./cmd/gantry-agent")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	shim, err := os.ReadFile("../../cmd/gantry-agent/hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "hook.sh"), string(shim))
}

// run runs the built program as the engine's user.
func (b *bench) run(args ...string) []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := b.engine.Program(ctx, filepath.Join(b.programs, "gantry"), args...)
	cmd.Env = append(cmd.Env, "GANTRY_STATE_DIR="+b.runner+"-state", "GANTRY_ENGINE="+b.engine.Name)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		b.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func (b *bench) examine(args ...string) map[string]doctor.Finding {
	b.t.Helper()
	var said struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(b.run(append([]string{"doctor", "--json"}, args...)...), &said); err != nil {
		b.t.Fatal(err)
	}
	found := map[string]doctor.Finding{}
	for _, f := range said.Findings {
		found[f.Code] = f
	}
	return found
}

func (b *bench) nothingLeft() {
	b.t.Helper()
	if left, err := os.ReadDir(filepath.Join(b.runner, "_work")); err != nil || len(left) > 0 {
		b.t.Errorf("in the work folder: %v, %v", left, err)
	}
	if left, err := filepath.Glob(b.runner + "-state/*.json"); err != nil || len(left) > 0 {
		b.t.Errorf("job records: %v, %v", left, err)
	}
	out, err := b.engine.Command(b.t.Context(), "images", "-q", "--filter", "label=io.gantry.doctor").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		b.t.Errorf("images: %s, %v", out, err)
	}
}
