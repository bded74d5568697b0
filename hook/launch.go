package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Delays of the runner's ProcessInvoker.cs.
const (
	interruptDelay = 7500 * time.Millisecond
	terminateDelay = 2500 * time.Millisecond
	outputDelay    = 5 * time.Second
)

// RunResult is the outcome of one hook process.
type RunResult struct {
	// ExitCode is the status of the process; 128 and the signal's number if a signal ended it.
	ExitCode int
	// Signals are those that were sent because the context was cancelled.
	Signals []syscall.Signal
	// OutputHeld says that another process still held standard output or error when the hook had ended. The runner
	// waits 5 s for it each time, and loses the rest of its output.
	OutputHeld bool
}

// Run starts the hook as the runner does, writes stdin to it, and waits for its end. Call does this with the input of
// a command; Run is for inputs that no runner sends.
//
// When ctx is cancelled the process, and it alone, gets SIGINT, after InterruptDelay SIGTERM, after TerminateDelay
// SIGKILL. That is not an error of Run. Errors are of type *CallError if the hook cannot be started.
func (c *Client) Run(ctx context.Context, stdin []byte) (*RunResult, error) {
	program, args, err := c.commandLine()
	if err != nil {
		return nil, err
	}
	out, err := newOutputs(c.Stdout, c.Stderr)
	if err != nil {
		return nil, fmt.Errorf("making pipes for %s: %w", c.HookPath, err)
	}
	cmd := &exec.Cmd{
		Path: program, SysProcAttr: c.SysProcAttr,
		Args:      append([]string{program}, args...),
		Env:       append([]string{}, c.Env...),
		Dir:       c.WorkDir,
		Stdin:     bytes.NewReader(stdin),
		Stdout:    out.stdout.writer,
		Stderr:    out.stderr.writer,
		WaitDelay: orDefault(c.OutputDelay, outputDelay),
	}
	err = cmd.Start()
	if err := errors.Join(err, out.release()); err != nil {
		return nil, callError(CauseStart, fmt.Errorf("starting %s in %s: %w", program, c.WorkDir, err))
	}
	p := &process{cmd: cmd, out: out, ended: make(chan error, 1)}
	go p.wait()
	result := &RunResult{}
	result.Signals, err = c.await(ctx, p)
	result.ExitCode, result.OutputHeld = exitCode(cmd.ProcessState), p.held
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", c.HookPath, err)
	}
	return result, nil
}

// process is a started hook. held is valid after ended has spoken.
type process struct {
	cmd   *exec.Cmd
	out   *outputs
	ended chan error
	held  bool
}

// wait ends when the process has ended and its output is complete, or given up. The status is no error of it.
func (p *process) wait() {
	err := p.cmd.Wait()
	var status *exec.ExitError
	if errors.As(err, &status) || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	held, outErr := p.out.drain(p.cmd.WaitDelay)
	p.held = held
	p.ended <- errors.Join(err, outErr)
}

// await waits for the process and its output, and ends it when ctx is cancelled.
func (c *Client) await(ctx context.Context, p *process) (sent []syscall.Signal, err error) {
	select {
	case err := <-p.ended:
		return nil, err
	case <-ctx.Done():
	}
	for _, step := range []struct {
		signal syscall.Signal
		delay  time.Duration
	}{
		{syscall.SIGINT, orDefault(c.InterruptDelay, interruptDelay)},
		{syscall.SIGTERM, orDefault(c.TerminateDelay, terminateDelay)},
	} {
		sent = append(sent, step.signal)
		_ = p.cmd.Process.Signal(step.signal) // fails only if the process has ended
		select {
		case err := <-p.ended:
			return sent, err
		case <-time.After(step.delay):
		}
	}
	_ = p.cmd.Process.Kill() // as above
	return append(sent, syscall.SIGKILL), <-p.ended
}

func orDefault(d, normal time.Duration) time.Duration {
	if d == 0 {
		return normal
	}
	return d
}

// exitCode counts signals as .NET does.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// commandLine says how the runner starts the hook (ContainerHookManager.cs, ScriptHandler.cs). The path stands
// there without quotes, so one with a blank in it falls apart as it does in the runner.
func (c *Client) commandLine() (program string, args []string, err error) {
	if !isFile(c.HookPath) {
		return "", nil, callError(CauseHookFile, textf("File not found at '%s'. "+
			"Set ACTIONS_RUNNER_CONTAINER_HOOKS to the path of an existing file.", c.HookPath))
	}
	switch filepath.Ext(c.HookPath) {
	case ".js":
		program, args = c.Node, SplitCommandLine(c.HookPath)
		if program == "" {
			err = errors.New("starting a .js hook: the client has no path of node")
		}
	case ".sh":
		program, err = c.which("bash", "sh")
		args = SplitCommandLine("-e " + c.HookPath)
	case ".ps1":
		program, err = c.which("pwsh", "powershell")
		args = SplitCommandLine(`-command ". '` + c.HookPath + `'"`)
	default:
		return "", nil, callError(CauseHookFile, textf("Invalid file extension at '%s'. "+
			"ACTIONS_RUNNER_CONTAINER_HOOKS must be a path to a file with one of the following extensions: .js, .sh, .ps1", c.HookPath))
	}
	if err != nil {
		return "", nil, callError(CauseStart, err)
	}
	return program, args, nil
}

// which finds the first of some programs in the PATH of the hook's environment, where a job can have put folders of
// its own. Like the runner (WhichUtil.cs) it takes any file for a program.
func (c *Client) which(names ...string) (string, error) {
	searchPath := ""
	for _, variable := range c.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			searchPath = value
		}
	}
	for _, name := range names {
		for _, folder := range filepath.SplitList(searchPath) {
			if program := filepath.Join(folder, name); folder != "" && isFile(program) {
				return program, nil
			}
		}
	}
	return "", textf("File not found: '%s'", names[len(names)-1])
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
