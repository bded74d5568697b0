package handler

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/enginefake"
)

func TestWhereverAContainerSeesTheAgentsFoldersTheyAreCovered(t *testing.T) {
	root := t.TempDir()
	work := filepath.Join(root, "_work")
	h := &Handler{Runner: Runner{Work: work}, AgentPath: os.Args[0], Engine: enginefake.New()}
	dir := h.agentDir("x")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.makeAgentDir(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(work, link); err != nil {
		t.Fatal(err)
	}
	got := dir.covers([]engine.Mount{
		{Source: work, Target: "/__w"},
		{Source: filepath.Join(work, "_temp"), Target: "/__w/_temp"},
		{Source: filepath.Join(work, "_temp"), Target: "/github/runner_temp"},
		{Source: filepath.Join(work, "_temp/_github_home"), Target: "/github/home"},
		{Source: link, Target: "/by/link"},
		{Source: root, Target: "/all"},
		{Source: "/", Target: "/host"},
		{Source: "/elsewhere", Target: "/e"},
		{Source: "volume", Target: "/v"},
		{Source: "", Target: "/anonymous"},
	})
	cover := func(target string) engine.Mount {
		return engine.Mount{Source: filepath.Join(work, "_temp/.gantry/x/cover"), Target: target, ReadOnly: true, Cover: true}
	}
	want := []engine.Mount{
		cover("/__w/_temp/.gantry"), cover("/github/runner_temp/.gantry"), cover("/by/link/_temp/.gantry"),
		cover("/all/_work/_temp/.gantry"), cover(filepath.Join("/host", work, "_temp/.gantry")),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(want[0].Source); err != nil || len(left) > 0 {
		t.Errorf("the cover is not an empty folder: %v, %v", left, err)
	}
}

// A job that could write to _temp may have left anything where the agents' folders go.
func TestWhatAJobPutInPlaceOfTheAgentsFoldersGoes(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, path, elsewhere string) error{
		"a link":   func(_ *testing.T, path, elsewhere string) error { return os.Symlink(elsewhere, path) },
		"a file":   func(_ *testing.T, path, _ string) error { return os.WriteFile(path, nil, 0o666) },
		"a folder": func(_ *testing.T, path, _ string) error { return os.Mkdir(path, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			work, elsewhere := t.TempDir(), t.TempDir()
			if err := os.Mkdir(filepath.Join(work, "_temp"), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := plant(t, filepath.Join(work, "_temp/.gantry"), elsewhere); err != nil {
				t.Fatal(err)
			}
			h := &Handler{Runner: Runner{Work: work}, AgentPath: os.Args[0], Engine: enginefake.New()}
			dir := h.agentDir("x")
			if err := h.makeAgentDir(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			st, err := os.Lstat(filepath.Join(work, "_temp/.gantry"))
			if err != nil || !st.IsDir() || st.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", st, err)
			}
			if left, _ := os.ReadDir(elsewhere); len(left) > 0 {
				t.Errorf("%v was made elsewhere", left)
			}
			if err := removeAgentDirs(work, ""); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(filepath.Join(work, "_temp")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}
