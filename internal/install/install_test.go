package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/install"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// bench is a runner's folder and a folder of programs.
type bench struct {
	t       *testing.T
	options install.Options
}

func newBench(t *testing.T, env string) *bench {
	t.Helper()
	base := t.TempDir()
	b := &bench{t: t}
	b.write(filepath.Join(base, "runner/config.sh"), "", 0o755)
	if env != "" {
		b.write(filepath.Join(base, "runner/.env"), env, 0o644)
	}
	for _, name := range []string{"gantry", "gantry-agent", "hook.sh"} {
		b.write(filepath.Join(base, "dist", name), "#!/bin/sh\necho 1.0\n", 0o755)
	}
	runner, err := runnerdir.Open(filepath.Join(base, "runner"))
	if err != nil {
		t.Fatal(err)
	}
	b.options = install.Options{Runner: runner, HookDir: filepath.Join(base, "hook"), Source: filepath.Join(base, "dist")}
	return b
}

func (b *bench) write(path, text string, mode os.FileMode) {
	b.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) install() *install.Report {
	b.t.Helper()
	report, err := install.Install(b.t.Context(), b.options)
	if err != nil {
		b.t.Fatal(err)
	}
	return report
}

func (b *bench) uninstall() *install.Report {
	b.t.Helper()
	options := b.options
	options.HookDir = ""
	report, err := install.Uninstall(options)
	if err != nil {
		b.t.Fatal(err)
	}
	return report
}

func (b *bench) env() string {
	b.t.Helper()
	text, err := os.ReadFile(b.options.Runner.EnvPath())
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestUninstallBringsBackWhatWasThere(t *testing.T) {
	for name, before := range map[string]string{
		"nothing":             "LANG=C\n",
		"another hook":        "LANG=C\nACTIONS_RUNNER_CONTAINER_HOOKS=/k8s/index.js\nPATH_TO=x\n",
		"a value with =":      "ACTIONS_RUNNER_CONTAINER_HOOKS=/a=b%3D/index.js\n",
		"an engine":           "GANTRY_ENGINE=docker\nGANTRY_PULL=missing\n",
		"lines of other ways": "# a comment\n\nX\n=Y\nLANG=C\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, before)
			b.options.Engine = "podman"
			b.install()
			env := runnerdir.ParseEnv(b.env())
			for variable, want := range map[string]string{
				install.HookVariable:   b.options.HookDir + "/hook.sh",
				install.RunnerVariable: b.options.Runner.Dir,
				install.EngineVariable: "podman",
			} {
				if got, _ := env.Get(variable); got != want {
					t.Errorf("%s is %q, want %q", variable, got, want)
				}
			}
			b.uninstall()
			if after := b.env(); after != before {
				t.Errorf("after:\n%s\nbefore:\n%s", after, before)
			}
			if _, err := os.Stat(b.options.HookDir); err == nil {
				t.Error("the programs are still there")
			}
		})
	}
}

func TestInstallTwiceIsInstallOnce(t *testing.T) {
	b := newBench(t, "ACTIONS_RUNNER_CONTAINER_HOOKS=/k8s/index.js")
	b.install()
	once := b.env()
	report := b.install()
	if b.env() != once || len(report.Done) > 0 {
		t.Errorf("the second time did %q:\n%s", report.Done, b.env())
	}
}

// The runner takes the last of several lines; after an installation there is one.
func TestSeveralLinesBecomeOne(t *testing.T) {
	b := newBench(t, "ACTIONS_RUNNER_CONTAINER_HOOKS=/a.js\nX=1\nACTIONS_RUNNER_CONTAINER_HOOKS=/b.js\n")
	b.install()
	if n := strings.Count(b.env(), install.HookVariable+"="); n != 1 {
		t.Errorf("%d lines:\n%s", n, b.env())
	}
	b.uninstall()
	if hook, _ := runnerdir.ParseEnv(b.env()).Get(install.HookVariable); hook != "/b.js" {
		t.Errorf("brought back %q, but /b.js was in force", hook)
	}
}

func TestAnotherHookIsNotUninstalled(t *testing.T) {
	const before = "ACTIONS_RUNNER_CONTAINER_HOOKS=/k8s/index.js\n"
	b := newBench(t, before)
	b.uninstall()
	if b.env() != before {
		t.Errorf("after:\n%s", b.env())
	}
}

func TestProgramsStayWhileAnotherRunnerUsesThem(t *testing.T) {
	b := newBench(t, "")
	b.install()
	other := *b
	b.write(filepath.Join(filepath.Dir(b.options.HookDir), "runner2/config.sh"), "", 0o755)
	var err error
	if other.options.Runner, err = runnerdir.Open(filepath.Join(filepath.Dir(b.options.HookDir), "runner2")); err != nil {
		t.Fatal(err)
	}
	other.install()
	b.uninstall()
	if _, err := os.Stat(filepath.Join(b.options.HookDir, "hook.sh")); err != nil {
		t.Fatalf("the other runner has lost its hook: %v", err)
	}
	other.uninstall()
	if _, err := os.Stat(b.options.HookDir); err == nil {
		t.Error("the programs are still there after the last runner")
	}
}

func TestForeignFilesAreNeverRemoved(t *testing.T) {
	b := newBench(t, "")
	b.install()
	config := filepath.Join(b.options.HookDir, "gantry.yaml")
	b.write(config, "engine: podman\n", 0o644)
	b.uninstall()
	if _, err := os.Stat(config); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(b.options.HookDir, "hook.sh")); err == nil {
		t.Error("the hook is still there")
	}
}

// Somebody unpacked the programs to where they are to stay.
func TestProgramsInPlaceAreUsedAndNotRemoved(t *testing.T) {
	b := newBench(t, "")
	b.options.HookDir = b.options.Source
	b.install()
	b.uninstall()
	if _, err := os.Stat(filepath.Join(b.options.Source, "gantry")); err != nil {
		t.Error(err)
	}
}

// A step that runs holds the program it was started from.
func TestAnUpdateDoesNotTouchTheOldFile(t *testing.T) {
	b := newBench(t, "")
	b.install()
	agent := filepath.Join(b.options.HookDir, "gantry-agent")
	running, err := os.Open(agent)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	b.write(filepath.Join(b.options.Source, "gantry-agent"), "#!/bin/sh\necho 2.0\n", 0o755)
	b.install()
	text := make([]byte, 100)
	n, err := running.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "1.0") {
		t.Errorf("the running program's file says %q, %v", text[:n], err)
	}
	if now, _ := os.ReadFile(agent); !strings.Contains(string(now), "2.0") {
		t.Errorf("the new file says %q", now)
	}
}

func TestWhatCannotWorkIsRefusedBeforeAnythingIsDone(t *testing.T) {
	for name, spoil := range map[string]func(b *bench){
		"a blank in the path": func(b *bench) { b.options.HookDir += "/x y" },
		"a quote in the path": func(b *bench) { b.options.HookDir += `/x"y` },
		"in the runner":       func(b *bench) { b.options.HookDir = filepath.Join(b.options.Runner.Dir, "hook") },
		"in it by a link": func(b *bench) {
			link := b.options.HookDir + "-link"
			if err := os.Symlink(b.options.Runner.Dir, link); err != nil {
				b.t.Fatal(err)
			}
			b.options.HookDir = filepath.Join(link, "hook")
		},
		"no shim": func(b *bench) {
			if err := os.Remove(filepath.Join(b.options.Source, "hook.sh")); err != nil {
				b.t.Fatal(err)
			}
		},
		"programs that do not run": func(b *bench) {
			b.write(filepath.Join(b.options.Source, "gantry-agent"), "\x7fELF nonsense", 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "LANG=C\n")
			spoil(b)
			_, err := install.Install(t.Context(), b.options)
			if v := verdict.Of(err); err == nil || v.Whose == verdict.Bug || v.Hint == "" {
				t.Errorf("error %v", err)
			}
			if b.env() != "LANG=C\n" {
				t.Errorf("the runner's .env file was changed:\n%s", b.env())
			}
		})
	}
}

func TestMisgivings(t *testing.T) {
	b := newBench(t, "")
	work := filepath.Join(t.TempDir(), "work")
	b.write(filepath.Join(b.options.Runner.Dir, ".runner"), `{"workFolder":"`+work+`"}`, 0o644)
	runner, err := runnerdir.Open(b.options.Runner.Dir)
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(work, "hook"): "work folder",
		filepath.Join(open, "hook"): "everybody",
	} {
		if all := strings.Join(install.Misgivings(dir, runner), "\n"); !strings.Contains(all, want) {
			t.Errorf("%s: %q does not speak of %q", dir, all, want)
		}
	}
}
