package session_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/session"
)

const job = "0123456789abcdef0123456789abcdef"

func input(command hook.Command, args, state string) *hook.Input {
	return &hook.Input{Command: command, ResponseFile: "/w/_temp/r.json", Args: json.RawMessage(args), State: json.RawMessage(state)}
}

func record(t *testing.T, r session.Recorder, s session.Started, response string) {
	t.Helper()
	if s.Time.IsZero() {
		s.Time = time.Now()
	}
	rec, err := r.Begin(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.End(session.Outcome{ExitStatus: 3, Seconds: 1.5}, []byte(response)); err != nil {
		t.Fatal(err)
	}
}

func only(t *testing.T, dir string) *session.Session {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%d sessions, want one: %v %v", len(dirs), dirs, err)
	}
	s, err := session.Read(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCallsOfAJobAreOneSession(t *testing.T) {
	dir := t.TempDir()
	worker := session.Recorder{Dir: dir, Worker: "10.1", Head: session.Head{Runner: "abcdef", Work: "/w"}}
	elsewhere := worker
	elsewhere.Worker = "11.1"
	state := `{"gantry":1,"job":"` + job + `"}`
	record(t, worker, session.Started{Input: input(hook.PrepareJob, `{"container":null,"services":[]}`, `null`)}, `{"state":`+state+`}`)
	record(t, worker, session.Started{Input: input(hook.RunContainerStep, `{}`, `null`)}, ``)
	record(t, elsewhere, session.Started{Input: input(hook.RunScriptStep, `{}`, state)}, ``)
	record(t, worker, session.Started{Input: input(hook.CleanupJob, `{}`, state)}, ``)
	s := only(t, dir)
	var commands []string
	for _, c := range s.Calls {
		commands = append(commands, string(c.Command))
	}
	if got := strings.Join(commands, " "); got != "prepare_job run_container_step run_script_step cleanup_job" {
		t.Errorf("calls: %s", got)
	}
	if o := s.Calls[0].Outcome; o == nil || o.ExitStatus != 3 || o.Took() != 1500*time.Millisecond || len(o.Response) == 0 {
		t.Errorf("outcome: %+v", o)
	}
}

func TestEveryPrepareJobOpensASession(t *testing.T) {
	dir := t.TempDir()
	r := session.Recorder{Dir: dir, Worker: "10.1", Head: session.Head{Runner: "abcdef"}}
	now := time.Now()
	for i := range 2 {
		record(t, r, session.Started{Input: input(hook.PrepareJob, `{}`, `null`), Time: now.Add(time.Duration(i) * time.Second)}, ``)
	}
	dirs, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(dirs) != 2 {
		t.Errorf("%d sessions, want 2", len(dirs))
	}
}

func TestACallThatWasKilledIsThereWithoutOutcome(t *testing.T) {
	dir := t.TempDir()
	r := session.Recorder{Dir: dir, Worker: "10.1"}
	if _, err := r.Begin(session.Started{Input: input(hook.PrepareJob, `{}`, ``), Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if s := only(t, dir); s.Calls[0].Outcome != nil || s.Calls[0].Command != hook.PrepareJob {
		t.Errorf("%+v", s.Calls[0])
	}
}

func TestStepsSideBySideAreAllRecorded(t *testing.T) {
	dir := t.TempDir()
	r := session.Recorder{Dir: dir, Worker: "10.1"}
	record(t, r, session.Started{Input: input(hook.PrepareJob, `{}`, ``)}, ``)
	const steps = 32
	var wg sync.WaitGroup
	for range steps {
		wg.Go(func() { record(t, r, session.Started{Input: input(hook.RunScriptStep, `{}`, ``)}, ``) })
	}
	wg.Wait()
	s := only(t, dir)
	if len(s.Calls) != steps+1 {
		t.Errorf("%d calls, want %d", len(s.Calls), steps+1)
	}
	for i, c := range s.Calls {
		if c.Number != i+1 {
			t.Errorf("call %d has number %d", i+1, c.Number)
		}
	}
}

func TestScriptsAreKeptAndLinksAreNotFollowed(t *testing.T) {
	dir, work := t.TempDir(), t.TempDir()
	temp := filepath.Join(work, "_temp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(temp, "1.sh"), []byte("echo hello supersecretvalue"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(temp, "2.sh")); err != nil {
		t.Fatal(err)
	}
	r := session.Recorder{Dir: dir, Worker: "1.1", Head: session.Head{Work: work}}
	args := `{"entryPoint":"bash","entryPointArgs":["-e","/__w/_temp/1.sh","/__w/_temp/2.sh","/__w/_temp/none.sh"],` +
		`"environmentVariables":{"A_TOKEN":"supersecretvalue"},"prependPath":[],"workingDirectory":"/__w"}`
	record(t, r, session.Started{
		Input:   input(hook.RunScriptStep, args, `null`),
		Environ: []string{"GITHUB_REPOSITORY=a/b", "GITHUB_TOKEN=supersecretvalue", "HOME=/root", "RUNNER_TEMP=" + temp},
	}, ``)
	c := only(t, dir).Calls[0]
	if len(c.Scripts) != 1 || c.Scripts["1.sh"] != "echo hello ***" {
		t.Errorf("scripts: %q", c.Scripts)
	}
	if e := c.Environment; len(e) != 3 || e["GITHUB_TOKEN"] != "***" || e["RUNNER_TEMP"] != temp {
		t.Errorf("environment: %q", e)
	}
}

func TestOnlyTheUserCanReadIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	r := session.Recorder{Dir: dir, Worker: "1.1"}
	record(t, r, session.Started{Input: input(hook.PrepareJob, `{}`, ``)}, `not JSON`)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
