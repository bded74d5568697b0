package hook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

// fakeHandler answers every command alike. While it "runs" it does what a step could do.
type fakeHandler struct {
	result hook.Result
	err    error
	step   func()
	calls  []hook.Command
	args   any
	state  json.RawMessage
}

func (h *fakeHandler) record(command hook.Command, args any, state json.RawMessage) (hook.Result, error) {
	h.calls, h.args, h.state = append(h.calls, command), args, state
	if h.step != nil {
		h.step()
	}
	return h.result, h.err
}

func (h *fakeHandler) PrepareJob(_ context.Context, args *hook.PrepareJobArgs) (hook.Result, error) {
	return h.record(hook.PrepareJob, args, nil)
}

func (h *fakeHandler) RunScriptStep(_ context.Context, args *hook.ScriptStepArgs, state json.RawMessage) (hook.Result, error) {
	return h.record(hook.RunScriptStep, args, state)
}

func (h *fakeHandler) RunContainerStep(_ context.Context, args *hook.Container, state json.RawMessage) (hook.Result, error) {
	return h.record(hook.RunContainerStep, args, state)
}

func (h *fakeHandler) CleanupJob(_ context.Context, state json.RawMessage) (hook.Result, error) {
	return h.record(hook.CleanupJob, nil, state)
}

const (
	withContainer = `{"container":{"image":"node:22"},"services":[]}`
	servicesOnly  = `{"container":null,"services":[{"image":"redis"},{"image":"postgres"}]}`
	both          = `{"container":{"image":"node:22"},"services":[{"image":"redis"}]}`
	scriptStep    = `{"entryPoint":"sh"}`
	containerStep = `{"image":"alpine"}`
)

// serve runs one command with a response file at path.
func serve(t *testing.T, command hook.Command, args, path string, h hook.Handler) (int, error) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"command": command, "responseFile": path, "args": json.RawMessage(args), "state": map[string]any{"a": 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return hook.Serve(t.Context(), hook.ServeOptions{Stdin: bytes.NewReader(text)}, h)
}

// tempFile makes a file as the runner does, and then as a job would leave it.
func tempFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "response.json")
	write(t, path, content)
	return path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryCommandReachesItsMethod(t *testing.T) {
	tests := []struct {
		command hook.Command
		args    string
		want    any
		state   string
	}{
		{hook.PrepareJob, servicesOnly, &hook.PrepareJobArgs{}, ""},
		{hook.RunScriptStep, scriptStep, &hook.ScriptStepArgs{}, `{"a":1}`},
		{hook.RunContainerStep, containerStep, &hook.Container{}, `{"a":1}`},
		{hook.CleanupJob, `{}`, nil, `{"a":1}`},
	}
	for _, test := range tests {
		h := &fakeHandler{}
		exit, err := serve(t, test.command, test.args, tempFile(t, ""), h)
		if exit != 0 || err != nil {
			t.Errorf("%s: exit %d, error %v", test.command, exit, err)
		}
		if diff := cmp.Diff([]hook.Command{test.command}, h.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if reflect.TypeOf(h.args) != reflect.TypeOf(test.want) || string(h.state) != test.state {
			t.Errorf("%s: args %T, state %s; want %T, %s", test.command, h.args, h.state, test.want, test.state)
		}
	}
}

func TestTheResponseIsWhatTheHandlerSaid(t *testing.T) {
	tests := []struct {
		name    string
		command hook.Command
		args    string
		answer  hook.Response
		want    string
	}{
		{"nothing", hook.RunScriptStep, scriptStep, hook.Response{}, ""},
		{"nil state", hook.RunScriptStep, scriptStep, hook.Response{State: json.RawMessage(nil)}, ""},
		{"state", hook.RunScriptStep, scriptStep, hook.Response{State: map[string]any{"k": "<ü>"}}, `{"state":{"k":"<ü>"}}` + "\n"},
		{"raw state", hook.CleanupJob, `{}`, hook.Response{State: json.RawMessage("{ \"k\":\n1 }")}, `{"state":{"k":1}}` + "\n"},
		{"only a state for steps", hook.RunContainerStep, containerStep, hook.Response{IsAlpine: new(true), Context: &hook.JobContext{}}, ""},
		{"services only, nothing to say", hook.PrepareJob, servicesOnly, hook.Response{}, "{}\n"},
		{"container", hook.PrepareJob, withContainer, hook.Response{IsAlpine: new(true)}, `{"isAlpine":true}` + "\n"},
		{"container's context", hook.PrepareJob, withContainer,
			hook.Response{IsAlpine: new(false), Context: &hook.JobContext{Container: &hook.ContainerContext{ID: "c", Network: "n"}}},
			`{"isAlpine":false,"context":{"container":{"id":"c","network":"n"},"services":[]}}` + "\n"},
		{"nothing of a job container without one", hook.PrepareJob, `{"services":[{"image":"redis"}]}`,
			hook.Response{IsAlpine: new(true), Context: &hook.JobContext{Container: &hook.ContainerContext{ID: "c"}, Services: []hook.ServiceContext{{ID: "r", Network: "n"}}}},
			`{"context":{"services":[{"id":"r","network":"n","ports":{}}]}}` + "\n"},
		{"all", hook.PrepareJob, both,
			hook.Response{State: struct{}{}, IsAlpine: new(true), Context: &hook.JobContext{
				Container: &hook.ContainerContext{ID: "c", Network: "n"},
				Services:  []hook.ServiceContext{{ID: "r", Network: "n", Ports: map[string]string{"6379": "32768"}}},
			}},
			`{"state":{},"isAlpine":true,"context":{"container":{"id":"c","network":"n"},"services":[{"id":"r","network":"n","ports":{"6379":"32768"}}]}}` + "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := tempFile(t, strings.Repeat("an old and longer content ", 100))
			h := &fakeHandler{result: hook.Result{Response: test.answer}}
			if exit, err := serve(t, test.command, test.args, path, h); exit != 0 || err != nil {
				t.Errorf("exit %d, error %v", exit, err)
			}
			if diff := cmp.Diff(test.want, content(t, path)); diff != "" {
				t.Errorf("response file (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswersTheRunnerWouldNotSurviveAreErrors(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)
	tests := []struct {
		name    string
		command hook.Command
		args    string
		answer  hook.Response
		field   string
	}{
		{"isAlpine forgotten", hook.PrepareJob, withContainer, hook.Response{}, "isAlpine"},
		{"too few services", hook.PrepareJob, servicesOnly, hook.Response{Context: &hook.JobContext{Services: make([]hook.ServiceContext, 1)}}, "context.services"},
		{"too many services", hook.PrepareJob, servicesOnly, hook.Response{Context: &hook.JobContext{Services: make([]hook.ServiceContext, 3)}}, "context.services"},
		{"state is an array", hook.CleanupJob, "{}", hook.Response{State: []int{1}}, "state"},
		{"state is a string", hook.CleanupJob, "{}", hook.Response{State: "x"}, "state"},
		{"state is not JSON", hook.CleanupJob, "{}", hook.Response{State: json.RawMessage("{")}, "state"},
		{"state cannot be encoded", hook.CleanupJob, "{}", hook.Response{State: map[string]any{"f": func() {}}}, "state"},
		{"state is too deep", hook.CleanupJob, "{}", hook.Response{State: json.RawMessage(deep)}, "state"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := tempFile(t, `{"state":{"forged":true}}`)
			exit, err := serve(t, test.command, test.args, path, &fakeHandler{result: hook.Result{Response: test.answer}})
			var bad *hook.AnswerError
			if exit != 1 || !errors.As(err, &bad) || bad.Field != test.field {
				t.Errorf("exit %d, error %v, want 1 and an AnswerError about %s", exit, err, test.field)
			}
			if got := content(t, path); strings.Contains(got, "forged") {
				t.Errorf("the response file has the old content: %s", got)
			}
		})
	}
}

func TestAForgedResponseNeverSurvives(t *testing.T) {
	failure := errors.New("no engine")
	for _, test := range []struct {
		name string
		h    fakeHandler
		exit int
	}{
		{"success", fakeHandler{}, 0},
		{"failed step", fakeHandler{result: hook.Result{ExitCode: 3}}, 3},
		{"failed hook", fakeHandler{err: failure}, 1},
		{"status of a signal", fakeHandler{result: hook.Result{ExitCode: 137}}, 137},
		{"status that would become 0", fakeHandler{result: hook.Result{ExitCode: 256}}, 1},
		{"negative status", fakeHandler{result: hook.Result{ExitCode: -1}}, 1},
	} {
		for command, args := range map[hook.Command]string{
			hook.PrepareJob: servicesOnly, hook.RunScriptStep: scriptStep, hook.RunContainerStep: containerStep, hook.CleanupJob: "{}",
		} {
			t.Run(test.name+"/"+string(command), func(t *testing.T) {
				path := tempFile(t, "")
				h := test.h
				h.step = func() { write(t, path, `{"state":{"forged":true}}`) }
				exit, err := serve(t, command, args, path, &h)
				if exit != test.exit || !errors.Is(err, test.h.err) {
					t.Errorf("exit %d, error %v; want %d, %v", exit, err, test.exit, test.h.err)
				}
				want := map[bool]string{true: "{}\n"}[command == hook.PrepareJob]
				if got := content(t, path); got != want {
					t.Errorf("response file %q, want %q", got, want)
				}
			})
		}
	}
}

// Steps delete all of RUNNER_TEMP. What the runner needs to know it must still be told.
func TestAResponseFolderThatIsGoneAfterwardsSaysNothing(t *testing.T) {
	for _, state := range []any{nil, map[string]any{"a": 1}} {
		path := filepath.Join(t.TempDir(), "responses", "x.json")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		h := &fakeHandler{result: hook.Result{ExitCode: 3, Response: hook.Response{State: state}}}
		h.step = func() { _ = os.RemoveAll(filepath.Dir(path)) }
		if exit, err := serve(t, hook.RunScriptStep, scriptStep, path, h); exit != 3 && state == nil || exit == 0 || (err != nil) != (state != nil) {
			t.Errorf("state %v: exit %d, error %v", state, exit, err)
		}
	}
}

func TestTheStatusOfTheUsersCommandIsKept(t *testing.T) {
	for _, c := range []struct {
		status int
		err    error
		want   int
	}{
		{0, nil, 0},
		{42, nil, 42},
		{42, errors.New("step exited with status 42"), 42},
		{0, errors.New("no engine"), 1},
		{256, nil, 1},
		{-1, errors.New("gone"), 1},
	} {
		h := &fakeHandler{result: hook.Result{ExitCode: c.status}, err: c.err}
		got, err := serve(t, hook.RunContainerStep, containerStep, tempFile(t, ""), h)
		if got != c.want || (err != nil) != (c.err != nil) {
			t.Errorf("status %d with error %v gives %d and %v, want %d", c.status, c.err, got, err, c.want)
		}
	}
}

func TestBadArgumentsEmptyTheResponseFileToo(t *testing.T) {
	path := tempFile(t, `{"state":{"forged":true}}`)
	h := &fakeHandler{}
	exit, err := serve(t, hook.RunScriptStep, `{}`, path, h)
	var bad *hook.InputError
	if exit != 1 || !errors.As(err, &bad) || len(h.calls) > 0 || content(t, path) != "" {
		t.Errorf("exit %d, error %v, %d calls, response file %q", exit, err, len(h.calls), content(t, path))
	}
}

// obstacle puts something at path that must not be written to, and returns a file that must stay as it is.
type obstacle struct {
	name string
	put  func(t *testing.T, path string) (untouched string)
}

func obstacles() []obstacle {
	return []obstacle{
		{"directory", func(t *testing.T, path string) string { try(t, os.Mkdir(path, 0o755)); return "" }},
		{"FIFO", func(t *testing.T, path string) string { try(t, syscall.Mkfifo(path, 0o600)); return "" }},
		{"symbolic link", func(t *testing.T, path string) string {
			target := tempFile(t, "precious")
			try(t, os.Symlink(target, path))
			return target
		}},
		{"dangling link", func(t *testing.T, path string) string {
			try(t, os.Symlink(filepath.Join(t.TempDir(), "nothing"), path))
			return ""
		}},
		{"hard link", func(t *testing.T, path string) string {
			target := path + ".target"
			write(t, target, "precious")
			try(t, os.Link(target, path))
			return target
		}},
		{"device", func(t *testing.T, path string) string { try(t, os.Symlink("/dev/null", path)); return "" }},
	}
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsDoneWithoutAProperResponseFile(t *testing.T) {
	for _, o := range obstacles() {
		t.Run(o.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "r.json")
			untouched := o.put(t, path)
			h := &fakeHandler{}
			exit, err := serve(t, hook.RunScriptStep, scriptStep, path, h)
			checkRefused(t, exit, err, path, untouched)
			if len(h.calls) > 0 {
				t.Error("the handler was called")
			}
		})
	}
	t.Run("missing directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "missing", "r.json")
		exit, err := serve(t, hook.RunScriptStep, scriptStep, path, &fakeHandler{})
		checkRefused(t, exit, err, path, "")
		if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory was made: %v", err)
		}
	})
	t.Run("below a file", func(t *testing.T) {
		path := filepath.Join(tempFile(t, ""), "r.json")
		exit, err := serve(t, hook.RunScriptStep, scriptStep, path, &fakeHandler{})
		checkRefused(t, exit, err, path, "")
	})
	t.Run("not writable", func(t *testing.T) {
		path := tempFile(t, "")
		deny := func(string, int, os.FileMode) (*os.File, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.EACCES} // root may write everywhere
		}
		in := &hook.Input{Command: hook.CleanupJob, ResponseFile: path}
		h := &fakeHandler{}
		exit, err := hook.Serve(t.Context(), hook.ServeOptions{Input: in, OpenResponse: deny}, h)
		checkRefused(t, exit, err, path, "")
		if len(h.calls) > 0 {
			t.Error("the handler was called")
		}
	})
}

func TestWhatAStepPutInPlaceOfTheResponseFileIsNotTouched(t *testing.T) {
	for _, o := range obstacles() {
		t.Run(o.name, func(t *testing.T) {
			path := tempFile(t, "")
			untouched := ""
			h := &fakeHandler{step: func() {
				try(t, os.Remove(path))
				untouched = o.put(t, path)
			}}
			exit, err := serve(t, hook.RunScriptStep, scriptStep, path, h)
			checkRefused(t, exit, err, path, untouched)
		})
	}
}

func checkRefused(t *testing.T, exit int, err error, path, untouched string) {
	t.Helper()
	var bad *hook.ResponseFileError
	if exit != 1 || !errors.As(err, &bad) || bad.Path != path || bad.Problem == "" {
		t.Errorf("exit %d, error %v, want 1 and a ResponseFileError about %s", exit, err, path)
	}
	if untouched != "" && content(t, untouched) != "precious" {
		t.Errorf("%s was changed", untouched)
	}
}

func TestAMissingResponseFileIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	h := &fakeHandler{result: hook.Result{Response: hook.Response{State: struct{}{}}}}
	h.step = func() { try(t, os.Remove(path)) }
	if exit, err := serve(t, hook.CleanupJob, "{}", path, h); exit != 0 || err != nil {
		t.Errorf("exit %d, error %v", exit, err)
	}
	if got := content(t, path); got != `{"state":{}}`+"\n" {
		t.Errorf("response file %q", got)
	}
}

func TestOnlyPrepareJobNeedsAResponseFile(t *testing.T) {
	for command, args := range map[hook.Command]string{hook.RunScriptStep: scriptStep, hook.RunContainerStep: containerStep, hook.CleanupJob: "{}"} {
		if exit, err := serve(t, command, args, "", &fakeHandler{}); exit != 0 || err != nil {
			t.Errorf("%s: exit %d, error %v", command, exit, err)
		}
	}
	h := &fakeHandler{}
	exit, err := serve(t, hook.PrepareJob, servicesOnly, "", h)
	var bad *hook.InputError
	if exit != 1 || !errors.As(err, &bad) || bad.Field != "responseFile" || len(h.calls) > 0 {
		t.Errorf("exit %d, error %v, %d calls", exit, err, len(h.calls))
	}
}

func TestOpenResponseSeesEveryOpening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	opened := 0
	open := func(path string, flag int, perm os.FileMode) (*os.File, error) {
		opened++
		if flag&syscall.O_NOFOLLOW == 0 || flag&syscall.O_NONBLOCK == 0 || flag&os.O_TRUNC != 0 {
			t.Errorf("flags %#x", flag)
		}
		return os.OpenFile(path, flag, perm)
	}
	in := &hook.Input{Command: hook.CleanupJob, ResponseFile: path}
	exit, err := hook.Serve(t.Context(), hook.ServeOptions{Input: in, OpenResponse: open}, &fakeHandler{})
	if exit != 0 || err != nil || opened < 2 {
		t.Errorf("exit %d, error %v, %d openings", exit, err, opened)
	}
}
