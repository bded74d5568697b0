package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/job/shell"
	"github.com/gantry-ci/gantry/internal/job/wording"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// script is a `run:` step, evaluated.
type script struct {
	text      string
	shell     shell.Shell
	program   string // on the host; "" in the job container
	directory string // on the host, or any path in the container
}

// runScript is a `run:` step (ScriptHandler.cs).
func (x *execution) runScript(ctx context.Context) error {
	x.describe()
	s, err := x.script()
	if err != nil {
		return err
	}
	if err := x.makeFiles(); err != nil {
		return err
	}
	defer x.readFiles()
	x.announceScript(s)
	file := filepath.Join(x.dirs.Temp, newGUID()+s.shell.Extension())
	if err := os.WriteFile(file, []byte(s.shell.FixUp(s.text)), 0o644); err != nil {
		return fmt.Errorf("writing the script: %w", err)
	}
	line := s.shell.CommandLine(x.resolve(file))
	if x.container != nil {
		return x.inContainer(ctx, s.shell.Command, line, s.directory, x.variables(nil))
	}
	exit, err := x.onHost(ctx, s.program, hook.SplitCommandLine(line), s.directory, x.variables(nil))
	if err == nil && exit != 0 {
		x.log.error(fmt.Sprintf("Process completed with exit code %d.", exit))
		return errFailed
	}
	return err
}

func (x *execution) script() (s script, err error) {
	e, run := x.inside(), x.step.Run
	option, directory := run.Shell, run.WorkingDirectory
	if !x.frame.composite() {
		option, directory = orDefault(option, x.defaults.Shell), orDefault(directory, x.defaults.WorkingDirectory)
	}
	values, err := e.texts([]workflow.Text{run.Script, option, directory})
	if err != nil {
		return s, err
	}
	s.text, s.directory = values[0], x.below(values[2])
	if s.shell, err = shell.Parse(values[1]); err != nil {
		return s, err
	}
	if x.container == nil {
		s.program, err = x.hostShell(s.shell.Command, values[1] == "")
	}
	return s, err
}

func orDefault(t, fallback workflow.Text) workflow.Text {
	if t.Raw == "" {
		return fallback
	}
	return t
}

// below is a path relative to the workspace; an absolute one stays.
func (x *execution) below(path string) string {
	switch {
	case filepath.IsAbs(path):
		return path
	case path == "":
		return x.dirs.Workspace
	}
	return x.dirs.Workspace + "/" + path // not cleaned, as the hook sees it
}

// hostShell finds a shell. Where none is asked for it is bash, if there is one, with the arguments of sh.
func (x *execution) hostShell(command string, byDefault bool) (string, error) {
	if byDefault {
		if program, err := process.Which("bash", x.state.prepend(), process.Lookup(x.opts.Environ, "PATH")); err == nil {
			return program, nil
		}
	}
	return process.Which(command, x.state.prepend(), process.Lookup(x.opts.Environ, "PATH"))
}

// announceScript prints the head of the step's log.
func (x *execution) announceScript(s script) {
	x.log.group("Run " + firstLine(s.text))
	for line := range strings.SplitSeq(strings.TrimRight(strings.ReplaceAll(s.text, "\r\n", "\n"), "\n"), "\n") {
		x.log.line("\x1b[36;1m" + line + "\x1b[0m")
	}
	program := s.program
	if program == "" {
		program = s.shell.Command
	}
	x.log.line("shell: " + program + " " + s.shell.Args)
	x.announceEnv()
	x.log.endgroup()
}

func (x *execution) announceEnv() { x.announcePairs("env:", x.envPairs()) }

func (x *execution) announcePairs(title string, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	x.log.line(title)
	for _, p := range pairs {
		x.log.line("  " + p.name + ": " + p.value)
	}
}

func (x *execution) envPairs() []pair {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]pair(nil), x.env...)
}

// firstLine is the first line of a text that is not blank.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(text, " \t\r\n"), "\r", "\n"), "\n")
	return line
}

// inContainer runs a program in the job container, through the hook.
func (x *execution) inContainer(ctx context.Context, program, line, directory string, env []pair) error {
	args := &hook.ScriptStepArgs{
		EntryPoint: program, EntryPointArgs: wording.ScriptArgs(line),
		PrependPath: x.state.prepend(), WorkingDirectory: x.resolve(directory),
	}
	for i := range env {
		env[i].value = x.container.mapping.Translate(env[i].value)
	}
	args.EnvironmentVariables, args.EnvironmentOrder = environment(env)
	_, err := x.call(ctx, hook.RunScriptStep, args)
	return err
}

// onHost runs a program on the host and gives its exit status.
func (x *execution) onHost(ctx context.Context, program string, args []string, directory string, env []pair) (int, error) {
	out := x.newOutput()
	defer out.close()
	return process.Run(ctx, process.Command{
		Path: program, Args: args, Env: append(x.environ(), variables(x.withPath(env))...), Dir: directory,
		Stdout: &out.stdout, Stderr: &out.stderr, Delays: x.opts.Delays,
	})
}

// withPath puts the folders of $GITHUB_PATH before the PATH that a step sets for itself.
func (x *execution) withPath(env []pair) []pair {
	for i, p := range env {
		if p.name == "PATH" {
			env[i].value = strings.Join(append(x.state.prepend(), p.value), string(filepath.ListSeparator))
		}
	}
	return env
}
