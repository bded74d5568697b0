package hook_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
)

// vector is one entry of testdata/argv.json. Either Line or Pieces is given. Open is the offset of a quote that is
// never closed.
type vector struct {
	Name   string
	Line   string
	Pieces []string
	Argv   []string
	Open   *int
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	var all []vector
	if err := json.Unmarshal(readTestdata(tb, "argv.json"), &all); err != nil {
		tb.Fatal(err)
	}
	for i := range all {
		if all[i].Pieces != nil {
			all[i].Line = strings.Join(all[i].Pieces, " ")
		}
	}
	return all
}

func readTestdata(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestCommandLinesSplitLikeTheRunnersDockerMode(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			if got := hook.SplitCommandLine(v.Line); !slices.Equal(got, v.Argv) {
				t.Errorf("SplitCommandLine(%q)\n got %q\nwant %q", v.Line, got, v.Argv)
			}
			if got := hook.Argv(v.Pieces); v.Pieces != nil && !slices.Equal(got, v.Argv) {
				t.Errorf("Argv(%q)\n got %q\nwant %q", v.Pieces, got, v.Argv)
			}
		})
	}
}

func TestUnbalancedQuotesAreReportedWithTheirPlace(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			err := hook.CheckCommandLine(v.Line)
			var unbalanced *hook.UnbalancedQuoteError
			switch {
			case v.Open == nil && err != nil:
				t.Errorf("CheckCommandLine(%q) = %v, want no error", v.Line, err)
			case v.Open != nil && !errors.As(err, &unbalanced):
				t.Errorf("CheckCommandLine(%q) = %v, want an UnbalancedQuoteError", v.Line, err)
			case v.Open != nil && unbalanced.Offset != *v.Open:
				t.Errorf("CheckCommandLine(%q) points at byte %d, want %d", v.Line, unbalanced.Offset, *v.Open)
			}
		})
	}
}

// quote writes an argument the way .NET's PasteArguments does.
func quote(arg string) string {
	var b strings.Builder
	b.WriteByte('"')
	backslashes := 0
	for i := 0; i < len(arg); i++ {
		switch arg[i] {
		case '\\':
			backslashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		b.WriteByte(arg[i])
	}
	b.WriteString(strings.Repeat(`\`, backslashes))
	b.WriteByte('"')
	return b.String()
}

// Whatever the arguments: quoted and split again they are the same, also after the trip through the runner's pieces.
func FuzzQuotedArgumentsComeBack(f *testing.F) {
	f.Add("a", "b c", `\`)
	f.Add("", `"`, `a\"b`)
	f.Add(`\\`, "\t", "'x y'")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		args := []string{a, b, c}
		line := quote(a) + " " + quote(b) + "\t " + quote(c)
		if got := hook.SplitCommandLine(line); !slices.Equal(got, args) {
			t.Errorf("SplitCommandLine(%q)\n got %q\nwant %q", line, got, args)
		}
		if got := hook.Argv(strings.Split(line, " ")); !slices.Equal(got, args) {
			t.Errorf("Argv of the pieces of %q\n got %q\nwant %q", line, got, args)
		}
		if err := hook.CheckCommandLine(line); err != nil {
			t.Errorf("CheckCommandLine(%q) = %v", line, err)
		}
	})
}

// Any line: no panic; without quotes it is split at blanks and tabs alone; nothing but quotes, backslashes and
// blanks is ever lost; an unbalanced quote is reported where there is one, and closing it is the cure.
func FuzzSplitCommandLine(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := hook.SplitCommandLine(line)
		if !strings.Contains(line, `"`) {
			want := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
			if !slices.Equal(args, want) {
				t.Errorf("SplitCommandLine(%q)\n got %q\nwant %q", line, args, want)
			}
		}
		strip := strings.NewReplacer(`"`, "", `\`, "", " ", "", "\t", "")
		if got, want := strip.Replace(strings.Join(args, "")), strip.Replace(line); got != want {
			t.Errorf("SplitCommandLine(%q) lost text: %q, want %q", line, got, want)
		}
		checkUnbalanced(t, line)
	})
}

func checkUnbalanced(t *testing.T, line string) {
	err := hook.CheckCommandLine(line)
	if err == nil {
		return
	}
	var unbalanced *hook.UnbalancedQuoteError
	if !errors.As(err, &unbalanced) || line[unbalanced.Offset] != '"' {
		t.Fatalf("CheckCommandLine(%q) = %#v, want the offset of a quote", line, err)
	}
	closed := strings.TrimRight(line, `\`) + `x"`
	if err := hook.CheckCommandLine(closed); err != nil {
		t.Errorf("CheckCommandLine(%q) = %v, want no error", closed, err)
	}
}
