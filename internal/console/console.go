// Package console shows a run of a workflow while it goes on, from its events: as a log for people with a summary at
// the end ([Log]), or as JSON, one event a line ([JSON]).
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

// JSON is a sink that writes each event as one line of JSON.
func JSON(w io.Writer) jobevent.Sink {
	var mu sync.Mutex
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return jobevent.Func(func(e jobevent.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e) // a reader that has gone is no reason to end the run
	})
}

// Log shows events as text. Jobs that run side by side have their key before each of their lines. It may be used by
// several goroutines.
type Log struct {
	mu     sync.Mutex
	w      io.Writer
	paint  painter
	debug  bool
	hide   string
	jobs   []*job // in the order in which they began
	active int
	began  time.Time
	result jobevent.Result
	took   time.Duration
	notes  []jobevent.Event
}

// job is what the log knows of a job.
type job struct {
	key, name string
	headed    bool // its title has been printed
	steps     map[int]*step
	result    jobevent.Result
	took      time.Duration
	failed    []string // names of steps
	number    int
}

type step struct {
	name   string
	headed bool // its title has been printed
	groups int  // that are open
	hidden bool // a group that is not shown is open
}

// Options say how a Log looks.
type Options struct {
	Colors bool
	Debug  bool // show lines of style debug
	// Hide is the title of groups that are not shown, unless Debug is set: what the runner says before each call of a
	// hook.
	Hide string
}

// New makes a log that is written to w. Errors of w are ignored: what cannot be shown is no reason to end a run.
func New(w io.Writer, o Options) *Log {
	hide := o.Hide
	if o.Debug {
		hide = ""
	}
	return &Log{w: w, paint: painter{o.Colors}, debug: o.Debug, hide: hide}
}

// Event implements jobevent.Sink.
func (l *Log) Event(e jobevent.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case jobevent.RunStarted:
		l.began = e.Time
	case jobevent.JobStarted:
		l.jobs = append(l.jobs, &job{key: e.Job, name: e.Text, steps: map[int]*step{}, number: len(l.jobs)})
		l.active++
	case jobevent.RunEnded:
		l.result, l.took = e.Result, e.Took
		if l.took == 0 {
			l.took = e.Time.Sub(l.began)
		}
	default:
		if j := l.job(e.Job); j != nil {
			l.jobEvent(j, e)
		}
	}
}

func (l *Log) job(key string) *job {
	for i := len(l.jobs) - 1; i >= 0; i-- {
		if l.jobs[i].key == key {
			return l.jobs[i]
		}
	}
	return nil
}

func (l *Log) jobEvent(j *job, e jobevent.Event) {
	switch e.Kind {
	case jobevent.StepStarted:
		j.steps[e.Step] = &step{name: e.Text} // its title waits: the step may be skipped
	case jobevent.Line:
		l.logLine(j, e)
	case jobevent.Annotation:
		l.notes = append(l.notes, e)
	case jobevent.StepEnded:
		l.stepEnded(j, e)
	case jobevent.JobEnded:
		l.jobEnded(j, e)
	}
}

// logLine prints a line of a step, to the right of the groups that it is in.
func (l *Log) logLine(j *job, e jobevent.Event) {
	depth, s := 2, j.steps[e.Step]
	if s == nil {
		depth, s = 1, &step{headed: true}
	}
	if e.Style == "group" && l.hide != "" && e.Text == l.hide {
		s.hidden = true
	}
	if s.hidden {
		s.hidden = e.Style != "endgroup"
		return
	}
	if e.Style == "endgroup" {
		s.groups = max(0, s.groups-1)
		return
	}
	if e.Style == "debug" && !l.debug {
		return
	}
	if !s.headed {
		s.headed = true
		l.line(j, 1, l.paint.bold("▶ "+s.name))
	}
	text := l.paint.foreign(e.Text)
	switch e.Style {
	case "group":
		text = l.paint.bold("▾ " + text)
	case "command":
		text = l.paint.cyan(text)
	case "debug":
		text = l.paint.gray("Debug: " + text)
	case "notice":
		text = l.paint.cyan("Notice: ") + text
	case "warning":
		text = l.paint.yellow("Warning: ") + text
	case "error":
		text = l.paint.red("Error: ") + text
	}
	l.line(j, depth+s.groups, text)
	if e.Style == "group" {
		s.groups++
	}
}

func (l *Log) stepEnded(j *job, e jobevent.Event) {
	s := j.steps[e.Step]
	if s == nil {
		return
	}
	s.groups = 0
	if e.Result == jobevent.Failure {
		j.failed = append(j.failed, s.name)
	}
	if e.Result == jobevent.Skipped {
		l.line(j, 1, l.paint.gray("- "+s.name+" (skipped)"))
		return
	}
	l.line(j, 1, l.paint.result(e.Result, mark(e.Result)+" "+s.name)+l.paint.gray("  "+Seconds(e.Took)))
}

func (l *Log) jobEnded(j *job, e jobevent.Event) {
	j.result, j.took = e.Result, e.Took
	text := mark(e.Result) + " " + j.name + ": " + string(e.Result)
	if e.Took > 0 {
		text += "  " + Seconds(e.Took)
	}
	l.line(j, 0, l.paint.result(e.Result, text))
	l.active--
}

// line prints one line of a job. The first one comes after the job's title.
func (l *Log) line(j *job, depth int, text string) {
	if !j.headed {
		j.headed = true
		if j.result == "" {
			l.print(j, 0, l.paint.bold("● "+j.name))
		}
	}
	l.print(j, depth, text)
}

func (l *Log) print(j *job, depth int, text string) {
	prefix := ""
	if l.active > 1 {
		prefix = l.paint.job(j.number, fmt.Sprintf("%-*s │ ", l.keyWidth(), j.key))
	}
	fmt.Fprintln(l.w, prefix+strings.Repeat("  ", depth)+text)
}

// keyWidth is the room for the keys of the jobs that are running.
func (l *Log) keyWidth() int {
	width := 0
	for _, j := range l.jobs {
		if j.result == "" {
			width = max(width, len(j.key))
		}
	}
	return width
}

// mark is a sign for a result that needs no colour.
func mark(r jobevent.Result) string {
	switch r {
	case jobevent.Success:
		return "✓"
	case jobevent.Failure:
		return "✗"
	case jobevent.Cancelled:
		return "◌"
	}
	return "-"
}

// Seconds is a duration for people: "0.3s", "12.0s", "2m05s".
func Seconds(d time.Duration) string {
	if d >= time.Minute {
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
