package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/hangup"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/memfd"
	"github.com/gantry-ci/gantry/internal/responsefile"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// runHook does script steps itself and leaves everything else, and everything unusual, to the full program.
func runHook(args []string) (status int) {
	defer func() {
		if broken := recover(); broken != nil {
			verdict.Print(os.Stderr, verdict.Panicked(broken))
			status = 1
		}
	}()
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return report(fmt.Errorf("reading the command from standard input: %w", err))
	}
	failpoint.Hit("fast-read")
	rec, step := fastStep(text)
	if rec == nil {
		return execFull(text, args)
	}
	failpoint.Hit("fast-record")
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go hangup.Terminate(syscall.Stdout)
	h := &fast{record: rec, signals: signals}
	code, err := hook.Serve(context.Background(), hook.ServeOptions{Input: step, OpenResponse: responsefile.Opener(rec.Work)}, h)
	failpoint.Hit("fast-answered")
	var lost *agent.LostError
	if errors.As(err, &lost) || errors.Is(err, agent.ErrForgotten) || errors.Is(err, agent.ErrRefused) {
		return execFull(text, append(args, h.handOver(lost)...))
	}
	if len(h.exit.Survivors) > 0 && endSurvivors(text, h.exit.Survivors) {
		h.exit.Survivors = nil
	}
	if err == nil && code != 0 {
		err = scriptstep.Verdict(h.step, h.exit)
	}
	if err != nil {
		verdict.Print(os.Stderr, verdict.Protocol(err))
	}
	return code
}

// fastStep is the step's input and job record if this is a script step of a job that needs nothing special.
func fastStep(text []byte) (*jobrecord.Record, *hook.Input) {
	in, err := hook.ParseInput(text)
	if err != nil || in.Command != hook.RunScriptStep {
		return nil, nil
	}
	id, ok := jobrecord.StateOf(in.State)
	if !ok {
		return nil, nil
	}
	rec, err := jobrecord.Store{Dir: jobrecord.DefaultDir(os.Getenv)}.Load(id, "")
	if err != nil || rec.Full || rec.Container == nil || !belongs(rec, in.ResponseFile) {
		return nil, nil
	}
	return rec, in
}

// belongs says whether the call comes from the runner whose job the record is.
func belongs(rec *jobrecord.Record, responseFile string) bool {
	return strings.HasPrefix(filepath.Clean(responseFile), filepath.Clean(rec.Work)+"/")
}

// fast is the handler of the fast path.
type fast struct {
	record  *jobrecord.Record
	signals <-chan os.Signal
	step    *agent.Step
	runner  *scriptstep.Runner
	exit    agent.Exit
}

func (f *fast) RunScriptStep(ctx context.Context, args *hook.ScriptStepArgs, _ json.RawMessage) (hook.Result, error) {
	f.step = scriptstep.NewStep(f.record, args)
	f.runner = &scriptstep.Runner{Record: f.record, Out: os.Stdout, Signals: f.signals, AgentStays: true, Env: os.Environ(), Say: os.Stderr}
	exit, err := f.runner.Run(ctx, f.step, false, 0)
	f.exit = exit
	return hook.Result{ExitCode: exit.Code}, err
}

// handOver tells the full program how far the step has come, and of the latest signal: it would be lost otherwise.
func (f *fast) handOver(lost *agent.LostError) []string {
	offset, signal := int64(0), 0
	if lost != nil {
		offset = lost.Offset
		for _, sig := range lost.Signals {
			signal = int(sig)
		}
	}
	select {
	case sig := <-f.signals:
		signal = int(sig.(syscall.Signal)) // Notify sends no others
	default:
	}
	resume := "--resume=" + f.step.ID + ":" + strconv.FormatInt(offset, 10)
	if progress, err := json.Marshal(f.runner.Progress); err == nil { // a struct of numbers and texts
		resume += ":" + string(progress)
	}
	args := []string{resume}
	if signal != 0 {
		args = append(args, "--signal="+strconv.Itoa(signal))
	}
	return args
}

var errNotFast = errors.New("this command belongs to the full program")

func (f *fast) PrepareJob(context.Context, *hook.PrepareJobArgs) (hook.Result, error) {
	return hook.Result{}, errNotFast
}

func (f *fast) RunContainerStep(context.Context, *hook.Container, json.RawMessage) (hook.Result, error) {
	return hook.Result{}, errNotFast
}

func (f *fast) CleanupJob(context.Context, json.RawMessage) (hook.Result, error) {
	return hook.Result{}, errNotFast
}

// endSurvivors has the full program end processes of the step that belong to another user. It says why it could not.
func endSurvivors(text []byte, pids []int) bool {
	var args []string
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	full, err := fullProgram()
	if err != nil {
		return false
	}
	cmd := exec.Command(full, append([]string{"end-processes"}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	return cmd.Run() == nil
}

// fullProgram is the program beside this one.
func fullProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "gantry"), nil
}

// execFull replaces this process by the full program beside it, with the same standard input. The input holds
// secrets: it goes through memory, never through a file.
func execFull(text []byte, args []string) int {
	full, err := fullProgram()
	if err != nil {
		return report(err)
	}
	if err := memfd.AsStdin(text); err != nil {
		return report(err)
	}
	failpoint.Hit("fast-leaving-to-full")
	err = syscall.Exec(full, append([]string{"gantry", "hook"}, args...), os.Environ())
	return report(fmt.Errorf("starting %s: %w (gantry and gantry-agent must lie in the same folder)", full, err))
}
