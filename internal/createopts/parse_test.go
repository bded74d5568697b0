package createopts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gantry-ci/gantry/internal/createopts"
)

var ignorePos = cmpopts.IgnoreFields(createopts.Flag{}, "Pos")

func TestParse(t *testing.T) {
	for text, want := range map[string][]createopts.Flag{
		"":                         nil,
		"  \t ":                    nil,
		"--cpus 1":                 {{Name: "cpus", Value: "1", Written: "--cpus"}},
		"--cpus=1\n":               {{Name: "cpus", Value: "1", Written: "--cpus"}},
		"--name=":                  {{Name: "name", Value: "", Written: "--name"}},
		`--health-cmd "a b"`:       {{Name: "health-cmd", Value: "a b", Written: "--health-cmd"}},
		`--health-cmd="a \"b\" c"`: {{Name: "health-cmd", Value: `a "b" c`, Written: "--health-cmd"}},
		`"--cpus" 1`:               {{Name: "cpus", Value: "1", Written: "--cpus"}},
		"--net host":               {{Name: "network", Value: "host", Written: "--net"}},
		"-v a:/b":                  {{Name: "volume", Value: "a:/b", Written: "-v"}},
		"-va:/b":                   {{Name: "volume", Value: "a:/b", Written: "-v"}},
		"-v=a:/b":                  {{Name: "volume", Value: "a:/b", Written: "-v"}},
		"-e A=b":                   {{Name: "env", Value: "A=b", Written: "-e"}},
		"-e=":                      {{Name: "env", Value: "=", Written: "-e"}}, // as the engines read it
		"--privileged":             {{Name: "privileged", Value: "true", Written: "--privileged"}},
		"--privileged=0":           {{Name: "privileged", Value: "false", Written: "--privileged"}},
		"-P=false":                 {{Name: "publish-all", Value: "false", Written: "-P"}},
		"-h box":                   {{Name: "hostname", Value: "box", Written: "-h"}},
		"--health-cmd --rm":        {{Name: "health-cmd", Value: "--rm", Written: "--health-cmd"}},
		"--pod new:x":              {{Name: "pod", Value: "new:x", Written: "--pod"}},
		"-Pp 80:80": {
			{Name: "publish-all", Value: "true", Written: "-P"},
			{Name: "publish", Value: "80:80", Written: "-p"},
		},
	} {
		o, err := createopts.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, o.Flags, ignorePos); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestArgsAreTheWordsAsWritten(t *testing.T) {
	o, err := createopts.Parse(`--net=host  -Pp 80:80 --health-cmd "a  b" --label x=\"y\"`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--net=host", "-Pp", "80:80", "--health-cmd", "a  b", "--label", `x="y"`}
	if diff := cmp.Diff(want, o.Args); diff != "" {
		t.Error(diff)
	}
}

// Each mistake is found at its place: the text with the place between two bars.
func TestMistakesHaveAPlace(t *testing.T) {
	for _, tt := range []struct {
		text string
		hint string // a word that the hint must have
	}{
		{`--cpus 1 |--hea-cmd| "x"`, "--health-cmd"},
		{`--cpus 1 |--hea-cmd|="x y"`, "--health-cmd"},
		{`--cpus 1 |--no-such-thing-at-all|`, "create_args"},
		{`|--cpus|`, ""},
		{`--cpus 1 |-m|`, ""},
		{`--health-cmd |"|a b`, `\"`},
		{`--cpus 1 |ubuntu:22| -m 1g`, ""},
		{`--cpus 1 |--|`, ""},
		{`--cpus 1 |-|`, ""},
		{`|name| x`, "--name"},
		{`|-name| x`, "--name"},
		{`|—name| x`, "dash"},
		{`--init |--sig-proxy| --cpus 1`, "leave"},
		{`|-d|`, "leave"},
		{`|-idt|`, "leave"},
		{`|--detach|=true`, "leave"},
		{`|--cidfile| /x`, "leave"},
		{`|-a| stdout`, "leave"},
		{`|--privileged|=perhaps`, ""},
		{`--init |yes|`, ""},
		{`--health-cmd 'pg_isready |-U| x'`, "double quotes"},
		{`--health-cmd='pg_isready |user'|`, "double quotes"},
		{`|'--cpus| 1'`, "double quotes"},
		{"|--cpus=1\n--memory=2g|", "options: >-"},
		{"--cpus |1\n--memory| 2g", "options: >-"},
		{"--health-cmd |\"a b\"\n--memory| 2g", "options: >-"},
		{`|--label| io.gantry.job=1`, "name"},
	} {
		before, rest, _ := strings.Cut(tt.text, "|")
		place, after, _ := strings.Cut(rest, "|")
		_, err := createopts.Parse(before + place + after)
		var mistake *createopts.Error
		if !errors.As(err, &mistake) {
			t.Errorf("%s: got %v, want an Error", tt.text, err)
			continue
		}
		got := before + place + after
		got = got[:mistake.Offset] + "|" + got[mistake.Offset:mistake.Offset+mistake.Length] + "|" +
			got[mistake.Offset+mistake.Length:]
		if got != tt.text {
			t.Errorf("%s: found at %s (%s)", tt.text, got, mistake.Problem)
		}
		if !strings.Contains(mistake.Hint, tt.hint) {
			t.Errorf("%s: hint %q does not mention %q", tt.text, mistake.Hint, tt.hint)
		}
	}
}

func TestRenderShowsThePlace(t *testing.T) {
	_, err := createopts.Parse(`--cpus 1 --hea-cmd "x"`)
	var mistake *createopts.Error
	if !errors.As(err, &mistake) {
		t.Fatal(err)
	}
	want := `configuration problem in container.options:
  --cpus 1 --hea-cmd "x"
           ^^^^^^^^^
unknown flag --hea-cmd
hint: did you mean --health-cmd?
`
	if diff := cmp.Diff(want, mistake.Render("container.options")); diff != "" {
		t.Error(diff)
	}
}

// The caret stands under the place also in a text with characters of several bytes, tabs, several lines, or one
// much longer than a terminal is wide.
func TestRenderAligns(t *testing.T) {
	for _, text := range []string{
		"--name ü☃ \t--bad x",
		"--env \"A=1\n2\" --bad x",
		strings.Repeat("--cpus 1 ", 1000) + "--bad x" + strings.Repeat(" --cpus 1", 1000),
		"--env \"\x1b[31m\x00\" --bad\t",
	} {
		_, err := createopts.Parse(text)
		var mistake *createopts.Error
		if !errors.As(err, &mistake) {
			t.Fatalf("%q: %v", text, err)
		}
		lines := strings.Split(mistake.Render("x"), "\n")
		line, carets := []rune(lines[1]), []rune(lines[2])
		first := strings.IndexByte(lines[2], '^')
		if got := string(line[first:len(carets)]); got != "--bad" {
			t.Errorf("%q: carets are under %q:\n%s\n%s", text, got, lines[1], lines[2])
		}
		if len(line) > 200 || strings.ContainsAny(lines[1], "\x1b\x00") {
			t.Errorf("%q: the excerpt is not readable: %q", text, lines[1])
		}
	}
}
