package runnerdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/runnerdir"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestTheSettingsTellNameAndWorkFolder(t *testing.T) {
	for text, work := range map[string]string{
		"\ufeff{\"agentName\":\"r1\",\"workFolder\":\"_work\"}": "_work",
		`{"AgentName":"r1","WorkFolder":"build"}`:               "build",
		`{"agentName":"r1","workFolder":"/data/work"}`:          "/data/work",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, ".runner"), text)
		r, err := runnerdir.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsAbs(work) {
			work = filepath.Join(dir, work)
		}
		if r.Work != work || r.Name != "r1" || !r.Configured {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

func TestARunnerThatIsNotConfiguredYet(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.sh"), "")
	r, err := runnerdir.Open(dir)
	if err != nil || r.Configured || r.Work != filepath.Join(dir, "_work") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFindGoesUpward(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".runner"), "{}")
	below := filepath.Join(dir, "_work/repo/repo")
	write(t, filepath.Join(below, "run.sh"), "") // some project's
	r, err := runnerdir.Find(append([]string{"", filepath.Join(dir, "none")}, runnerdir.Above(below)...)...)
	if err != nil || r.Dir != dir {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := runnerdir.Find(t.TempDir()); !errors.Is(err, runnerdir.ErrNone) {
		t.Errorf("a folder that is none: %v", err)
	}
}

// The rules are those of the runner's own reader.
func TestEnvIsReadAsTheRunnerDoes(t *testing.T) {
	e := runnerdir.ParseEnv("A=1\r\n#B=2\nC\n=D\nA= x=\"y\" \nE=")
	for name, want := range map[string]string{"A": ` x="y" `, "E": ""} {
		if got, ok := e.Get(name); got != want || !ok {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"B", "C", "D", ""} {
		if got, ok := e.Get(name); ok && name != "" {
			t.Errorf("%s is set to %q", name, got)
		}
	}
	if got := strings.Join(e.Over([]string{"A=0", "Z=9"}), " | "); got != `A=0 | Z=9 | A=1 | A= x="y"  | E=` {
		t.Errorf("environment: %s", got)
	}
}

func TestWriteKeepsTheMode(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "run.sh"), "")
	write(t, filepath.Join(dir, ".env"), "A=1")
	r, err := runnerdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(runnerdir.ParseEnv("A=2")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(r.EnvPath())
	if string(text) != "A=2\n" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(r.EnvPath()); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	names, err := os.ReadDir(dir)
	if len(names) != 2 || err != nil {
		t.Errorf("something was left: %v, %v", names, err)
	}
}

func TestWriteRefusesALink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "precious")
	write(t, filepath.Join(dir, "run.sh"), "")
	write(t, other, "precious")
	if err := os.Symlink(other, filepath.Join(dir, ".env")); err != nil {
		t.Fatal(err)
	}
	r, err := runnerdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(runnerdir.ParseEnv("A=2")); err == nil {
		t.Error("a link is written through")
	}
	if text, _ := os.ReadFile(other); string(text) != "precious" {
		t.Errorf("the file behind it says %q", text)
	}
}
