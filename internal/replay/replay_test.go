package replay_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/replay"
	"github.com/gantry-ci/gantry/internal/session"
)

// Work folder, workspace and temp folder are the replay's own; actions that are still there are used where they are.
func TestPathsLeadToTheReplaysFoldersUnlessTheyAreOnlyRead(t *testing.T) {
	recorded := filepath.Join(t.TempDir(), "_work")
	actions := filepath.Join(recorded, "_actions")
	root, out := t.TempDir(), filepath.Join(t.TempDir(), "input.json")
	hookPath := filepath.Join(t.TempDir(), "hook.sh")
	err := errors.Join(os.MkdirAll(actions, 0o755),
		os.WriteFile(hookPath, []byte("cat >>"+out+"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	args, err := json.Marshal(map[string]any{
		"dockerfile": actions + "/a/b/v1/Dockerfile",
		"environmentVariables": map[string]string{
			"LIST": recorded + "/repo:" + actions + "/x:/usr/bin", "OTHER": recorded + "-other",
		},
		"systemMountVolumes": []any{map[string]any{"sourceVolumePath": recorded + "/_temp/_github_home", "targetVolumePath": "/github/home"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &replay.Player{
		Session: &session.Session{Head: session.Head{Work: recorded}, Calls: []session.Call{
			{Command: hook.RunContainerStep, WorkDir: recorded + "/repo/repo", Input: session.Input{Args: args}},
			{Command: hook.CleanupJob, WorkDir: recorded + "/repo/repo"},
		}},
		Hook: hookPath, Root: root, Environ: []string{"PATH=/usr/bin:/bin"},
	}
	err = p.Play(t.Context(), func(r replay.Result) {
		if r.Err != nil || r.Differs() || r.Added {
			t.Errorf("%s: %+v", r.Command, r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		actions + "/a/b/v1/Dockerfile",
		root + "/_work/repo:" + actions + "/x:/usr/bin",
		recorded + "-other",
		root + "/_work/_temp/_github_home",
	} {
		if !strings.Contains(string(sent), `"`+want+`"`) {
			t.Errorf("%s is not in %s", want, sent)
		}
	}
	if _, err := os.Stat(filepath.Join(recorded, "repo")); err == nil {
		t.Error("the recorded work folder was written to")
	}
}
