package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/job/process"
)

// hooks makes the calls of the container hook, and keeps the state between them. The last writer of a state wins.
type hooks struct {
	client hook.Client
	record Recorder // nil: nothing

	mu     sync.Mutex
	state  json.RawMessage
	debt   *owed  // nil if no call of cleanup_job is owed
	debtIn string // the folder where that is noted
}

func newHooks(opts Options, dirs layout.Dirs, worker string, mask func(string) string) *hooks {
	h := &hooks{client: hook.Client{
		HookPath: opts.Hook, TempDir: dirs.Temp, WorkDir: dirs.Workspace, InterruptDelay: opts.Delays.Interrupt,
		TerminateDelay: opts.Delays.Terminate, OutputDelay: opts.Delays.Output,
		SysProcAttr: process.Apart(),
	}}
	if opts.Node != nil {
		h.client.Node, _ = opts.Node("node20")
	}
	if opts.Record != nil {
		h.record = opts.Record(dirs, worker, mask)
	}
	return h
}

func (h *hooks) current() json.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// keep takes over the state of an answer, if it has one.
func (h *hooks) keep(sent, answered json.RawMessage) error {
	if bytes.Equal(sent, answered) {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = answered
	return h.writeDebt()
}

// errFailed says that a step has failed, and that its log says why.
var errFailed = errors.New("the step failed")

// call makes one call of the hook for a step. Its output is the step's; a failure is told as the runner does.
func (x *execution) call(ctx context.Context, command hook.Command, args any) (*hook.CallResult, error) {
	client, state := x.hooks.client, x.hooks.current()
	client.Env = append(x.environ(), variables(x.contextVariables())...)
	x.announce(client)
	out := x.newOutput()
	client.Stdout, client.Stderr = &out.stdout, &out.stderr
	recording := x.recording(&client)
	began := time.Now()
	result, err := client.Call(ctx, command, args, state)
	out.close()
	x.log.phase("hook "+string(command), time.Since(began))
	recording.end(result, err, time.Since(began))
	if err := x.hooks.keep(state, result.State); err != nil {
		x.log.line("gantry: " + err.Error())
	}
	if err != nil {
		return result, x.explain(client, result, time.Since(began), err)
	}
	return result, nil
}

// announce prints what the runner prints before every call, with the arguments that it does not use.
func (x *execution) announce(client hook.Client) {
	x.log.group(fmt.Sprintf("Run '%s'", client.HookPath))
	x.log.line("shell: " + x.hookShell(client))
	x.log.endgroup()
}

func (x *execution) hookShell(client hook.Client) string {
	format, names := "--noprofile --norc -e -o pipefail {0}", []string{"bash", "sh"}
	switch {
	case strings.HasSuffix(client.HookPath, ".js"):
		return client.Node + " {0}"
	case strings.HasSuffix(client.HookPath, ".ps1"):
		format, names = `-command ". '{0}'"`, []string{"pwsh", "powershell"}
	}
	for _, name := range names {
		if path, err := process.Which(name, nil, x.searchPath()); err == nil {
			return path + " " + format
		}
	}
	return names[0] + " " + format
}

// explain tells a failure: the runner's own text first, then what exactly was wrong, if that is not in the log yet.
func (x *execution) explain(client hook.Client, result *hook.CallResult, took time.Duration, err error) error {
	var failure *hook.CallError
	if !errors.As(err, &failure) {
		return fmt.Errorf("calling %s: %w", client.HookPath, err)
	}
	if failure.Cause == hook.CauseExit {
		x.log.error(fmt.Sprintf("Process completed with exit code %d.", failure.ExitCode))
	}
	if failure.Wrapper != "" {
		x.log.error(failure.Wrapper)
	}
	switch failure.Cause {
	case hook.CauseExit:
		x.log.trace(failure.Inner.Error())
	case hook.CauseCanceled:
		x.log.line(fmt.Sprintf("gantry: %s of %s had not ended after %v, and was cancelled by %s",
			failure.Command, client.HookPath, took.Round(100*time.Millisecond), signals(result.Signals)))
	case hook.CauseCrash:
		x.log.error(failure.Inner.Error())
		x.log.line(fmt.Sprintf("gantry: the runner does not survive the response of %s to %s: %s", client.HookPath, failure.Command, failure.Detail))
	default:
		x.log.line("gantry: " + failure.Inner.Error())
	}
	return errFailed
}

func signals(sent []syscall.Signal) string {
	names := map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGKILL: "SIGKILL"}
	var all []string
	for _, s := range sent {
		all = append(all, names[s])
	}
	if len(all) == 0 {
		return "no signal, as it had not begun"
	}
	return strings.Join(all, ", ")
}

// recording is a call that may be recorded.
type recording struct {
	log *stepLog
	rec Recording // nil: it is not
}

// recording makes the client tell the recorder of its call.
func (x *execution) recording(client *hook.Client) *recording {
	r := &recording{log: x.log}
	if x.hooks.record == nil {
		return r
	}
	environ, workDir := client.Env, client.WorkDir
	client.Sent = func(stdin []byte) {
		input, err := hook.ParseInput(stdin)
		if err == nil {
			r.rec, err = x.hooks.record.Begin(Call{Input: input, Environ: environ, WorkDir: workDir, Began: time.Now()})
		}
		r.warn(err)
	}
	return r
}

func (r *recording) end(result *hook.CallResult, err error, took time.Duration) {
	if r.rec != nil {
		r.warn(r.rec.End(result, took, err))
	}
}

func (r *recording) warn(err error) {
	if err != nil {
		r.log.line("gantry: the call is not recorded: " + err.Error())
	}
}

// closeRecord ends the record of the job's calls.
func (x *execution) closeRecord() {
	if x.hooks.record != nil {
		(&recording{log: x.log}).warn(x.hooks.record.Close())
	}
}
