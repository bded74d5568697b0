// Package report writes a run of a workflow as one HTML page: a waterfall of each job, its log folded by steps,
// summaries and annotations. The page needs nothing from outside of itself.
//
// The page is written by a small writer that escapes, and not with html/template, which switches off the linker's
// removal of unused methods for the whole program.
package report

import (
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

// maxLines is how much of a step's log is on the page.
const maxLines = 10_000

// Collector is a sink that keeps a run's events for its page. It may be used by several goroutines.
type Collector struct {
	mu     sync.Mutex
	name   string
	began  time.Time
	ended  time.Time
	result jobevent.Result
	jobs   []*job
	byKey  map[string]*job
}

type job struct {
	key, name    string
	began, ended time.Time
	result       jobevent.Result
	steps        []*step
	byNumber     map[int]*step
	notes        []jobevent.Event
	outputs      map[string]string
}

// step is a step, or with number 0 what belongs to the job alone.
type step struct {
	number       int
	name         string
	began, ended time.Time
	result       jobevent.Result
	lines        []line
	left         int // lines that were too many
	phases       []phase
	summaries    []string
	table        tableReader
}

type line struct {
	at          time.Time
	style, text string
}

// phase is a part of a step: a call of the hook, a pull, a wait for health.
type phase struct {
	name         string
	began, ended time.Time
}

// Event implements jobevent.Sink.
func (c *Collector) Event(e jobevent.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case jobevent.RunStarted:
		c.name, c.began, c.ended, c.byKey = e.Text, e.Time, e.Time, map[string]*job{}
	case jobevent.RunEnded:
		c.result = e.Result
	case jobevent.JobStarted:
		j := &job{key: e.Job, name: e.Text, began: e.Time, ended: e.Time, byNumber: map[int]*step{}}
		c.jobs = append(c.jobs, j)
		c.byKey[e.Job] = j
	default:
		if j := c.byKey[e.Job]; j != nil {
			j.event(e)
		}
	}
	if e.Time.After(c.ended) {
		c.ended = e.Time
	}
}

func (j *job) event(e jobevent.Event) {
	if e.Time.After(j.ended) {
		j.ended = e.Time
	}
	switch e.Kind {
	case jobevent.JobEnded:
		j.result, j.outputs = e.Result, e.Outputs
	case jobevent.Annotation:
		j.notes = append(j.notes, e)
	default:
		j.step(e).event(e)
	}
}

// step finds or makes the step of an event.
func (j *job) step(e jobevent.Event) *step {
	s := j.byNumber[e.Step]
	if s == nil {
		s = &step{number: e.Step, name: "Job", began: e.Time}
		j.byNumber[e.Step] = s
		j.steps = append(j.steps, s)
	}
	return s
}

func (s *step) event(e jobevent.Event) {
	if e.Time.After(s.ended) {
		s.ended = e.Time
	}
	switch e.Kind {
	case jobevent.StepStarted:
		s.name, s.began = e.Text, e.Time
	case jobevent.StepEnded:
		s.result = e.Result
	case jobevent.Phase:
		s.phases = append(s.phases, phase{e.Text, e.Time.Add(-e.Took), e.Time})
	case jobevent.Summary:
		s.summaries = append(s.summaries, e.Text)
	case jobevent.Line:
		s.phases = append(s.phases, s.table.line(e.Time, e.Text)...)
		if len(s.lines) == maxLines {
			s.left++
			return
		}
		s.lines = append(s.lines, line{e.Time, e.Style, e.Text})
	}
}
