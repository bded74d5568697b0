package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Place is where a value comes from: a position in a file or an environment variable.
type Place struct {
	File      string
	Line, Col int
	Env       string
}

// String gives "FILE:LINE:COL" or "environment variable NAME"; "" if the place is not known.
func (p Place) String() string {
	switch {
	case p.Env != "":
		return "environment variable " + p.Env
	case p.Line == 0:
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Place Place
	Key   string // "timeouts.pull", "policy.images[2]", "overrides.prepare_job"; "" for the file as a whole
	Text  string
	Hint  string // may be ""
}

// Error says place, key, problem and hint in one line.
func (p Problem) Error() string {
	var parts []string
	for _, part := range []string{p.Place.String(), p.Key, p.Text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, ": ")
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// Problems are all that is wrong, in the order of the file and then of the variables. It is never empty as an error.
type Problems []Problem

// Error gives one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// hinted is an error of a check that also knows what to write.
type hinted struct{ text, hint string }

func (h *hinted) Error() string { return h.text }

func newProblem(place Place, key string, err error) Problem {
	problem := Problem{Place: place, Key: key, Text: err.Error()}
	var h *hinted
	if errors.As(err, &h) {
		problem.Hint = h.hint
	}
	return problem
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// NotYAML is the problem of a file that the YAML parser refuses. Its errors have a line only, in their text, and none
// for the first.
func NotYAML(file string, err error) Problem {
	place, text := Place{File: file, Line: 1, Col: 1}, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			place.Line = line
		}
		text = m[2]
	}
	return newProblem(place, "", errors.New("not YAML: "+text))
}
