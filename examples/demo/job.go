package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
)

// job plays a workflow's job as the runner does.
type job struct {
	runner  *fakerunner.Runner
	log     *log
	outputs map[string]string // "steps.ID.outputs.NAME"
	path    []string          // of GITHUB_PATH, latest first
}

// play makes the calls of a job. cleanup_job comes whatever happens before, also after an interrupt.
func (j *job) play(ctx context.Context, wf *workflow) (err error) {
	defer func() {
		err = errors.Join(err, j.call(context.WithoutCancel(ctx), "Stop containers", "", hook.CleanupJob, nil))
	}()
	var services []hook.Container
	for _, s := range wf.Services {
		services = append(services, hook.Container{Image: s.Image, PortMappings: s.Ports})
	}
	prepare := &hook.PrepareJobArgs{Container: j.runner.JobContainer(wf.Container.Image), Services: services}
	if err := j.call(ctx, "Initialize containers", "", hook.PrepareJob, prepare); err != nil {
		return err
	}
	for _, s := range wf.Steps {
		if err := j.step(ctx, s); err != nil && (!s.ContinueOnError || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

func (j *job) step(ctx context.Context, s step) error {
	if s.Uses != "" {
		return j.action(ctx, s)
	}
	script := expand(s.Run, j.outputs)
	args, err := j.runner.Script(script)
	if err != nil {
		return err
	}
	args.PrependPath = j.path
	if s.Shell != "" {
		args.EntryPoint = s.Shell
	}
	failed := j.call(ctx, s.Name, script, hook.RunScriptStep, args)
	return errors.Join(failed, j.readFileCommands(s.ID))
}

// action runs an action of the workspace that has a Dockerfile.
func (j *job) action(ctx context.Context, s step) error {
	dir := filepath.Join(j.runner.Workspace, s.Uses)
	a, err := readAction(filepath.Join(dir, "action.yml"))
	if err != nil {
		return err
	}
	inputs := map[string]string{}
	for name, value := range s.With {
		inputs["inputs."+name] = expand(value, j.outputs)
	}
	var arguments []string
	for _, arg := range a.Runs.Args {
		arguments = append(arguments, expand(arg, inputs))
	}
	args := j.runner.ContainerStep("", arguments...)
	args.Dockerfile = filepath.Join(dir, a.Runs.Image)
	return j.call(ctx, s.Name, "uses "+s.Uses, hook.RunContainerStep, args)
}

// call makes one call of the hook, and prints what the runner would: what is run, and what comes of it.
func (j *job) call(ctx context.Context, title, what string, command hook.Command, args any) error {
	j.log.step(title)
	for line := range strings.Lines(what) {
		j.log.line("│ %s", strings.TrimSuffix(line, "\n"))
	}
	out := j.log.lines()
	j.runner.Client.Stdout, j.runner.Client.Stderr = out, out
	begin := time.Now()
	result := j.runner.Call(ctx, command, args)
	took := time.Since(begin)
	out.flush()
	j.log.calls = append(j.log.calls, call{title: title, command: string(command), took: took, status: result.ExitCode})
	return j.report(result.Err)
}

// report prints the two lines that the runner adds to every failed call.
func (j *job) report(err error) error {
	var failed *hook.CallError
	if !errors.As(err, &failed) {
		return err
	}
	if failed.ExitCode != 0 {
		j.log.line("Error: Process completed with exit code %d.", failed.ExitCode)
	}
	j.log.line("Error: %s", failed.Wrapper)
	return err
}

// readFileCommands takes over what the latest script wrote to its GITHUB_OUTPUT and GITHUB_PATH.
func (j *job) readFileCommands(id string) error {
	outputs, err := j.runner.FileCommand("GITHUB_OUTPUT")
	if err != nil {
		return fmt.Errorf("reading the step's outputs: %w", err)
	}
	for line := range strings.Lines(outputs) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		j.outputs["steps."+id+".outputs."+name] = value
	}
	path, err := j.runner.FileCommand("GITHUB_PATH")
	if err != nil {
		return fmt.Errorf("reading what the step put on the PATH: %w", err)
	}
	for line := range strings.Lines(path) {
		j.path = append([]string{strings.TrimSpace(line)}, j.path...)
	}
	return nil
}
