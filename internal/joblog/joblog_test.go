package joblog_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/joblog"
)

func TestCommands(t *testing.T) {
	for line, want := range map[string]string{
		"::error::m":                         "error map[] m",
		"  ::Error file=a.c,line=1::m::n":    "error map[file:a.c line:1] m::n",
		"::set-output name=a::x%25y%0Az%0D":  "set-output map[name:a] x%y\nz\r",
		"::error file=a%3Ab%2Cc::%3A":        "error map[file:a:b,c] %3A",
		"::group::":                          "group map[] ",
		"::stop-commands::T":                 "stop-commands map[] T",
		"text ##[warning file=a;line=2]m%5D": "warning map[file:a line:2] m]",
		"::error file=,line=1::m":            "error map[line:1] m",
		"::error file::m":                    "error map[] m",
		"::debug::a ::b":                     "debug map[] a ::b",
		"::warning title=a=b::m":             "warning map[title:a=b] m",
		"##[add-mask]secret":                 "add-mask map[] secret",
		"::notice file=x , line= 3 ::m":      "notice map[file:x  line: 3] m",
	} {
		c, ok := joblog.ParseCommand(line)
		if got := fmt.Sprint(c.Name, " ", c.Props, " ", c.Data); !ok || got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{"", "plain", "::", "::error", "x ::error::m", "##[", "##[error", "::::m", ":: ::m"} {
		if c, ok := joblog.ParseCommand(line); ok {
			t.Errorf("%q is no command: %+v", line, c)
		}
	}
}

// record notes what a filter says.
type record struct{ lines []string }

func (r *record) Print(kind, text string) { r.lines = append(r.lines, kind+"|"+text) }
func (r *record) Annotate(kind string, props map[string]string, message string) {
	r.lines = append(r.lines, fmt.Sprint("@", kind, props, message))
}
func (r *record) SetOutput(name, value string) { r.lines = append(r.lines, "out "+name+"="+value) }
func (r *record) SaveState(name, value string) { r.lines = append(r.lines, "state "+name+"="+value) }

func filter(lines ...string) []string {
	r := &record{}
	f := joblog.Filter{Sink: r, Masks: &joblog.Masks{}}
	for _, line := range lines {
		f.Line(line)
	}
	return r.lines
}

func TestCommandsStopUntilTheTokenComes(t *testing.T) {
	got := filter("::stop-commands::Token", "::error::not one", "::other::", "::token::", "::error::one")
	want := []string{"|::stop-commands::Token", "|::error::not one", "|::other::", "|::token::", "error|one", "@errormap[]one"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMasksHoldFromTheirLineOn(t *testing.T) {
	got := filter("s3cret", "::add-mask::s3cret", "a s3cret b s3crets3cret", "::warning::s3cret")
	want := []string{"|s3cret", "|a *** b ***", "warning|***", "@warningmap[]***"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownCommandsArePlainText(t *testing.T) {
	got := filter("::unknown::x", "plain")
	if diff := cmp.Diff([]string{"|::unknown::x", "|plain"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsThatCannotBeCarriedOutFailTheStep(t *testing.T) {
	for line, want := range map[string]string{
		"::set-env name=a::b":  "The `set-env` command is disabled. Please upgrade to using Environment Files ",
		"::add-path::/x":       "The `add-path` command is disabled. ",
		"::set-output::x":      "Required field 'name' is missing in ##[set-output] command.",
		"::save-state name=::": "Required field 'name' is missing in ##[save-state] command.",
		"::echo::maybe":        "Invalid echo command value. Possible values can be: 'on', 'off'. Current value is: 'maybe'.",
	} {
		r := &record{}
		f := joblog.Filter{Sink: r, Masks: &joblog.Masks{}}
		f.Line(line)
		first := "Unable to process command '" + line + "' successfully."
		if !f.Failed || len(r.lines) != 4 || r.lines[0] != "error|"+first || r.lines[1] != "@errormap[]"+first ||
			!strings.HasPrefix(r.lines[2], "error|"+want) || !strings.HasPrefix(r.lines[3], "@errormap[]"+want) {
			t.Errorf("%q: %q", line, r.lines)
		}
	}
	for _, token := range []string{"", "pause-logging", "Error"} {
		if got := filter("::stop-commands::"+token, "::error::still one"); len(got) != 5 || got[3] != "error|still one" {
			t.Errorf("%q: %q", token, got)
		}
	}
}

func TestUnsecureCommandsThatAreAllowed(t *testing.T) {
	var done []string
	do := func(name, value string) { done = append(done, name+"="+value) }
	r := &record{}
	f := joblog.Filter{Sink: r, Masks: &joblog.Masks{}, AllowUnsecure: true, SetEnv: do, AddPath: do}
	for _, line := range []string{"::set-env name=a::b", "::add-path::/x", "::set-env name=Node_Options::c"} {
		f.Line(line)
	}
	if diff := cmp.Diff([]string{"a=b", "=/x"}, done); diff != "" || f.Failed || len(r.lines) != 2 {
		t.Errorf("%s %q", diff, r.lines)
	}
}

func TestCommandsAreEchoedIfOneAsksForIt(t *testing.T) {
	got := filter("::echo::on", "::group::a", "::add-mask::hush", "::set-output name=x::hush", "::echo::off", "::endgroup::")
	want := []string{"command|::group::a", "group|a", "|::add-mask::***", "command|::set-output name=x::***"}
	if diff := cmp.Diff(want, got[:4]); diff != "" || got[len(got)-1] != "endgroup|" || len(got) != 8 {
		t.Errorf("%s %q", diff, got)
	}
}

func TestOutputsAndState(t *testing.T) {
	got := filter("::set-output name=a::1%0A2", "::save-state name=b::3")
	if len(got) != 6 || got[2] != "out a=1\n2" || got[5] != "state b=3" || !strings.HasPrefix(got[0], "warning|The `set-output`") {
		t.Errorf("%q", got)
	}
}

func TestSecretsAreMaskedInEveryFormThatProgramsPrint(t *testing.T) {
	var m joblog.Masks
	m.Add("p@ss \"word\"/1")
	m.Add("line one\nline two\n")
	m.Add("")
	m.Add("  ")
	for _, text := range []string{
		`p@ss "word"/1`, `p@ss \"word\"/1`, "p%40ss+%22word%22%2F1", "line one", "line two",
		base64.StdEncoding.EncodeToString([]byte(`p@ss "word"/1`)),
		base64.StdEncoding.EncodeToString([]byte(`ap@ss "word"/1`)),
		base64.StdEncoding.EncodeToString([]byte(`user:p@ss "word"/1`)),
	} {
		if got := m.Mask("<" + text + ">"); !strings.Contains(got, "***") || strings.Contains(got, "word") {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := m.Mask("nothing to hide"); got != "nothing to hide" {
		t.Errorf("got %q", got)
	}
}

func TestLinesAreSplitAsDotNetDoes(t *testing.T) {
	for _, chunk := range []int{1, 2, 3, 100} {
		var got []string
		l := joblog.Lines{Line: func(s string) { got = append(got, s) }}
		for text := "a\nb\r\nc\rd\n\ne"; text != ""; {
			n := min(chunk, len(text))
			l.Write([]byte(text[:n]))
			text = text[n:]
		}
		l.Close()
		if diff := cmp.Diff([]string{"a", "b", "c", "d", "", "e"}, got); diff != "" {
			t.Errorf("in pieces of %d: %s", chunk, diff)
		}
	}
}

func FuzzMaskHidesEverySecret(f *testing.F) {
	f.Add("abc", "xxabcabcx")
	f.Fuzz(func(t *testing.T, secret, text string) {
		if strings.TrimSpace(secret) == "" || strings.Contains(joblog.Stars, secret) || strings.Contains(secret, "*") {
			t.Skip()
		}
		var m joblog.Masks
		m.Add(secret)
		if strings.Contains(m.Mask(text+secret+text), secret) {
			t.Errorf("%q is still in %q", secret, m.Mask(text+secret+text))
		}
	})
}
