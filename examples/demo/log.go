package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// log prints a job's log as GitHub shows it: a title for every step, its lines indented below.
type log struct {
	w     io.Writer
	calls []call
}

// call is one call of the hook.
type call struct {
	title, command string
	took           time.Duration
	status         int
}

func newLog(w io.Writer) *log { return &log{w: w} }

// say prints a line about the demo itself.
func (l *log) say(format string, args ...any) { fmt.Fprintf(l.w, "demo: "+format+"\n", args...) }

// step prints a step's title, as a line of the log's left edge.
func (l *log) step(title string) { fmt.Fprintf(l.w, "\n▼ %s\n", title) }

// line prints a line of the runner's in a step.
func (l *log) line(format string, args ...any) { fmt.Fprintf(l.w, "  "+format+"\n", args...) }

// lines is a writer for a step's output.
func (l *log) lines() *indented { return &indented{w: l.w} }

// table prints how long each call of the hook took, from the start of bin/hook.sh to its end.
func (l *log) table() {
	fmt.Fprintf(l.w, "\nCalls of the hook, from start to end:\n\n  %9s  %-19s  %s\n", "took", "command", "step")
	var all time.Duration
	for _, c := range l.calls {
		all += c.took
		title := c.title
		if c.status != 0 {
			title = fmt.Sprintf("%s (status %d)", title, c.status)
		}
		fmt.Fprintf(l.w, "  %6.0f ms  %-19s  %s\n", milliseconds(c.took), c.command, title)
	}
	fmt.Fprintf(l.w, "  %6.0f ms  in all\n", milliseconds(all))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// indented writes whole lines, each two blanks to the right.
type indented struct {
	w    io.Writer
	line []byte
}

func (i *indented) Write(p []byte) (int, error) {
	i.line = append(i.line, p...)
	for {
		end := bytes.IndexByte(i.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(i.w, "  %s\n", strings.TrimSuffix(string(i.line[:end]), "\r")); err != nil {
			return 0, err
		}
		i.line = i.line[end+1:]
	}
}

// flush writes a last line that has no end.
func (i *indented) flush() {
	if len(i.line) > 0 {
		fmt.Fprintf(i.w, "  %s\n", i.line)
		i.line = nil
	}
}
