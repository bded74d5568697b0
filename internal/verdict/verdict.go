// Package verdict says whose problem a failure is, what failed exactly, and what to do next.
package verdict

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Whose is the party that can mend a failure.
type Whose string

// The parties.
const (
	Workflow       Whose = "workflow"       // the author of the workflow file
	Configuration  Whose = "configuration"  // whoever set up the runner and gantry.yaml
	Infrastructure Whose = "infrastructure" // the engine, the machine, the network, a registry
	Bug            Whose = "gantry bug"     // us
)

// Error is an error with a verdict. Command and Output are the failing engine command and what it printed, if any.
type Error struct {
	Whose   Whose
	Err     error
	Command string
	Output  string
	// Excerpt is the place of a mistake in what somebody wrote, marked in a second line.
	Excerpt string
	Hint    string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error. Hint may be "".
func New(whose Whose, hint string, format string, args ...any) *Error {
	return &Error{Whose: whose, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Of gives the outermost verdict in err's chain; an error without one is our bug.
func Of(err error) *Error {
	var v *Error
	if errors.As(err, &v) {
		return v
	}
	return &Error{Whose: Bug, Err: err, Hint: "please report this, with `gantry version` and the lines above"}
}

// Print writes err as the last lines of a failed command: whose problem, the failing command, its output, a hint.
// What others have said in it, such as a registry or a service, does not reach the runner as a workflow command.
func Print(w io.Writer, err error) {
	v := Of(err)
	var b strings.Builder
	fmt.Fprintf(&b, "gantry: %s: %s\n", v.Whose, strings.ReplaceAll(err.Error(), "\n", "\n  | "))
	if v.Excerpt != "" {
		fmt.Fprintf(&b, "  | %s\n", strings.ReplaceAll(v.Excerpt, "\n", "\n  | "))
	}
	if v.Command != "" {
		fmt.Fprintf(&b, "  command: %s\n", v.Command)
	}
	if out := strings.TrimRight(v.Output, "\n"); out != "" {
		fmt.Fprintf(&b, "  output:\n    | %s\n", strings.ReplaceAll(out, "\n", "\n    | "))
	}
	if v.Hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", v.Hint)
	}
	io.WriteString(w, inert(b.String()))
}

// inert takes the meaning of commands from text whose lines begin with other characters already: the runner also obeys
// "##[command]" in the middle of a line, and takes a carriage return for the end of one.
func inert(text string) string {
	return strings.NewReplacer("##[", "## [", "\r", " ").Replace(text)
}
