package verdict_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func printed(err error) string {
	var b strings.Builder
	verdict.Print(&b, err)
	return b.String()
}

func TestAFailureIsPrintedAsOwnerCommandOutputAndHint(t *testing.T) {
	err := &verdict.Error{
		Whose: verdict.Infrastructure, Err: errors.New("pulling failed"), Command: "docker pull x",
		Output: "one\ntwo\n", Hint: "check the network",
	}
	want := `gantry: infrastructure: preparing: pulling failed
  command: docker pull x
  output:
    | one
    | two
hint: check the network
`
	if got := printed(fmt.Errorf("preparing: %w", err)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAnErrorThatNobodyJudgedIsOurBug(t *testing.T) {
	got := printed(errors.New("x"))
	if !strings.HasPrefix(got, "gantry: gantry bug: x\n") || !strings.Contains(got, "\nhint: please report this") {
		t.Errorf("got\n%s", got)
	}
}

// The runner obeys commands that it finds in what a hook prints. Output of services and registries is not ours.
func TestNothingThatOthersSaidIsACommandToTheRunner(t *testing.T) {
	const evil = "::set-output name=a::b\n  ::add-mask::x\nx ##[add-matcher]y\nz\r::error::w"
	err := &verdict.Error{Whose: verdict.Workflow, Err: errors.New("service failed: " + evil), Command: "docker logs s", Output: evil}
	got := printed(err)
	for line := range strings.FieldsFuncSeq(got, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			t.Errorf("the runner would obey %q", line)
		}
	}
	if !strings.Contains(got, "set-output name=a::b") {
		t.Errorf("the output is lost:\n%s", got)
	}
}

func TestErrorsOfTheProtocolAreMistakesOfTheConfiguration(t *testing.T) {
	for _, err := range []error{
		&hook.InputError{Field: "args", Problem: "args is missing"},
		&hook.ResponseFileError{Path: "/x", Problem: "is a directory"},
		fmt.Errorf("serving: %w", &hook.InputError{Problem: "x", Hint: "do this"}),
	} {
		v := verdict.Of(verdict.Protocol(err))
		if v.Whose != verdict.Configuration || v.Hint == "" {
			t.Errorf("%v: %q, hint %q", err, v.Whose, v.Hint)
		}
	}
	mine := verdict.New(verdict.Workflow, "", "x: %w", &hook.InputError{Problem: "y"})
	if got := verdict.Protocol(mine); got != error(mine) {
		t.Errorf("a verdict was replaced by %v", got)
	}
	if verdict.Protocol(nil) != nil {
		t.Error("no error became one")
	}
}
