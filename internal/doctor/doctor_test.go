package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// machine is a machine without an engine, with a runner that is well.
func machine(t *testing.T) doctor.Subject {
	t.Helper()
	base := t.TempDir()
	for name, text := range map[string]string{
		"runner/.runner":    `{"agentName":"r1","workFolder":"_work"}`,
		"hook/hook.sh":      "",
		"hook/gantry":       "#!/bin/sh\necho gantry 1.0 linux\n",
		"hook/gantry-agent": "#!/bin/sh\necho 1.0\n",
	} {
		path := filepath.Join(base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(base, "runner/_work"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := runnerdir.Open(filepath.Join(base, "runner"))
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Subject{
		Runner: r, UID: os.Getuid(), ProgramDir: filepath.Join(base, "hook"), Config: config.Default(),
		Environ:  []string{"ACTIONS_RUNNER_CONTAINER_HOOKS=" + filepath.Join(base, "hook/hook.sh")},
		StateDir: filepath.Join(base, "state"), TempDir: base,
		OpenEngine: func(context.Context) (engine.Engine, error) {
			return nil, verdict.New(verdict.Infrastructure, "start it", "no engine: %w", engine.ErrUnavailable)
		},
	}
}

func examine(t *testing.T, s doctor.Subject) map[string]doctor.Finding {
	t.Helper()
	found := map[string]doctor.Finding{}
	doctor.Examine(t.Context(), s, func(f doctor.Finding) {
		if _, twice := found[f.Code]; twice {
			t.Errorf("%s is told twice", f.Code)
		}
		found[f.Code] = f
	})
	return found
}

// What is wrong has an owner and a next step; what is not wrong has neither.
func TestEveryFindingIsComplete(t *testing.T) {
	s := machine(t)
	s.Environ = nil
	for code, f := range examine(t, s) {
		bad := f.Status == doctor.Warn || f.Status == doctor.Fail
		if f.Title == "" || f.Detail == "" || bad != (f.Whose != "") || bad != (f.NextStep != "") {
			t.Errorf("%s: %+v", code, f)
		}
	}
}

func TestOnlyTheSpoiltCheckSpeaks(t *testing.T) {
	healthy := examine(t, machine(t))
	for _, c := range []struct {
		name, code string
		status     doctor.Status
		spoil      func(t *testing.T, s *doctor.Subject)
	}{
		{"no hook", "G203", doctor.Fail, func(_ *testing.T, s *doctor.Subject) { s.Environ = nil }},
		{"a quoted hook", "G203", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			name, value, _ := strings.Cut(s.Environ[0], "=")
			s.Environ = []string{name + `="` + value + `"`}
		}},
		{"the misspelt name of GitHub's page", "G203", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			s.Environ = []string{"ACTIONS_RUNNER_CONTAINER_HOOK=/opt/gantry/hook.sh"}
		}},
		{"the variable of GitHub's page", "G203", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			s.Environ = append(s.Environ, "ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER=/opt/gantry/hook.sh")
		}},
		{"the settings of a copied runner", "G203", doctor.Fail, func(t *testing.T, s *doctor.Subject) {
			s.Environ = append(s.Environ, "GANTRY_RUNNER_DIR="+t.TempDir())
		}},
		{"a hook that is not there", "G204", doctor.Fail, func(_ *testing.T, s *doctor.Subject) { s.Environ[0] += "x.sh" }},
		{"a hook with another ending", "G204", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			s.Environ[0] = "ACTIONS_RUNNER_CONTAINER_HOOKS=" + filepath.Join(s.ProgramDir, "gantry")
		}},
		{"a hook that everybody can replace", "G204", doctor.Warn, func(t *testing.T, s *doctor.Subject) {
			chmod(t, s.ProgramDir, 0o777)
		}},
		{"an agent of another release", "G205", doctor.Fail, func(t *testing.T, s *doctor.Subject) {
			put(t, filepath.Join(s.ProgramDir, "gantry-agent"), "#!/bin/sh\necho 2.0\n")
		}},
		{"an agent that does not run", "G402", doctor.Fail, func(t *testing.T, s *doctor.Subject) {
			put(t, filepath.Join(s.ProgramDir, "gantry-agent"), "\x7fELF")
		}},
		{"a wrong configuration", "G301", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			s.ConfigErr = config.Problems{{Text: "wrong"}}
		}},
		{"records in the work folder", "G302", doctor.Fail, func(_ *testing.T, s *doctor.Subject) {
			s.StateDir = filepath.Join(s.Runner.Work, "state")
		}},
		{"records for everybody", "G302", doctor.Fail, func(t *testing.T, s *doctor.Subject) {
			if err := os.Mkdir(s.StateDir, 0o700); err != nil {
				t.Fatal(err)
			}
			chmod(t, s.StateDir, 0o777)
		}},
		{"another user", "G202", doctor.Warn, func(_ *testing.T, s *doctor.Subject) { s.UID++ }},
		{"a runner that is not configured", "G201", doctor.Warn, func(_ *testing.T, s *doctor.Subject) { s.Runner.Configured = false }},
		{"no runner", "G201", doctor.Warn, func(_ *testing.T, s *doctor.Subject) { s.Runner = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f := healthy[c.code]; f.Status != doctor.OK {
				t.Fatalf("without the mistake: %+v", f)
			}
			s := machine(t)
			c.spoil(t, &s)
			if f := examine(t, s)[c.code]; f.Status != c.status {
				t.Errorf("%+v, want %s", f, c.status)
			}
		})
	}
}

func TestTheDocumentationHasEveryCheck(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	found := examine(t, machine(t))
	for code := range found {
		if !strings.Contains(string(page), "| "+code+" | ") {
			t.Errorf("%s (%s) is not in docs/doctor.md", code, found[code].Title)
		}
	}
	if rows := strings.Count(string(page), "\n| G"); rows != len(found) {
		t.Errorf("docs/doctor.md has %d checks, the doctor %d", rows, len(found))
	}
}

func TestAnErrorOfTheEngineKeepsItsVerdict(t *testing.T) {
	s := machine(t)
	s.OpenEngine = func(context.Context) (engine.Engine, error) {
		return nil, &verdict.Error{Whose: verdict.Infrastructure, Err: errors.New("no"), Command: "docker info", Output: "permission denied", Hint: "usermod"}
	}
	f := examine(t, s)["G101"]
	if f.Status != doctor.Fail || f.Whose != verdict.Infrastructure || f.NextStep != "usermod" ||
		!strings.Contains(f.Detail, "docker info") || !strings.Contains(f.Detail, "permission denied") {
		t.Errorf("%+v", f)
	}
}

func TestNothingStays(t *testing.T) {
	s := machine(t)
	examine(t, s)
	left, err := os.ReadDir(s.Runner.Work)
	if err != nil || len(left) > 0 {
		t.Errorf("in the work folder: %v, %v", left, err)
	}
	if _, err := os.Stat(s.StateDir); err == nil {
		t.Error("the state folder was made")
	}
}

func TestAFileSystemWithoutPrograms(t *testing.T) {
	s := machine(t)
	if err := syscall.Mount("none", s.Runner.Work, "tmpfs", syscall.MS_NOEXEC, ""); err != nil {
		t.Skipf("this user cannot mount one: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(s.Runner.Work, 0); err != nil {
			t.Error(err)
		}
	}()
	f := examine(t, s)["G402"]
	if f.Status != doctor.Fail || !strings.Contains(f.NextStep, "noexec") {
		t.Errorf("%+v", f)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
