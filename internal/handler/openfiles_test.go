package handler

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/jobrecord"
)

// A runner with umask 077 and an image whose user is another one: the step must be able to write what steps write,
// and to read its actions and its event; nothing else is opened.
func TestFoldersAreOpenedForAnotherUser(t *testing.T) {
	work := t.TempDir()
	want := map[string]os.FileMode{
		".": 0o711, "_temp": 0o777, "_temp/_runner_file_commands": 0o777, "_temp/_github_home": 0o777, "_tool": 0o777,
		"_temp/_github_workflow": 0o755, "_temp/_github_workflow/event.json": 0o644,
		"_actions": 0o755, "_actions/o": 0o755, "_actions/o/run.sh": 0o755,
		"repo": 0o777, "repo/repo": 0o777, "repo/repo/a": 0o666, "repo/repo/bin": 0o777, "repo/repo/bin/x": 0o777,
		"other": 0o700, "other/secret": 0o600, "_temp/.gantry": 0o700,
	}
	modes := map[string]os.FileMode{
		"_temp/_github_workflow/event.json": 0o600, "_actions/o/run.sh": 0o700, "repo/repo/a": 0o600, "repo/repo/bin/x": 0o700,
		"other/secret": 0o600,
	}
	for name := range want {
		path := filepath.Join(work, name)
		mode, isFile := modes[name]
		if !isFile {
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.Chmod(path, 0o700))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, nil, mode))
	}
	rec := &jobrecord.Record{Work: work, Container: &jobrecord.Container{Mounts: []jobrecord.Mount{{Source: work, Target: "/__w"}}}}
	must(t, openFolders(rec, "/__w/repo/repo"))
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(work, name))
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
