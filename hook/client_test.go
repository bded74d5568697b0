package hook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

// The test binary is also the hook that the client starts, through a shell script.
func TestMain(m *testing.M) {
	if mode := os.Getenv("TEST_HOOK"); mode != "" {
		os.Exit(testHook(mode))
	}
	os.Exit(m.Run())
}

// testHook serves one command; mode is the name of a method of modeHandler.
func testHook(mode string) int {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if strings.HasPrefix(mode, "stubborn") {
		signal.Ignore(signals...)
		signals = nil
	}
	if mode == "stubborn until SIGTERM" {
		signals = []os.Signal{syscall.SIGTERM}
	}
	ctx := context.Background()
	if signals != nil {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, signals...)
		defer stop()
	}
	exit, err := hook.Serve(ctx, hook.ServeOptions{Stdin: os.Stdin}, modeHandler(mode))
	if err != nil {
		fmt.Fprintln(os.Stderr, "hook:", err)
	}
	return exit
}

// modeHandler prints what arrived and answers, or waits for a signal.
type modeHandler string

func (mode modeHandler) handle(ctx context.Context, args any, state json.RawMessage, answer hook.Response) (hook.Result, error) {
	if mode != "echo" && mode != "fail" {
		fmt.Println("ready")
		select {
		case <-ctx.Done():
			fmt.Println("interrupted")
			return hook.Result{}, ctx.Err()
		case <-time.After(time.Minute):
			return hook.Result{}, errors.New("nobody interrupted")
		}
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"args": args, "state": state}); err != nil {
		return hook.Result{}, err
	}
	result := hook.Result{Response: answer}
	if mode == "fail" {
		result.ExitCode = 7
	}
	return result, nil
}

func (mode modeHandler) PrepareJob(ctx context.Context, args *hook.PrepareJobArgs) (hook.Result, error) {
	answer := hook.Response{State: map[string]any{"from": "prepare_job"}, Context: &hook.JobContext{}}
	if args.Container != nil {
		answer.IsAlpine = new(true)
		answer.Context.Container = &hook.ContainerContext{ID: "job", Network: "net"}
	}
	for range args.Services {
		answer.Context.Services = append(answer.Context.Services, hook.ServiceContext{ID: "service", Network: "net"})
	}
	return mode.handle(ctx, args, nil, answer)
}

func (mode modeHandler) RunScriptStep(ctx context.Context, args *hook.ScriptStepArgs, state json.RawMessage) (hook.Result, error) {
	return mode.handle(ctx, args, state, hook.Response{})
}

func (mode modeHandler) RunContainerStep(ctx context.Context, args *hook.Container, state json.RawMessage) (hook.Result, error) {
	return mode.handle(ctx, args, state, hook.Response{State: struct{}{}})
}

func (mode modeHandler) CleanupJob(ctx context.Context, state json.RawMessage) (hook.Result, error) {
	return mode.handle(ctx, nil, state, hook.Response{State: map[string]any{"ignored": true}})
}

// newClient makes a client of the hook with the given script.
func newClient(t *testing.T, script string) (*hook.Client, *bytes.Buffer) {
	t.Helper()
	temp, output := t.TempDir(), new(bytes.Buffer)
	path := filepath.Join(temp, "hook.sh")
	write(t, path, script)
	return &hook.Client{
		HookPath: path, TempDir: temp, WorkDir: temp, Stdout: output, Stderr: output,
		Env:            []string{"PATH=" + os.Getenv("PATH"), "RESPONSES=" + temp + "/_runner_hook_responses"},
		InterruptDelay: 200 * time.Millisecond, TerminateDelay: 200 * time.Millisecond, OutputDelay: 300 * time.Millisecond,
	}, output
}

// serveClient makes a client of the hook that is this program.
func serveClient(t *testing.T, mode string) (*hook.Client, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	client, output := newClient(t, "exec '"+self+"'\n")
	client.Env = append(client.Env, "TEST_HOOK="+mode, "GORACE=atexit_sleep_ms=0")
	return client, output
}

func TestClientAndServeUnderstandEachOther(t *testing.T) {
	for _, name := range payloads(t) {
		in, args := mustParse(t, readTestdata(t, name))
		if in.Command == hook.PrepareJob {
			in.State = nil
		}
		t.Run(name, func(t *testing.T) {
			client, output := serveClient(t, "echo")
			result, err := client.Call(t.Context(), in.Command, args, in.State)
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			want := string(indent(t, map[string]any{"args": withoutNames(args), "state": in.State}))
			if diff := cmp.Diff(want, string(indent(t, json.RawMessage(output.Bytes())))); diff != "" {
				t.Errorf("the hook saw (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(result.ResponseFile); !os.IsNotExist(err) {
				t.Errorf("the response file is still there: %v", err)
			}
			checkState(t, in, result)
		})
	}
}

// withoutNames takes away what the runner does not send.
func withoutNames(args any) any {
	if args, ok := args.(*hook.PrepareJobArgs); ok {
		for i := range args.Services {
			args.Services[i].ContextName = ""
		}
	}
	return args
}

// checkState compares with what modeHandler answers.
func checkState(t *testing.T, in *hook.Input, result *hook.CallResult) {
	t.Helper()
	want := map[hook.Command]string{
		hook.PrepareJob:       `{"from":"prepare_job"}`,
		hook.RunContainerStep: `{}`,
		hook.RunScriptStep:    string(in.State),
		hook.CleanupJob:       string(in.State),
	}[in.Command]
	if string(result.State) != want {
		t.Errorf("state %s after %s, want %s", result.State, in.Command, want)
	}
	if (in.Command == hook.RunScriptStep) != (result.Response == nil) {
		t.Errorf("response %+v to %s", result.Response, in.Command)
	}
}

func TestThePrepareJobResponseArrives(t *testing.T) {
	client, _ := serveClient(t, "echo")
	_, args := mustParse(t, readTestdata(t, "runner-2.336.0/prepare_job.json"))
	result, err := client.Call(t.Context(), hook.PrepareJob, args, nil)
	if err != nil {
		t.Fatal(err)
	}
	service := hook.ServiceContext{ID: "service", Network: "net", Ports: map[string]string{}}
	want := &hook.Response{
		State:    json.RawMessage(`{"from":"prepare_job"}`),
		IsAlpine: new(true),
		Context: &hook.JobContext{
			Container: &hook.ContainerContext{ID: "job", Network: "net"},
			Services:  []hook.ServiceContext{service, service},
		},
	}
	if diff := cmp.Diff(want, result.Response); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVariablesAreSentInTheirOrder(t *testing.T) {
	client, _ := newClient(t, "exit 0\n")
	var sent string
	client.Sent = func(stdin []byte) { sent = string(stdin) }
	args := &hook.ScriptStepArgs{
		EnvironmentVariables: map[string]string{"B": "<2>", "A": "1", "D": "ü", "C": ""},
		EnvironmentOrder:     []string{"D", "NONE", "B", "D"},
	}
	if _, err := client.Call(t.Context(), hook.RunScriptStep, args, nil); err != nil {
		t.Fatal(err)
	}
	if want := `"environmentVariables":{"D":"ü","B":"<2>","A":"1","C":""}`; !strings.Contains(sent, want) {
		t.Errorf("no %s in %s", want, sent)
	}
}

func TestAFailedStepKeepsTheState(t *testing.T) {
	client, _ := serveClient(t, "fail")
	result, err := client.Call(t.Context(), hook.RunContainerStep, hook.Container{Image: "a"}, json.RawMessage(`{"a":1}`))
	checkCallError(t, err, hook.CauseExit, "The hook script at '"+client.HookPath+"' running command 'RunContainerStep' did not execute successfully")
	if result.ExitCode != 7 || string(result.State) != `{"a":1}` || result.Response != nil {
		t.Errorf("exit %d, state %s, response %+v", result.ExitCode, result.State, result.Response)
	}
}

// wrapped is what users of the runner see.
const wrapped = "Executing the custom container implementation failed. Please contact your self hosted runner administrator."

func checkCallError(t *testing.T, err error, cause hook.Cause, inner string) {
	t.Helper()
	var call *hook.CallError
	if !errors.As(err, &call) {
		t.Fatalf("got error %v, want a CallError", err)
	}
	if call.Cause != cause || inner != "" && call.Inner.Error() != inner {
		t.Errorf("got %s: %v\nwant %s: %s", call.Cause, call.Inner, cause, inner)
	}
	if want := map[bool]string{false: wrapped}[cause == hook.CauseCrash]; call.Wrapper != want || call.Command == "" {
		t.Errorf("%q: wrapper %q, want %q", call.Command, call.Wrapper, want)
	}
}

// A cancelled call gets SIGINT, SIGTERM and SIGKILL, each only if the one before did not help.
func TestCancelling(t *testing.T) {
	tests := []struct {
		mode string
		exit int
		want []syscall.Signal
	}{
		{"wait", 1, []syscall.Signal{syscall.SIGINT}},
		{"stubborn until SIGTERM", 1, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}},
		{"stubborn", 128 + 9, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			client, output := serveClient(t, test.mode)
			if test.exit == 1 {
				// Enough for a slow machine: these hooks end as soon as they may.
				client.TerminateDelay = time.Minute
			}
			if test.mode == "wait" {
				client.InterruptDelay = time.Minute
			}
			result, err := cancelWhenReady(t, client, output)
			checkCallError(t, err, hook.CauseCanceled, "The operation was canceled.")
			if diff := cmp.Diff(test.want, result.Signals); diff != "" || result.ExitCode != test.exit {
				t.Errorf("exit %d, want %d; signals (-want +got):\n%s", result.ExitCode, test.exit, diff)
			}
			if interrupted := strings.Contains(output.String(), "interrupted"); interrupted != (test.exit == 1) {
				t.Errorf("output: %s", output)
			}
			if string(result.State) != `{"a":1}` || result.ResponseText != nil {
				t.Errorf("state %s, response %q", result.State, result.ResponseText)
			}
		})
	}
}

// cancelWhenReady runs a step and cancels it when the hook prints "ready".
func cancelWhenReady(t *testing.T, client *hook.Client, output *bytes.Buffer) (*hook.CallResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client.Stdout = writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("ready")) {
			cancel()
		}
		return output.Write(p)
	})
	return client.Call(ctx, hook.RunScriptStep, &hook.ScriptStepArgs{EntryPoint: "sh"}, json.RawMessage(`{"a":1}`))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// The hook's children get no signal, and are waited for only for a while.
func TestChildrenOutliveTheHook(t *testing.T) {
	client, output := newClient(t, "sleep 1000 & echo $! ready; trap '' INT; while :; do sleep 0.1; done")
	result, err := cancelWhenReady(t, client, output)
	checkCallError(t, err, hook.CauseCanceled, "")
	if !result.OutputHeld || result.ExitCode == 0 {
		t.Errorf("output held: %v, exit %d", result.OutputHeld, result.ExitCode)
	}
	var child int
	if _, err := fmt.Sscan(output.String(), &child); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("the hook's child was gone: %v", err)
	}
}

func TestHeldOutputIsNoFailure(t *testing.T) {
	client, output := newClient(t, "sleep 1000 & echo $!")
	result, err := client.Call(t.Context(), hook.CleanupJob, nil, nil)
	if err != nil || !result.OutputHeld {
		t.Errorf("error %v, output held: %v", err, result.OutputHeld)
	}
	var child int
	if _, err := fmt.Sscan(output.String(), &child); err != nil {
		t.Fatal(err)
	}
	try(t, syscall.Kill(child, syscall.SIGKILL))
}

func TestNothingIsStartedAfterCancelling(t *testing.T) {
	client, output := newClient(t, "echo started")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Call(ctx, hook.CleanupJob, nil, nil)
	checkCallError(t, err, hook.CauseCanceled, "The operation was canceled.")
	if output.Len() > 0 {
		t.Errorf("output: %s", output)
	}
}

func TestConcurrentCallsHaveTheirOwnResponseFiles(t *testing.T) {
	client, _ := newClient(t, "cat > /dev/null")
	client.Stdout, client.Stderr = nil, nil
	files := make(chan string, 4)
	for range cap(files) {
		go func() {
			result, err := client.Call(t.Context(), hook.CleanupJob, nil, nil)
			if err != nil {
				t.Error(err)
			}
			files <- result.ResponseFile
		}()
	}
	seen := map[string]bool{}
	for range cap(files) {
		seen[<-files] = true
	}
	if len(seen) != cap(files) {
		t.Errorf("response files: %v", seen)
	}
}
