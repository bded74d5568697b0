package worksync

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/printable"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Spec is what all calls of one job agree on. prepare_job decides it and keeps it in the job's record.
type Spec struct {
	// Root is the work folder as the job container sees it.
	Root   string `json:"root"`
	Config Config `json:"config"`
	// State is a private folder of this job's, for the keeper's socket and the journal.
	State string `json:"state"`
	// Keeper is the command that keeps this job's work folder in step, see Keep; empty: none, each call does it itself.
	Keeper []string `json:"keeper,omitempty"`
}

// StateDir is the folder of a job below the one of the job records.
func StateDir(records, job string) string { return filepath.Join(records, "sync-"+job) }

// maxLines bounds what a Report says.
const maxLines = 20

// Lines are the notes for a person, one each; of very many only the first.
func (r Report) Lines() []string {
	var lines []string
	for i, n := range r.Notes {
		if i == maxLines {
			return append(lines, fmt.Sprintf("work folder: and %d more", len(r.Notes)-i))
		}
		if n.Path == "" {
			lines = append(lines, "the work folder "+printable.Text(n.What))
			continue
		}
		lines = append(lines, "work folder: "+printable.Text(n.Path)+" "+printable.Text(n.What))
	}
	return lines
}

// some are the first notes of the container, those below certain folders before others; the last says how many more there
// are.
func some(notes []tree.Note, first []string) []tree.Note {
	if len(notes) <= maxLines {
		return notes
	}
	rank := func(n tree.Note) int {
		if slices.ContainsFunc(first, func(folder string) bool { return within(n.Path, folder) }) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(notes, func(a, b tree.Note) int { return rank(a) - rank(b) })
	what := fmt.Sprintf("has %d more names in the container of which something was left out", len(notes)-maxLines)
	return append(notes[:maxLines:maxLines], tree.Note{What: what})
}

// wireError is an error on its way from the keeper to a hook. Its code is that of a sentinel, if it is one.
type wireError struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
}

// sentinels are the errors that hooks decide by, in the order in which they are looked for.
func sentinels() map[string]error {
	return map[string]error{
		"lost": ErrLost, "host full": ErrHostFull, "container full": ErrContainerFull, "too many": ErrTooMany,
		"unread": ErrUnread, "forgotten": agent.ErrForgotten, "refused": agent.ErrRefused,
	}
}

func wireOf(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error()}
	for code, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			w.Code = code
		}
	}
	return w
}

// keptError is an error that the keeper has had.
type keptError struct {
	text string
	is   error
}

func (e *keptError) Error() string { return e.text }
func (e *keptError) Unwrap() error { return e.is }

func (w *wireError) error() error {
	if w == nil {
		return nil
	}
	return &keptError{text: w.Text, is: sentinels()[w.Code]}
}
