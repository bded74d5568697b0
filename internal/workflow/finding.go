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
	return fmt.Sprintf("%s%s: %s: %s [%s]", f.File, suffix(f.Pos), f.Severity, f.Message, f.Kind)
}

// Render is String with the line of the file and a caret under the place below it.
func (f Finding) Render() string {
	if f.Source == "" {
		return f.String() + "\n"
	}
	return f.String() + "\n" + excerpt(f.Pos, f.Source) + "\n"
}

// suffix is ":LINE:COL", or "" for no place.
func suffix(pos Pos) string {
	if !pos.IsValid() {
		return ""
	}
	return fmt.Sprintf(":%d:%d", pos.Line, pos.Col)
}

// excerpt is a line of a file with its number, and a line with a caret under the place. It is "" for no line.
func excerpt(pos Pos, line string) string {
	if line == "" {
		return ""
	}
	number := fmt.Sprintf("%4d", pos.Line)
	source := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line)
	caret := strings.Repeat(" ", min(max(pos.Col-1, 0), len([]rune(source))))
	return fmt.Sprintf("%s | %s\n%*s | %s^", number, source, len(number), "", caret)
}

// Blocking tells whether one of the findings is an error.
func Blocking(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
}

func compareFindings(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col),
		cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message))
}
