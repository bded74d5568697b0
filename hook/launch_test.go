package hook_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

func TestTheHookIsStartedAsTheRunnerDoes(t *testing.T) {
	client, output := newClient(t, `echo "$-|$#|$0|$PWD|$SOME|${HOME-unset}"; cat > stdin`)
	client.WorkDir = t.TempDir()
	client.Env = append(client.Env, "SOME=thing")
	result, err := client.Call(t.Context(), hook.CleanupJob, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(strings.TrimSpace(output.String()), "|")
	if !strings.Contains(fields[0], "e") {
		t.Errorf("shell flags %q, want -e", fields[0])
	}
	if diff := cmp.Diff([]string{"0", client.HookPath, client.WorkDir, "thing", "unset"}, fields[1:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := `{"command":"cleanup_job","responseFile":"` + result.ResponseFile + `","args":{},"state":null}` + "\n"
	if diff := cmp.Diff(want, content(t, filepath.Join(client.WorkDir, "stdin"))); diff != "" {
		t.Errorf("standard input (-want +got):\n%s", diff)
	}
	form := `^` + regexp.QuoteMeta(client.TempDir) + `/_runner_hook_responses/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json$`
	if !regexp.MustCompile(form).MatchString(result.ResponseFile) {
		t.Errorf("response file %q", result.ResponseFile)
	}
}

func TestTheResponseFileIsThereAndEmpty(t *testing.T) {
	client, output := newClient(t, `wc -c < "$RESPONSES"/*.json`)
	if _, err := client.Call(t.Context(), hook.CleanupJob, nil, nil); err != nil || strings.TrimSpace(output.String()) != "0" {
		t.Errorf("error %v, size %q", err, output)
	}
}

// fakeShell makes a program that tells how it was called.
func fakeShell(t *testing.T, folder, name string) {
	t.Helper()
	path := filepath.Join(folder, name)
	write(t, path, "#!/bin/sh\nfor arg in "+name+` "$@"; do echo "[$arg]"; done`)
	try(t, os.Chmod(path, 0o755))
}

func TestShellsAreLookedUpInTheHooksPath(t *testing.T) {
	tests := []struct {
		name, hook string
		shells     []string
		want       string // HOOK stands for the path of the hook
	}{
		{"bash first", "hook.sh", []string{"sh", "bash"}, "[bash] [-e] [HOOK]"},
		{"else sh", "hook.sh", []string{"sh"}, "[sh] [-e] [HOOK]"},
		{"pwsh first", "hook.ps1", []string{"powershell", "pwsh"}, "[pwsh] [-command] [. 'HOOK']"},
		{"else powershell", "hook.ps1", []string{"powershell"}, "[powershell] [-command] [. 'HOOK']"},
		{"node", "hook.js", []string{"node"}, "[node] [HOOK]"},
		{"a blank in the path", "my hook.sh", []string{"bash"}, "[bash] [-e] [DIR/my] [hook.sh]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, output := newClient(t, "")
			folder := t.TempDir()
			client.HookPath, client.Node = filepath.Join(folder, test.hook), filepath.Join(folder, "node")
			write(t, client.HookPath, "")
			for _, shell := range test.shells {
				fakeShell(t, folder, shell)
			}
			client.Env = []string{"PATH=/nowhere", "PATH=/nowhere/else::" + folder}
			if _, err := client.Call(t.Context(), hook.CleanupJob, nil, nil); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			want := strings.NewReplacer("HOOK", client.HookPath, "DIR", folder).Replace(test.want)
			if got := strings.Join(strings.Split(strings.TrimSpace(output.String()), "\n"), " "); got != want {
				t.Errorf("started as %s, want %s", got, want)
			}
		})
	}
}

func TestHooksThatCannotBeStarted(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"hook.py", "hook.SH", "hook.sh", "hook.js", "hook.ps1"} {
		write(t, filepath.Join(folder, name), "")
	}
	try(t, os.Mkdir(filepath.Join(folder, "dir.sh"), 0o755))
	const notFound = "File not found at 'DIR'. Set ACTIONS_RUNNER_CONTAINER_HOOKS to the path of an existing file."
	const extension = "Invalid file extension at 'DIR'. ACTIONS_RUNNER_CONTAINER_HOOKS must be a path to a file with one of the following extensions: .js, .sh, .ps1"
	tests := []struct {
		name  string
		cause hook.Cause
		inner string // DIR stands for the path
	}{
		{"missing.sh", hook.CauseHookFile, notFound},
		{"dir.sh", hook.CauseHookFile, notFound},
		{"missing", hook.CauseHookFile, notFound},
		{"hook.py", hook.CauseHookFile, extension},
		{"hook.SH", hook.CauseHookFile, extension},
		{"hook.sh", hook.CauseStart, "File not found: 'sh'"},
		{"hook.ps1", hook.CauseStart, ""},
		{"hook.js", hook.CauseStart, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, _ := newClient(t, "")
			client.HookPath, client.Env = filepath.Join(folder, test.name), []string{"PATH=/nowhere"}
			result, err := client.Call(t.Context(), hook.RunScriptStep, hook.ScriptStepArgs{}, json.RawMessage(`{"a":1}`))
			checkCallError(t, err, test.cause, strings.ReplaceAll(test.inner, "DIR", client.HookPath))
			if string(result.State) != `{"a":1}` {
				t.Errorf("state %s", result.State)
			}
		})
	}
}

func TestAMissingWorkspaceKeepsTheHookFromStarting(t *testing.T) {
	client, _ := newClient(t, "")
	client.WorkDir = filepath.Join(client.TempDir, "missing")
	_, err := client.Call(t.Context(), hook.CleanupJob, nil, nil)
	checkCallError(t, err, hook.CauseStart, "")
}

func TestAHookNeedNotReadItsInput(t *testing.T) {
	client, _ := newClient(t, "exit 0")
	args := map[string]string{"big": strings.Repeat("x", 1<<20)}
	if _, err := client.Call(t.Context(), hook.RunScriptStep, args, nil); err != nil {
		t.Error(err)
	}
}

func TestAnyTextCanBeSent(t *testing.T) {
	client, output := newClient(t, "cat; echo oops >&2; exit 3")
	result, err := client.Run(t.Context(), []byte("{\n"))
	if err != nil || result.ExitCode != 3 || !strings.Contains(output.String(), "{\n") || !strings.Contains(output.String(), "oops\n") {
		t.Errorf("error %v, result %+v, output %q", err, result, output)
	}
}

func TestTheSentFormIsTheRunners(t *testing.T) {
	for _, name := range payloads(t) {
		if !strings.HasPrefix(name, "runner-") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := readTestdata(t, name)
			in, args := mustParse(t, want)
			client, output := newClient(t, "cat")
			result, err := client.Call(t.Context(), in.Command, args, in.State)
			if in.Command != hook.PrepareJob && err != nil {
				t.Fatal(err)
			}
			got := bytes.Replace(output.Bytes(), []byte(result.ResponseFile), []byte(in.ResponseFile), 1)
			if diff := cmp.Diff(sortedEnv(t, string(want)), sortedEnv(t, string(got))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// sortedEnv puts the variables of every environment in alphabetical order, and leaves every other byte as it is.
func sortedEnv(t *testing.T, text string) string {
	t.Helper()
	return regexp.MustCompile(`"environmentVariables":\{[^}]*\}`).ReplaceAllStringFunc(text, func(member string) string {
		name, object, _ := strings.Cut(member, ":")
		var env map[string]string
		if err := json.Unmarshal([]byte(object), &env); err != nil {
			t.Fatal(err)
		}
		return name + ":" + strings.TrimSpace(string(indent(t, env)))
	})
}
