package hook_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

// answering makes a client of a hook that answers with the given text.
func answering(t *testing.T, text string) *hook.Client {
	t.Helper()
	client, _ := newClient(t, `printf %s "$ANSWER" > "$(echo "$RESPONSES"/*.json)"`)
	client.Env = append(client.Env, "ANSWER="+text)
	return client
}

// call sends a command with the state {"old":1}.
func call(t *testing.T, client *hook.Client, command hook.Command, args string) (*hook.CallResult, error) {
	t.Helper()
	return client.Call(t.Context(), command, json.RawMessage(args), json.RawMessage(`{"old":1}`))
}

const (
	alpine  = `"isAlpine":true`
	service = `{"id":"r","network":"n","ports":{}}`
)

func TestResponsesTheRunnerAccepts(t *testing.T) {
	tests := []struct {
		name    string
		command hook.Command
		args    string
		text    string
		state   string
	}{
		{"empty", hook.RunScriptStep, scriptStep, "", `{"old":1}`},
		{"white space", hook.RunScriptStep, scriptStep, " \r\n\t", `{"old":1}`},
		{"null", hook.RunContainerStep, containerStep, "null", `{"old":1}`},
		{"byte order mark", hook.RunScriptStep, scriptStep, "\ufeff" + `{"state":{"new":1}}`, `{"new":1}`},
		{"empty object", hook.CleanupJob, "{}", "{}", `{"old":1}`},
		{"state null", hook.RunScriptStep, scriptStep, `{"state":null}`, `{"old":1}`},
		{"state is replaced, not merged", hook.RunScriptStep, scriptStep, `{"state":{}}`, `{}`},
		{"cleanup_job sets no state", hook.CleanupJob, "{}", `{"state":{"new":1}}`, `{"old":1}`},
		{"unknown members", hook.RunScriptStep, scriptStep, `{"alpine":[],"state":{"new":1},"x":{}}`, `{"new":1}`},
		{"case of names", hook.RunScriptStep, scriptStep, `{"STATE":{"new":1}}`, `{"new":1}`},
		{"comments", hook.RunScriptStep, scriptStep, "// a\n{/* b */\"state\"://\n{\"new\":\"// /* */ \\\" //\"}}//", `{"new":"// /* */ \" //"}`},
		{"only a comment", hook.RunScriptStep, scriptStep, "/* nothing */", `{"old":1}`},
		{"members of prepare_job elsewhere", hook.RunScriptStep, scriptStep, `{"isAlpine":[],"context":1}`, `{"old":1}`},
		{"64 levels", hook.RunScriptStep, scriptStep, `{"state":` + strings.Repeat(`{"a":`, 63) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 63) + "1" + strings.Repeat("}", 63)},
		{"container", hook.PrepareJob, withContainer, `{` + alpine + `}`, `{"old":1}`},
		{"word for a boolean", hook.PrepareJob, withContainer, `{"isAlpine":" True "}`, `{"old":1}`},
		{"number for a boolean", hook.PrepareJob, withContainer, `{"isAlpine":0}`, `{"old":1}`},
		{"numbers for strings", hook.PrepareJob, both, `{` + alpine + `,"context":{"container":{"id":1,"network":2},"services":[{"id":3,"ports":{"80":8080}}]}}`, `{"old":1}`},
		{"context null", hook.PrepareJob, withContainer, `{` + alpine + `,"context":null}`, `{"old":1}`},
		{"no services in the context", hook.PrepareJob, both, `{` + alpine + `,"context":{}}`, `{"old":1}`},
		{"fewer services", hook.PrepareJob, servicesOnly, `{"context":{"services":[` + service + `]}}`, `{"old":1}`},
		{"ports of the container", hook.PrepareJob, withContainer, `{` + alpine + `,"context":{"container":{"id":"c","ports":null}}}`, `{"old":1}`},
		{"container of nulls without one", hook.PrepareJob, servicesOnly, `{"context":{"container":{"id":null,"network":null}}}`, `{"old":1}`},
		{"container null without one", hook.PrepareJob, servicesOnly, `{"context":{"container":null}}`, `{"old":1}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result, err := call(t, answering(t, test.text), test.command, test.args)
			if err != nil {
				t.Fatal(err)
			}
			if string(result.State) != test.state {
				t.Errorf("state %s, want %s", result.State, test.state)
			}
			if string(result.ResponseText) != test.text {
				t.Errorf("text %q, want %q", result.ResponseText, test.text)
			}
		})
	}
}

func TestResponsesTheRunnerCannotRead(t *testing.T) {
	tests := []struct{ name, text, field string }{
		{"not JSON", "hello", ""},
		{"cut off", `{"state":{}`, ""},
		{"text after it", `{} x`, ""},
		{"second value", `{"state":{"new":1}} {}`, ""},
		{"array", `[]`, ""},
		{"number", `0`, ""},
		{"comment without end", `{} /*`, ""},
		{"65 levels", `{"state":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 65), ""},
		{"state is an array", `{"state":[]}`, "state"},
		{"state is a string", `{"state":"x"}`, "state"},
		{"state is a number", `{"state":1}`, "state"},
		{"isAlpine is a word", `{"isAlpine":"musl"}`, "isAlpine"},
		{"isAlpine is an object", `{"isAlpine":{}}`, "isAlpine"},
		{"context is an array", `{` + alpine + `,"context":[]}`, "context"},
		{"services are an object", `{` + alpine + `,"context":{"services":{"redis":` + service + `}}}`, "context.services"},
		{"service is a string", `{` + alpine + `,"context":{"services":["r"]}}`, "context.services[0]"},
		{"ports are an array", `{` + alpine + `,"context":{"services":[{"ports":["80"]}]}}`, "context.services[0].ports"},
		{"port is an object", `{` + alpine + `,"context":{"services":[{"ports":{"80":{}}}]}}`, "context.services[0].ports.80"},
		{"id is an object", `{` + alpine + `,"context":{"container":{"id":{}}}}`, "context.container.id"},
		{"the documented example", string(readTestdata(t, "documented-prepare_job.response.json")), "context.services"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result, err := call(t, answering(t, test.text), hook.PrepareJob, both)
			checkCallError(t, err, hook.CauseResponse, "")
			var bad *hook.ResponseError
			if !errors.As(err, &bad) || bad.Field != test.field {
				t.Errorf("got %v, want a ResponseError about %q", err, test.field)
			}
			if string(result.State) != `{"old":1}` {
				t.Errorf("state %s", result.State)
			}
		})
	}
}

func TestWhatTheRunnerAsksForIsMissing(t *testing.T) {
	client := answering(t, "")
	_, err := call(t, client, hook.PrepareJob, withContainer)
	checkCallError(t, err, hook.CauseResponse, "Response file could not be read at '"+client.HookPath+"' running command 'PrepareJob'")

	client = answering(t, `{"state":{"new":1}}`)
	result, err := call(t, client, hook.PrepareJob, withContainer)
	checkCallError(t, err, hook.CauseResponse, "The property 'isAlpine' is required but was not found in the response file.")
	if string(result.State) != `{"old":1}` {
		t.Errorf("state %s", result.State)
	}

	client, _ = newClient(t, `rm "$RESPONSES"/*.json`)
	_, err = call(t, client, hook.PrepareJob, withContainer)
	checkCallError(t, err, hook.CauseResponse, "Response file is required but not found for the hook script at '"+client.HookPath+"' running command 'PrepareJob'")
	if _, err := call(t, client, hook.RunScriptStep, scriptStep); err != nil {
		t.Errorf("run_script_step needs no response file: %v", err)
	}
}

// These pass the runner's checks and make it fail later, when it has taken over the state already.
func TestResponsesThatCrashTheRunner(t *testing.T) {
	const null = "Object reference not set to an instance of an object."
	const state = `"state":{"new":1}`
	tests := []struct{ name, args, text, inner string }{
		{"services only, empty", servicesOnly, "", null},
		{"services only, null", servicesOnly, "null", null},
		{"no ports", both, `{` + state + `,` + alpine + `,"context":{"services":[{"id":"r"}]}}`, null},
		{"ports null", both, `{` + state + `,` + alpine + `,"context":{"services":[{"id":"r","ports":null}]}}`, null},
		{"services null", both, `{` + state + `,` + alpine + `,"context":{"services":null}}`, null},
		{"service null", both, `{` + state + `,` + alpine + `,"context":{"services":[null]}}`, null},
		{"id of no container", servicesOnly, `{` + state + `,"context":{"container":{"id":"c"}}}`, null},
		{"network of no container", servicesOnly, `{` + state + `,"context":{"container":{"network":"n"}}}`, null},
		{"too many services", both, `{` + state + `,` + alpine + `,"context":{"services":[` + service + `,` + service + `]}}`,
			"Index was out of range. Must be non-negative and less than the size of the collection. (Parameter 'index')"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result, err := call(t, answering(t, test.text), hook.PrepareJob, test.args)
			checkCallError(t, err, hook.CauseCrash, test.inner)
			want := `{"new":1}`
			if !strings.Contains(test.text, state) {
				want = `{"old":1}`
			}
			if string(result.State) != want {
				t.Errorf("state %s, want %s", result.State, want)
			}
		})
	}
}

func TestAMissingFileWithServicesOnlyCrashesTheRunner(t *testing.T) {
	client, _ := newClient(t, `rm "$RESPONSES"/*.json`)
	_, err := call(t, client, hook.PrepareJob, servicesOnly)
	checkCallError(t, err, hook.CauseCrash, "Object reference not set to an instance of an object.")
}

func TestAResponseAfterAFailureIsNotRead(t *testing.T) {
	client := answering(t, `{"state":{"new":1}}`)
	client.Env = append(client.Env, "BASH_ENV=", "ENV=")
	write(t, client.HookPath, content(t, client.HookPath)+"\nexit 5")
	result, err := call(t, client, hook.RunScriptStep, scriptStep)
	checkCallError(t, err, hook.CauseExit, "The hook script at '"+client.HookPath+"' running command 'RunScriptStep' did not execute successfully")
	if result.ExitCode != 5 || result.ResponseText != nil || string(result.State) != `{"old":1}` {
		t.Errorf("exit %d, text %q, state %s", result.ExitCode, result.ResponseText, result.State)
	}
	if diff := cmp.Diff(`{"state":{"new":1}}`, content(t, result.ResponseFile)); diff != "" {
		t.Errorf("the response file was not left alone (-want +got):\n%s", diff)
	}
}

func TestAFIFOInPlaceOfTheResponseFileDoesNotBlockTheClient(t *testing.T) {
	client, _ := newClient(t, `f="$(echo "$RESPONSES"/*.json)"; rm "$f"; mkfifo "$f"`)
	_, err := call(t, client, hook.RunScriptStep, scriptStep)
	checkCallError(t, err, hook.CauseResponse, "")
}
