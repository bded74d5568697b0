// Package fakerunner plays the part of the GitHub Actions runner for tests and benchmarks: it lays out a runner's
// folders, words requests as the runner does, and calls a hook through hook.Client.
package fakerunner

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

// Runner is one runner with one job.
type Runner struct {
	Root      string // the application folder
	Work      string // Root/_work
	Workspace string // Work/repo/repo, /__w/repo/repo in the job container
	Client    hook.Client
	// State is what the last successful call answered, as the runner keeps it.
	State json.RawMessage
	files int
}

// Result is one call of the hook.
type Result struct {
	*hook.CallResult
	Stdout, Stderr string
	Err            error // a *hook.CallError for what the runner would report
}

// Output is everything the hook has printed.
func (r *Result) Output() string { return r.Stdout + r.Stderr }

// New lays out a runner below dir. Env is the environment of the hook, to which what the runner adds is added.
func New(dir, hookPath string, env []string) (*Runner, error) {
	r := &Runner{Root: dir, Work: filepath.Join(dir, "_work")}
	r.Workspace = filepath.Join(r.Work, "repo/repo")
	for _, d := range []string{
		r.Workspace, r.temp("_github_home"), r.temp("_github_workflow"), r.temp("_runner_file_commands"),
		filepath.Join(r.Work, "_actions"), filepath.Join(r.Work, "_tool"), filepath.Join(dir, "externals"),
	} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("laying out a runner: %w", err)
		}
	}
	files := map[string]string{
		filepath.Join(dir, ".runner"):         fmt.Sprintf("{\"agentName\": %q}", filepath.Base(dir)),
		r.temp("_github_workflow/event.json"): "{}",
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("laying out a runner: %w", err)
		}
	}
	r.Client = hook.Client{
		HookPath: hookPath, TempDir: r.temp(""), WorkDir: r.Workspace,
		Env: append(append([]string{}, env...),
			"RUNNER_TEMP="+r.temp(""), "RUNNER_WORKSPACE="+filepath.Dir(r.Workspace), "GITHUB_WORKSPACE="+r.Workspace,
			"RUNNER_NAME="+filepath.Base(dir), "GITHUB_ACTIONS=true", "CI=true", "RUNNER_TRACKING_ID=github_test"),
	}
	return r, nil
}

func (r *Runner) temp(name string) string { return filepath.Join(r.Work, "_temp", name) }

// JobContainer is the request for a job container as the runner words it.
func (r *Runner) JobContainer(image string) *hook.Container {
	return &hook.Container{
		Image: image, WorkingDirectory: "/__w/repo/repo",
		EnvironmentVariables: map[string]string{"HOME": "/github/home"},
		SystemMountVolumes: []hook.MountVolume{
			{SourceVolumePath: "/var/run/docker.sock", TargetVolumePath: "/var/run/docker.sock"},
			{SourceVolumePath: r.Work, TargetVolumePath: "/__w"},
			{SourceVolumePath: filepath.Join(r.Root, "externals"), TargetVolumePath: "/__e", ReadOnly: true},
			{SourceVolumePath: r.temp(""), TargetVolumePath: "/__w/_temp"},
			{SourceVolumePath: filepath.Join(r.Work, "_actions"), TargetVolumePath: "/__w/_actions"},
			{SourceVolumePath: filepath.Join(r.Work, "_tool"), TargetVolumePath: "/__w/_tool"},
			{SourceVolumePath: r.temp("_github_home"), TargetVolumePath: "/github/home"},
			{SourceVolumePath: r.temp("_github_workflow"), TargetVolumePath: "/github/workflow"},
		},
	}
}

// ContainerStep is the request for a container action as the runner words it.
func (r *Runner) ContainerStep(image string, args ...string) *hook.Container {
	return &hook.Container{
		Image: image, EntryPointArgs: pieces(args), WorkingDirectory: "/github/workspace",
		EnvironmentVariables: map[string]string{"HOME": "/github/home", "GITHUB_WORKSPACE": "/github/workspace"},
		SystemMountVolumes: []hook.MountVolume{
			{SourceVolumePath: "/var/run/docker.sock", TargetVolumePath: "/var/run/docker.sock"},
			{SourceVolumePath: r.temp(""), TargetVolumePath: "/github/runner_temp"},
			{SourceVolumePath: r.temp("_github_home"), TargetVolumePath: "/github/home"},
			{SourceVolumePath: r.temp("_github_workflow"), TargetVolumePath: "/github/workflow"},
			{SourceVolumePath: r.temp("_runner_file_commands"), TargetVolumePath: "/github/file_commands"},
			{SourceVolumePath: r.Workspace, TargetVolumePath: "/github/workspace"},
		},
	}
}

// pieces words arguments as the runner sends them: quoted, joined and split at blanks, without empty pieces.
func pieces(args []string) []string {
	all := []string{}
	for _, arg := range args {
		all = append(all, strings.Fields(`"`+strings.ReplaceAll(arg, `"`, `\"`)+`"`)...)
	}
	return all
}

// Script is the request for a `run:` step: its script lies in _temp, and its file commands are made, as the runner
// does. FileCommand gives their paths on the host.
func (r *Runner) Script(text string) (*hook.ScriptStepArgs, error) {
	r.files++
	name := fmt.Sprintf("%d.sh", r.files)
	if err := os.WriteFile(r.temp(name), []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("writing a script: %w", err)
	}
	env := map[string]string{"GITHUB_WORKSPACE": "/__w/repo/repo", "RUNNER_TEMP": "/__w/_temp"}
	for variable, prefix := range fileCommands() {
		file := fmt.Sprintf("%s_%d", prefix, r.files)
		if err := os.WriteFile(r.temp("_runner_file_commands/"+file), nil, 0o644); err != nil {
			return nil, fmt.Errorf("writing a file command: %w", err)
		}
		env[variable] = "/__w/_temp/_runner_file_commands/" + file
	}
	return &hook.ScriptStepArgs{
		EntryPoint: "sh", EntryPointArgs: []string{"-e", "/__w/_temp/" + name},
		EnvironmentVariables: env, WorkingDirectory: "/__w/repo/repo",
	}, nil
}

func fileCommands() map[string]string {
	return map[string]string{
		"GITHUB_ENV": "set_env", "GITHUB_PATH": "add_path", "GITHUB_OUTPUT": "set_output",
		"GITHUB_STATE": "save_state", "GITHUB_STEP_SUMMARY": "step_summary",
	}
}

// FileCommand reads what the latest script wrote to one of its file commands.
func (r *Runner) FileCommand(variable string) (string, error) {
	text, err := os.ReadFile(r.temp(fmt.Sprintf("_runner_file_commands/%s_%d", fileCommands()[variable], r.files)))
	return string(text), err
}

// Call makes one call and keeps the state.
func (r *Runner) Call(ctx context.Context, command hook.Command, args any) *Result {
	return r.CallWithState(ctx, command, args, r.State)
}

// CallWithState is Call with a state of the caller's.
func (r *Runner) CallWithState(ctx context.Context, command hook.Command, args any, state json.RawMessage) *Result {
	var stdout, stderr bytes.Buffer
	c := r.Client
	c.Stdout, c.Stderr = tee(&stdout, c.Stdout), tee(&stderr, c.Stderr)
	result, err := c.Call(ctx, command, args, state)
	if result != nil {
		r.State = result.State
	}
	return &Result{CallResult: result, Stdout: stdout.String(), Stderr: stderr.String(), Err: err}
}

func tee(buffer, given io.Writer) io.Writer {
	if given == nil {
		return buffer
	}
	return io.MultiWriter(buffer, given)
}

// Prepare calls prepare_job; container may be nil.
func (r *Runner) Prepare(ctx context.Context, container *hook.Container, services ...hook.Container) *Result {
	return r.CallWithState(ctx, hook.PrepareJob, &hook.PrepareJobArgs{Container: container, Services: services}, nil)
}

// RunScript runs a script with `sh -e` as a step.
func (r *Runner) RunScript(ctx context.Context, text string) *Result {
	args, err := r.Script(text)
	if err != nil {
		return &Result{CallResult: &hook.CallResult{}, Err: err}
	}
	return r.Call(ctx, hook.RunScriptStep, args)
}

// Process is a call of the hook as a process that is not started yet, outside of Client, so that it can be looked at. It
// writes its output to out, and what it says to errs.
func (r *Runner) Process(ctx context.Context, command hook.Command, args any, out, errs io.Writer) (*exec.Cmd, error) {
	response := r.temp("_runner_hook_responses/" + rand.Text() + ".json")
	err := os.MkdirAll(filepath.Dir(response), 0o755)
	if err == nil {
		err = os.WriteFile(response, nil, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("making the response file: %w", err)
	}
	stdin, err := json.Marshal(map[string]any{"command": command, "responseFile": response, "args": args, "state": r.State})
	if err != nil {
		return nil, fmt.Errorf("wording the call: %w", err)
	}
	cmd := exec.CommandContext(ctx, "bash", "-e", r.Client.HookPath)
	cmd.Env, cmd.Dir = r.Client.Env, r.Client.WorkDir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), out, errs
	return cmd, nil
}

// Program is the request for a step that runs a program without a shell.
func (r *Runner) Program(argv ...string) (*hook.ScriptStepArgs, error) {
	args, err := r.Script("")
	if err != nil {
		return nil, err
	}
	args.EntryPoint, args.EntryPointArgs = argv[0], argv[1:]
	return args, nil
}

// Cleanup calls cleanup_job.
func (r *Runner) Cleanup(ctx context.Context) *Result { return r.Call(ctx, hook.CleanupJob, nil) }
