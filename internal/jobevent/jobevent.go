// Package jobevent is what a run of a workflow tells while it goes on: the stream of `gantry run --json`, which the
// live log and the HTML report are made from. Secrets are masked before an event is made.
package jobevent

import (
	"sync"
	"time"
)

// Kind says what happened.
type Kind string

// The kinds of events, in the order in which they can come.
const (
	RunStarted  Kind = "run_started"  // Text: the workflow's name
	JobStarted  Kind = "job_started"  // Text: the job's display name
	StepStarted Kind = "step_started" // Text: the step's display name
	Line        Kind = "line"         // Text: one line of the log; Style says what it is
	Phase       Kind = "phase"        // Text: a part of a step that took Took, for the waterfall (hook call, pull, health)
	Annotation  Kind = "annotation"   // Style notice, warning or error; Props file, line, title …
	StepEnded   Kind = "step_ended"   // Result, Took
	Summary     Kind = "summary"      // Text: what the step wrote to its summary, Markdown
	JobEnded    Kind = "job_ended"    // Result, Took, Outputs
	RunEnded    Kind = "run_ended"    // Result, Took; Props: the result of each job by its id, as needs has it
)

// Result is the end of a step, a job or a run.
type Result string

// The results, as expressions see them.
const (
	Success   Result = "success"
	Failure   Result = "failure"
	Cancelled Result = "cancelled"
	Skipped   Result = "skipped"
)

// Event is one line of the stream.
type Event struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Job is the key of one run of a job: its id and, with a matrix, its number ("test", "build/2"). Step is the
	// number of the step in the job from 1 on, in the order in which steps begin; 0 outside of steps.
	Job  string `json:"job,omitempty"`
	Step int    `json:"step,omitempty"`
	Text string `json:"text,omitempty"`
	// Style of a line: "", debug, notice, warning, error, group, endgroup, command.
	Style   string            `json:"style,omitempty"`
	Props   map[string]string `json:"props,omitempty"`
	Result  Result            `json:"result,omitempty"`
	Took    time.Duration     `json:"took_ns,omitempty"`
	Outputs map[string]string `json:"outputs,omitempty"`
}

// Sink takes events. It may be called by several goroutines at once.
type Sink interface{ Event(Event) }

// Func is a Sink.
type Func func(Event)

// Event calls f.
func (f Func) Event(e Event) { f(e) }

// Tee hands every event to all sinks, one event at a time.
func Tee(sinks ...Sink) Sink {
	var mu sync.Mutex
	return Func(func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range sinks {
			s.Event(e)
		}
	})
}
