package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Client is the runner's side of the protocol: it starts any hook just as the runner does, and judges what comes
// back by the runner's rules. A Client may be used by several goroutines at once if its writers may.
type Client struct {
	// HookPath is what ACTIONS_RUNNER_CONTAINER_HOOKS says: a file that ends in .sh, .js or .ps1.
	HookPath string
	// TempDir is the runner's _work/_temp. Response files are made below it, in _runner_hook_responses.
	TempDir string
	// WorkDir is the current directory of the hook: github.workspace.
	WorkDir string
	// Env is the whole environment of the hook, as "NAME=value". Its PATH is also searched for the shell.
	Env []string
	// Node is the program that .js hooks are started with.
	Node string
	// Stdout and Stderr get the output of the hook; nil drops it. They are not written to at the same time by one
	// call, so they may be the same.
	Stdout, Stderr io.Writer
	// InterruptDelay is the time from SIGINT to SIGTERM, TerminateDelay that from SIGTERM to SIGKILL, when a call is
	// cancelled. 0 means those of the runner: 7.5 s and 2.5 s.
	InterruptDelay, TerminateDelay time.Duration
	// OutputDelay is how long the end of the output is waited for after the end of the hook. 0 means 5 s.
	OutputDelay time.Duration
	// SysProcAttr, if it is not nil, is how the hook is started, such as in a process group of its own, where the
	// Ctrl-C of a terminal does not reach it.
	SysProcAttr *syscall.SysProcAttr `json:"-"`
	// Sent, if it is not nil, is told what Call writes to the hook's standard input, before the hook starts.
	Sent func(stdin []byte) `json:"-"`
}

// CallResult is what the runner knows after a command.
type CallResult struct {
	RunResult
	// ResponseFile is the host path that was sent. The file is removed once it has been read, as the runner does.
	ResponseFile string
	// ResponseText is the content of that file; nil if it was not read: the runner looks at it only after status 0.
	ResponseText []byte
	// Response is nil if the file was missing, empty or null. Its State is a json.RawMessage or nil. Of other
	// commands than prepare_job only the state is read.
	Response *Response
	// State is to be sent with the job's next command, also after an error: the new one if the hook answered with
	// one, and else the one that was sent.
	State json.RawMessage
}

// Call does one command: it makes an empty response file, starts the hook with the input in the runner's exact form,
// and reads the response by the runner's rules of the response life cycle (ContainerHookManager.cs).
//
// args is a *PrepareJobArgs, *ScriptStepArgs or *Container, or the value itself; nil for cleanup_job; or anything
// else that encodes to JSON, to send what no runner sends. state is nil for null.
//
// The result is never nil. A failure that the runner would report is a *CallError; other errors are troubles of the
// client itself.
func (c *Client) Call(ctx context.Context, command Command, args any, state json.RawMessage) (*CallResult, error) {
	result := &CallResult{State: state}
	if ctx.Err() != nil {
		return result, c.canceled(command, 0)
	}
	result.ResponseFile = filepath.Join(c.TempDir, "_runner_hook_responses", newGUID()+".json")
	stdin, err := encodeInput(command, result.ResponseFile, args, state)
	if err != nil {
		return result, err
	}
	if _, _, err := c.commandLine(); err != nil {
		return result, named(err, command)
	}
	if err := createEmpty(result.ResponseFile); err != nil {
		return result, err
	}
	if c.Sent != nil {
		c.Sent(stdin)
	}
	run, err := c.Run(ctx, stdin)
	if err != nil {
		return result, named(err, command)
	}
	result.RunResult = *run
	switch {
	case ctx.Err() != nil:
		return result, c.canceled(command, run.ExitCode)
	case run.ExitCode != 0:
		return result, c.failed(command, run.ExitCode)
	}
	return result, named(c.readResponse(result, command, sentJob(command, stdin)), command)
}

// createEmpty makes a file, and the folders above it.
func createEmpty(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of response files: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("making the response file: %w", err)
	}
	return nil
}

// newGUID is a random name in .NET's form. It need not be hard to guess.
func newGUID() string {
	a, b := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffff_ffff_ffff)
}

// job is what the runner remembers of the containers it sent.
type job struct {
	container bool
	services  int
}

// sentJob reads back what was sent, as args may be of any type. What cannot be read counts as no container.
func sentJob(command Command, stdin []byte) job {
	var sent struct {
		Args struct {
			Container *json.RawMessage
			Services  []json.RawMessage
		}
	}
	if command != PrepareJob || json.Unmarshal(stdin, &sent) != nil {
		return job{}
	}
	return job{container: sent.Args.Container != nil, services: len(sent.Args.Services)}
}

// readResponse does what the runner does after status 0: it parses the file, removes it, checks the response, takes
// over the state, and only then the context.
func (c *Client) readResponse(result *CallResult, command Command, sent job) error {
	response, err := c.parseFile(result, command, sent)
	if err != nil {
		return callError(CauseResponse, err)
	}
	if response == nil {
		if command == PrepareJob {
			return crash(errNullReference, "the file is empty or missing, where at least {} is needed")
		}
		return nil
	}
	if sent.container && response.isAlpine == nil {
		return callError(CauseResponse, runnerText("The property 'isAlpine' is required but was not found in the response file."))
	}
	if response.state != nil && command != CleanupJob {
		result.State = response.state
	}
	return response.context.check(sent)
}

// parseFile reads and removes the response file.
func (c *Client) parseFile(result *CallResult, command Command, sent job) (*received, error) {
	path := result.ResponseFile
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir():
		if sent.container {
			return nil, textf("Response file is required but not found for the hook script at '%s' running command '%s'", c.HookPath, enumName(command))
		}
		return nil, nil
	case err == nil && !info.Mode().IsRegular():
		return nil, &ResponseError{Problem: "it is not a regular file"}
	}
	result.ResponseText, err = os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the response file: %w", err)
	}
	response, err := parseResponse(result.ResponseText, command)
	if err != nil {
		return nil, err
	}
	result.Response = response.response()
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("removing the response file: %w", err)
	}
	if response == nil && sent.container {
		return nil, textf("Response file could not be read at '%s' running command '%s'", c.HookPath, enumName(command))
	}
	return response, nil
}

// check finds what the runner would dereference in vain while it takes over a context, which may be nil.
func (r *receivedContext) check(sent job) error {
	switch {
	case r == nil:
		return nil
	case r.hasContainer && !sent.container:
		return crash(errNullReference, "context.container has an id or a network, though the job has no container")
	case r.noServices:
		return crash(errNullReference, "context.services is null")
	}
	for i, service := range r.services {
		switch {
		case i >= sent.services:
			return crash(errOutOfRange, "context.services has %d members, and the job has %d services", len(r.services), sent.services)
		case service.null:
			return crash(errNullReference, "context.services[%d] is null", i)
		case service.Ports == nil:
			return crash(errNullReference, "context.services[%d].ports is null or missing; {} is for none", i)
		}
	}
	return nil
}

// enumName is the runner's own name of a command, PrepareJob for prepare_job.
func enumName(command Command) string {
	var name strings.Builder
	for word := range strings.SplitSeq(string(command), "_") {
		if word != "" {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return name.String()
}
