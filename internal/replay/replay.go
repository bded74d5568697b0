// Package replay plays recorded sessions against any hook program, as the runner would call it.
//
// The hook gets folders of its own in place of the recorded work folder, and the state that it answers itself. What
// the recording machine still has of actions and tools is used from there.
package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/session"
)

// Player plays one session.
type Player struct {
	Session *session.Session
	Hook    string // path of the hook program
	Node    string // for .js hooks
	// Root is an empty folder that becomes a runner's application directory.
	Root string
	// Environ is the environment of the hook, below what the runner adds.
	Environ []string
	// Rewrite maps images to others that are used instead.
	Rewrite map[string]string
	// Output gets what the hook prints; nil: nobody.
	Output io.Writer
}

// Result is one call that was played.
type Result struct {
	session.Call
	Status int
	Took   time.Duration
	Err    error // what the runner would have reported, if anything
	// Added says that the session ended without cleanup_job, which was therefore played at the end.
	Added bool
}

// Differs tells whether the call ended differently from the recorded one. A call whose end was not recorded cannot.
func (r Result) Differs() bool {
	if r.Added || r.Outcome == nil {
		return false
	}
	return r.Status != r.Outcome.ExitStatus
}

// Play plays all calls in their order and tells each result. It goes on after calls that fail, and makes sure that
// cleanup_job is the last. An error is one of the replay, not of the hook.
func (p *Player) Play(ctx context.Context, tell func(Result)) error {
	m, err := p.layOut()
	if err != nil {
		return err
	}
	client := &hook.Client{
		HookPath: p.Hook, Node: p.Node, TempDir: filepath.Join(m.work, "_temp"), Stdout: p.Output, Stderr: p.Output,
	}
	var state json.RawMessage
	var clean bool
	for _, call := range p.Session.Calls {
		if ctx.Err() != nil {
			break
		}
		result := p.call(ctx, client, m, call, &state)
		tell(result)
		clean = call.Command == hook.CleanupJob
	}
	if clean {
		return ctx.Err()
	}
	last := session.Call{Command: hook.CleanupJob, WorkDir: p.Session.Calls[0].WorkDir, Environment: p.Session.Calls[0].Environment}
	result := p.call(context.WithoutCancel(ctx), client, m, last, &state)
	result.Added = true
	tell(result)
	return ctx.Err()
}

func (p *Player) call(ctx context.Context, client *hook.Client, m *mapping, call session.Call, state *json.RawMessage) Result {
	result := Result{Call: call}
	args, err := p.prepare(m, call)
	if err != nil {
		result.Err, result.Status = err, -1
		return result
	}
	client.WorkDir = m.path(call.WorkDir)
	client.Env = p.environ(m, call)
	if call.Command == hook.PrepareJob {
		*state = nil
	}
	began := time.Now()
	got, err := client.Call(ctx, call.Command, args, *state)
	result.Took, result.Err, result.Status = time.Since(began), err, got.ExitCode
	*state = got.State
	return result
}

// prepare makes what the runner makes before a call, and gives the call's args.
func (p *Player) prepare(m *mapping, call session.Call) (any, error) {
	for name, text := range call.Scripts {
		if err := os.WriteFile(filepath.Join(m.work, "_temp", filepath.Base(name)), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("writing a recorded script: %w", err)
		}
	}
	if err := os.MkdirAll(m.path(call.WorkDir), 0o755); err != nil {
		return nil, fmt.Errorf("making the hook's current directory: %w", err)
	}
	if call.Command == hook.CleanupJob || len(call.Input.Args) == 0 {
		return nil, nil
	}
	var args any
	if err := json.Unmarshal(call.Input.Args, &args); err != nil {
		return nil, fmt.Errorf("reading the recorded args of call %d: %w", call.Number, err)
	}
	if err := m.fileCommands(args); err != nil {
		return nil, err
	}
	return p.rewrite(m.all(args)), nil
}

// rewrite replaces images, wherever args have them.
func (p *Player) rewrite(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = p.rewrite(value[i])
		}
	case map[string]any:
		for name, member := range value {
			image, isText := member.(string)
			if other, ok := p.Rewrite[image]; ok && isText && name == "image" {
				member = other
			}
			value[name] = p.rewrite(member)
		}
	}
	return value
}

// environ is what the runner gives its hook: what was recorded, with the paths of here.
func (p *Player) environ(m *mapping, call session.Call) []string {
	env := append([]string{}, p.Environ...)
	for name, value := range call.Environment {
		env = append(env, name+"="+m.text(value))
	}
	return append(env, "RUNNER_TEMP="+filepath.Join(m.work, "_temp"), "GANTRY_RUNNER_DIR="+p.Root, "GITHUB_ACTIONS=true", "CI=true")
}

// layOut makes a runner's folders.
func (p *Player) layOut() (*mapping, error) {
	m := newMapping(p.Session.Work, p.Root)
	for _, dir := range []string{
		"_temp/_github_home", "_temp/_github_workflow", "_temp/_runner_file_commands", "_actions", "_tool", "_PipelineMapping",
	} {
		if err := os.MkdirAll(filepath.Join(m.work, dir), 0o755); err != nil {
			return nil, fmt.Errorf("making a work folder: %w", err)
		}
	}
	err := errors.Join(
		os.MkdirAll(filepath.Join(p.Root, "externals"), 0o755),
		os.WriteFile(filepath.Join(p.Root, ".runner"), []byte(`{"agentName":"replay-`+filepath.Base(p.Root)+`"}`), 0o644),
		os.WriteFile(filepath.Join(m.work, "_temp/_github_workflow/event.json"), []byte("{}"), 0o644))
	if err != nil {
		return nil, fmt.Errorf("making a runner's folder: %w", err)
	}
	return m, nil
}

// mapping takes recorded paths to those of the replay.
type mapping struct {
	recorded, work string // work folders
	kept           []string
	renamed        map[string]string
}

func newMapping(recorded, root string) *mapping {
	m := &mapping{recorded: recorded, work: filepath.Join(root, "_work"), renamed: map[string]string{}}
	if recorded == "" {
		return m
	}
	m.renamed[recorded] = m.work
	// Actions, tools and the runner's node are only read.
	for dir, here := range map[string]string{
		filepath.Join(recorded, "_actions"):                filepath.Join(m.work, "_actions"),
		filepath.Join(recorded, "_tool"):                   filepath.Join(m.work, "_tool"),
		filepath.Join(filepath.Dir(recorded), "externals"): filepath.Join(root, "externals"),
	} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			m.kept = append(m.kept, dir)
		} else {
			m.renamed[dir] = here
		}
	}
	return m
}

// path maps one path.
func (m *mapping) path(path string) string {
	for _, dir := range m.kept {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return path
		}
	}
	best := ""
	for dir := range m.renamed {
		if (path == dir || strings.HasPrefix(path, dir+"/")) && len(dir) > len(best) {
			best = dir
		}
	}
	if best == "" {
		return path
	}
	return m.renamed[best] + strings.TrimPrefix(path, best)
}

// text maps a text that is a path, or a list of paths.
func (m *mapping) text(text string) string {
	if m.recorded == "" || !strings.Contains(text, filepath.Dir(m.recorded)) {
		return text
	}
	parts := strings.Split(text, ":")
	for i := range parts {
		parts[i] = m.path(parts[i])
	}
	return strings.Join(parts, ":")
}

// all maps every string in a JSON value.
func (m *mapping) all(value any) any {
	switch value := value.(type) {
	case string:
		return m.text(value)
	case []any:
		for i := range value {
			value[i] = m.all(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = m.all(value[name])
		}
	}
	return value
}

// fileCommands makes the empty files behind GITHUB_OUTPUT and its like, as the runner does before each step.
func (m *mapping) fileCommands(args any) error {
	members, _ := args.(map[string]any)
	env, _ := members["environmentVariables"].(map[string]any)
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"} {
		path, ok := env[name].(string)
		if !ok || path == "" {
			continue
		}
		file := filepath.Join(m.work, "_temp/_runner_file_commands", filepath.Base(path))
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return fmt.Errorf("making a file command: %w", err)
		}
	}
	return nil
}
