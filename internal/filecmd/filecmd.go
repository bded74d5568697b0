// Package filecmd reads the files through which steps talk to the runner: $GITHUB_ENV, $GITHUB_OUTPUT,
// $GITHUB_STATE and $GITHUB_PATH. The rules and the texts of errors are those of the runner's
// FileCommandManager.cs.
package filecmd

import (
	"fmt"
	"strings"
)

// MaxSummary is the size in bytes up to which a step's summary is taken.
const MaxSummary = 1 << 20

// Pair is one assignment, in the order of the file.
type Pair struct{ Name, Value string }

// Error says what is wrong with a file, in the runner's words.
type Error struct{ Problem string }

func (e *Error) Error() string { return e.Problem }

func errorf(format string, args ...any) error { return &Error{Problem: fmt.Sprintf(format, args...)} }

// Pairs reads NAME=VALUE lines and NAME<<DELIMITER blocks. A value in a block ends before the line break that
// precedes its delimiter. Lines end with "\n" only: a carriage return is part of the value, as on Linux runners.
func Pairs(text string) ([]Pair, error) {
	r := &reader{text: strings.TrimPrefix(text, "\ufeff")}
	var all []Pair
	for {
		line, more := r.line()
		if !more {
			return all, nil
		}
		if line == "" {
			continue
		}
		pair, err := r.pair(line)
		if err != nil {
			return nil, err
		}
		all = append(all, pair)
	}
}

// reader walks over lines.
type reader struct {
	text string
	next int
}

func (r *reader) line() (string, bool) {
	if r.next >= len(r.text) {
		return "", false
	}
	line, _, _ := strings.Cut(r.text[r.next:], "\n")
	r.next += len(line) + 1
	return line, true
}

func (r *reader) pair(line string) (Pair, error) {
	equals, heredoc := strings.Index(line, "="), strings.Index(line, "<<")
	switch {
	case heredoc >= 0 && (equals < 0 || heredoc < equals):
		name, delimiter := line[:heredoc], line[heredoc+2:]
		if name == "" || delimiter == "" {
			return Pair{}, errorf("Invalid format '%s'. Name must not be empty and delimiter must not be empty", line)
		}
		value, err := r.block(delimiter)
		return Pair{name, value}, err
	case equals > 0:
		return Pair{line[:equals], line[equals+1:]}, nil
	case equals == 0:
		return Pair{}, errorf("Invalid format '%s'. Name must not be empty", line)
	}
	return Pair{}, errorf("Invalid format '%s'", line)
}

func (r *reader) block(delimiter string) (string, error) {
	var lines []string
	for {
		line, more := r.line()
		if !more {
			return "", errorf("Invalid value. Matching delimiter not found '%s'", delimiter)
		}
		if line == delimiter {
			return strings.Join(lines, "\n"), nil
		}
		lines = append(lines, line)
	}
}

// Env is Pairs for $GITHUB_ENV: variables that would change how the runner itself works are refused.
func Env(text string) ([]Pair, error) {
	pairs, err := Pairs(text)
	for _, p := range pairs {
		if strings.EqualFold(p.Name, "NODE_OPTIONS") {
			return nil, errorf("Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command.")
		}
	}
	return pairs, err
}

// Paths reads $GITHUB_PATH: one folder a line, in the order of the file.
func Paths(text string) []string {
	var all []string
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}
