package hook_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

var update = flag.Bool("update", false, "write the golden files anew")

// payloads returns the names of all stored inputs.
func payloads(tb testing.TB) []string {
	tb.Helper()
	var all []string
	for _, pattern := range []string{"testdata/runner-*/*.json", "testdata/documented/*.json"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 5 {
			tb.Fatalf("%s: %d files, error %v", pattern, len(found), err)
		}
		all = append(all, found...)
	}
	for i, name := range all {
		all[i] = strings.TrimPrefix(name, "testdata/")
	}
	return all
}

// decodeArgs decodes the args of any command; those of cleanup_job are nil.
func decodeArgs(in *hook.Input) (any, error) {
	switch in.Command {
	case hook.PrepareJob:
		return hook.DecodePrepareJob(in.Args)
	case hook.RunScriptStep:
		return hook.DecodeScriptStep(in.Args)
	case hook.RunContainerStep:
		return hook.DecodeContainerStep(in.Args)
	}
	return nil, nil
}

func mustParse(tb testing.TB, text []byte) (*hook.Input, any) {
	tb.Helper()
	in, err := hook.ReadInput(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	args, err := decodeArgs(in)
	if err != nil {
		tb.Fatal(err)
	}
	return in, args
}

func TestStoredInputsAreRead(t *testing.T) {
	for _, name := range payloads(t) {
		t.Run(name, func(t *testing.T) {
			in, args := mustParse(t, readTestdata(t, name))
			got := indent(t, map[string]any{
				"command": in.Command, "responseFile": in.ResponseFile, "state": in.State, "args": args,
			})
			golden := strings.TrimSuffix(name, ".json") + ".decoded"
			if *update {
				if err := os.WriteFile("testdata/"+golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(readTestdata(t, golden)), string(got)); diff != "" {
				t.Errorf("decoded differently (-want +got):\n%s", diff)
			}
		})
	}
}

func indent(tb testing.TB, value any) []byte {
	tb.Helper()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}

// The runner writes one line, but the object means the same over many lines, after a byte order mark, with other
// white space around it and with members that are not known yet.
func TestTheFormOfTheInputDoesNotMatter(t *testing.T) {
	for _, name := range payloads(t) {
		text := bytes.TrimSpace(readTestdata(t, name))
		want, wantArgs := mustParse(t, text)
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, text, "", "\t"); err != nil {
			t.Fatal(err)
		}
		forms := map[string]string{
			"pretty":          pretty.String(),
			"byte order mark": "\ufeff" + string(text),
			"white space":     " \r\n\t" + string(text) + "\r\n\n  ",
			"unknown members": `{"traceparent":{"a":[1]},` + string(text[1:]),
			"upper case":      strings.Replace(string(text), `"args"`, `"Args"`, 1),
		}
		for form, text := range forms {
			t.Run(name+"/"+form, func(t *testing.T) {
				got, gotArgs := mustParse(t, []byte(text))
				if diff := cmp.Diff(wantArgs, gotArgs); diff != "" {
					t.Errorf("args (-want +got):\n%s", diff)
				}
				if got.Command != want.Command || got.ResponseFile != want.ResponseFile {
					t.Errorf("got %s %q, want %s %q", got.Command, got.ResponseFile, want.Command, want.ResponseFile)
				}
			})
		}
	}
}
