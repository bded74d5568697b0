package shell_test

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/job/shell"
)

func TestShells(t *testing.T) {
	for option, want := range map[string]string{
		"":                         "sh|-e /tmp/x.sh",
		"sh":                       "sh|-e /tmp/x.sh",
		"bash":                     "bash|--noprofile --norc -e -o pipefail /tmp/x.sh",
		"bash -eux {0}":            "bash|-eux /tmp/x.sh",
		"python":                   "python|/tmp/x.py",
		"pwsh":                     `pwsh|-command ". '/tmp/x.ps1'"`,
		"perl {0}":                 "perl|/tmp/x",
		"X   a {0} b":              "X|a /tmp/x b",
		"awk {{ {0} }}":            "awk|{ /tmp/x }",
		"/bin/bash -c {0} --x={0}": "/bin/bash|-c /tmp/x --x=/tmp/x",
	} {
		s, err := shell.Parse(option)
		if err != nil {
			t.Errorf("%q: %v", option, err)
			continue
		}
		if got := s.Command + "|" + s.CommandLine("/tmp/x"+s.Extension()); got != want {
			t.Errorf("%q: %s, want %s", option, got, want)
		}
	}
	for _, option := range []string{"perl", "bash -x", "/bin/bash", "cmd"} {
		if _, err := shell.Parse(option); err == nil || !strings.Contains(err.Error(), "Invalid shell option") {
			t.Errorf("%q: %v", option, err)
		}
	}
}

func TestPowerShellStopsAtErrors(t *testing.T) {
	s, err := shell.Parse("pwsh")
	if err != nil {
		t.Fatal(err)
	}
	const want = "$ErrorActionPreference = 'stop'\nwrite x\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }"
	if got := s.FixUp("write x"); got != want {
		t.Error(got)
	}
}
