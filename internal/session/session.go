// Package session keeps hook calls on disk, for `gantry replay` and for reports of mistakes.
//
// A session is a folder with the calls of one job: session.json says whose they are, then there is one numbered file
// for each call. All of it is private to the user (0700, 0600), and secrets are taken out as far as names and values
// tell: see package redact. Scripts of `run:` steps are kept, because they are what a call runs.
package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/hook"
)

// version of the format.
const version = 1

// headFile names the file that describes a session.
const headFile = "session.json"

// Head describes a session.
type Head struct {
	Version int       `json:"version"`
	Gantry  string    `json:"gantry"` // version of the program that recorded
	Started time.Time `json:"started"`
	Runner  string    `json:"runner"` // value of the runner label
	Work    string    `json:"work"`   // the runner's _work folder; "" if it was not known
}

// Call is one recorded call.
type Call struct {
	Number  int          `json:"number"`
	Command hook.Command `json:"command"`
	Started time.Time    `json:"started"`
	// WorkDir is the current directory that the hook was started in.
	WorkDir string `json:"workDir"`
	// Input is what was on standard input, without secrets.
	Input Input `json:"input"`
	// Environment has the runner's own variables of the hook process, without secrets.
	Environment map[string]string `json:"environment"`
	// Scripts are the files of a script step below _temp, by name.
	Scripts map[string]string `json:"scripts,omitempty"`
	// Override is the program that did the command in gantry's place; how it ended is not known.
	Override string `json:"override,omitempty"`
	// Outcome is nil if the hook was killed, or did not see the end of the call.
	Outcome *Outcome `json:"outcome,omitempty"`
}

// Input is hook.Input, as it is recorded.
type Input struct {
	ResponseFile string          `json:"responseFile"`
	Args         json.RawMessage `json:"args"`
	State        json.RawMessage `json:"state"`
}

// Outcome is how a call ended.
type Outcome struct {
	ExitStatus int `json:"exitStatus"`
	// Response is what was in the response file: JSON as it is, anything else as a string; nil for nothing.
	Response json.RawMessage `json:"response,omitempty"`
	Error    string          `json:"error,omitempty"`
	Seconds  float64         `json:"seconds"`
}

// Took is the duration of the call.
func (o *Outcome) Took() time.Duration { return time.Duration(o.Seconds * float64(time.Second)) }

// Session is a whole recorded session.
type Session struct {
	Head
	Calls []Call // in their order
}

// Read reads a session. A folder that is none is an error.
func Read(dir string) (*Session, error) {
	s := &Session{}
	if err := readJSON(filepath.Join(dir, headFile), &s.Head); err != nil {
		return nil, fmt.Errorf("reading session %s: %w", dir, err)
	}
	if s.Version != version {
		return nil, fmt.Errorf("reading session %s: it has format %d, this program reads %d", dir, s.Version, version)
	}
	names, err := callFiles(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var c Call
		if err := readJSON(name, &c); err != nil {
			return nil, fmt.Errorf("reading a recorded call: %w", err)
		}
		s.Calls = append(s.Calls, c)
	}
	if len(s.Calls) == 0 {
		return nil, fmt.Errorf("reading session %s: %w", dir, errors.New("there are no calls in it"))
	}
	slices.SortFunc(s.Calls, func(a, b Call) int { return a.Number - b.Number })
	return s, nil
}

// callFiles are the files of a session's calls.
func callFiles(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "[0-9]*.json"))
	if err != nil {
		return nil, fmt.Errorf("reading session %s: %w", dir, err)
	}
	return names, nil
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
