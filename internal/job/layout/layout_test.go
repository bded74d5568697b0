package layout_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/layout"
)

func dirs() layout.Dirs { return layout.New("/home/runner", "repo") }

func TestPathsReadAsInTheJobContainer(t *testing.T) {
	d := dirs()
	m := d.JobContainer(append(d.JobMounts(), hook.MountVolume{SourceVolumePath: "/srv/x", TargetVolumePath: "/x"}))
	for host, want := range map[string]string{
		"/home/runner/_work":                         "/__w",
		"/home/runner/_work/repo/repo":               "/__w/repo/repo",
		"/home/runner/_work/_temp/_github_home":      "/github/home",
		"/home/runner/_work/_temp/_github_home/a":    "/github/home/a",
		"/home/runner/_work/_temp/_github_homes":     "/__w/_temp/_github_homes",
		"/home/runner/_work/_temp/_github_workflow":  "/github/workflow",
		"/home/runner/_work/_tool/node":              "/__w/_tool/node",
		"/home/runner/externals/node20/bin/node":     "/__e/node20/bin/node",
		"/home/runner/_works":                        "/home/runner/_works",
		"/home/runner/_work/a:/home/runner/_work/b":  "/__w/a:/home/runner/_work/b",
		"--x=/home/runner/_work":                     "--x=/home/runner/_work",
		"x":                                          "x",
		"":                                           "",
		"/srv/x":                                     "/srv/x",
		"/home/runner/_work/_temp/_runner_file_c/xy": "/__w/_temp/_runner_file_c/xy",
	} {
		if got := m.Translate(host); got != want {
			t.Errorf("%s became %s, want %s", host, got, want)
		}
	}
	for path, want := range map[string]string{
		`"/home/runner/_work/repo"`: "/__w/repo",
		`"quoted"`:                  `"quoted"`,
		"/elsewhere":                "/elsewhere",
		"/srv/x/y":                  "/srv/x/y",
	} {
		if got := m.Resolve(path); got != want {
			t.Errorf("%s is resolved to %s, want %s", path, got, want)
		}
	}
}

func TestAToolCacheElsewhereHasItsOwnMount(t *testing.T) {
	d := dirs()
	d.Tool = "/opt/hostedtoolcache"
	if got := d.JobMounts()[5]; got.SourceVolumePath != "/opt/hostedtoolcache" || got.TargetVolumePath != "/__t" {
		t.Errorf("%+v", got)
	}
}

func TestPathsReadAsInAContainerAction(t *testing.T) {
	m := dirs().ActionContainer()
	for host, want := range map[string]string{
		"/home/runner/_work/repo/repo/a":                    "/github/workspace/a",
		"/home/runner/_work/repo":                           "/home/runner/_work/repo",
		"/home/runner/_work/_temp":                          "/github/runner_temp",
		"/home/runner/_work/_temp/_runner_file_commands/x":  "/github/file_commands/x",
		"/home/runner/_work/_temp/_github_home":             "/github/home",
		"/home/runner/_work/_temp/_github_workflow/ev.json": "/github/workflow/ev.json",
		"/home/runner/_work/_tool":                          "/home/runner/_work/_tool",
	} {
		if got := m.Translate(host); got != want {
			t.Errorf("%s became %s, want %s", host, got, want)
		}
	}
}

func TestTheTemporaryFolderIsMadeAnew(t *testing.T) {
	d := layout.New(t.TempDir(), "repo")
	for range 2 {
		if err := d.Create("runner", []byte(`{"a":1}`)); err != nil {
			t.Fatal(err)
		}
		old := filepath.Join(d.Temp, "old")
		if _, err := os.Stat(old); err == nil {
			t.Error("something old is still there")
		}
		if err := os.WriteFile(old, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if event, err := os.ReadFile(d.EventFile()); err != nil || string(event) != `{"a":1}` {
		t.Errorf("event %s, %v", event, err)
	}
	if _, err := os.Stat(filepath.Join(d.Root, ".runner")); err != nil {
		t.Error(err)
	}
}
