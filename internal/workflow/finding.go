package workflow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a finding stops a run.
type Severity int

// The severities.
const (
	// Warning: the run starts.
	Warning Severity = iota
	// Error: GitHub would refuse the file, or gantry cannot run it.
	Error
)

// String gives "warning" or "error".
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// Kinds of findings that are not named for a rule of actionlint.
const (
	kindSyntax      = "syntax-check"
	kindExpression  = "expression"
	kindNeeds       = "job-needs"
	kindCall        = "workflow-call"
	kindUnsupported = "unsupported"
	kindConfig      = "config"
)

// Finding is one thing that is wrong with a file.
type Finding struct {
	File     string // as Load was given it, or below the same root
	Pos      Pos    // not valid: the file as a whole
	Severity Severity
	Kind     string // the rule: "syntax-check", "expression", "job-needs", "unsupported" …
	Message  string
	Source   string // the line of the file, without its end; may be ""
}

// String says all in one line: "FILE:LINE:COL: error: MESSAGE [KIND]".
func (f Finding) String() string {
	place := f.File
	if f.Pos.IsValid() {
		place = fmt.Sprintf("%s:%d:%d", f.File, f.Pos.Line, f.Pos.Col)
	}
	return fmt.Sprintf("%s: %s: %s [%s]", place, f.Severity, f.Message, f.Kind)
}

// Render is String with the line of the file and a caret under the place below it.
func (f Finding) Render() string {
	if f.Source == "" {
		return f.String() + "\n"
	}
	number := fmt.Sprintf("%4d", f.Pos.Line)
	source := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, f.Source)
	caret := strings.Repeat(" ", min(max(f.Pos.Col-1, 0), len([]rune(source))))
	return fmt.Sprintf("%s\n%s | %s\n%*s | %s^\n", f, number, source, len(number), "", caret)
}

// Blocking tells whether one of the findings is an error.
func Blocking(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
}

func compareFindings(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col),
		cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message))
}
