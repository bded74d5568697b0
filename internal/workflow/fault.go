package workflow

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
)

// Source is the text of a file. The zero Source has none.
type Source struct {
	File  string
	lines []string
}

// Source is the text that the workflow was read from.
func (w *Workflow) Source() Source { return Source{w.File, w.lines} }

// Source is the text that the action was read from, with its file named below the folder of which LoadAction was
// given a tree.
func (a *Action) Source(root string) Source { return Source{filepath.Join(root, a.File), a.lines} }

// Fault is a mistake in a file that shows when it is run: its file:line:column and what is wrong there.
type Fault struct {
	File    string
	Pos     Pos
	Message string
	Line    string // the line of the file, without its end; may be ""
	Err     error  // what Message tells of; may be nil
}

// Fault is a mistake at a place of the file.
func (s Source) Fault(pos Pos, message string) *Fault {
	return &Fault{File: s.File, Pos: pos, Message: message, Line: (&document{lines: s.lines}).line(pos.Line)}
}

// Wrap is a Fault that is about an error.
func (s Source) Wrap(pos Pos, err error) *Fault {
	f := s.Fault(pos, err.Error())
	f.Err = err
	return f
}

// Fault is a finding in a file that was read while a workflow ran, in a tree of this folder.
func (f Finding) Fault(root string) *Fault {
	return &Fault{
		File: filepath.Join(root, f.File), Pos: f.Pos, Line: f.Source,
		Message: fmt.Sprintf("%s: %s [%s]", f.Severity, f.Message, f.Kind),
	}
}

// Error gives "FILE:LINE:COL: MESSAGE".
func (f *Fault) Error() string { return f.File + suffix(f.Pos) + ": " + f.Message }

// Unwrap gives the error that it is about.
func (f *Fault) Unwrap() error { return f.Err }

// Tell gives each error that is joined in err, as one text, and the line of the file with a caret under the place if
// the error has a Fault, else "".
func Tell(err error) iter.Seq2[string, string] {
	return func(yield func(text, excerpt string) bool) {
		if err == nil {
			return
		}
		all := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = joined.Unwrap()
		}
		for _, one := range all {
			shown := ""
			var fault *Fault
			if errors.As(one, &fault) {
				shown = excerpt(fault.Pos, fault.Line)
			}
			if !yield(one.Error(), shown) {
				return
			}
		}
	}
}
