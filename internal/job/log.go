package job

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/joblog"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// stepLog is the log of one step. It masks all that it is given. It may be used by several goroutines.
type stepLog struct {
	sink  jobevent.Sink
	masks *joblog.Masks
	job   string
	step  int // 0 outside of steps
	debug bool
}

func (l *stepLog) emit(e jobevent.Event) {
	e.Time, e.Job, e.Step = time.Now(), l.job, l.step
	e.Text = l.masks.Mask(e.Text)
	for key, value := range e.Props {
		e.Props[key] = l.masks.Mask(value)
	}
	l.sink.Event(e)
}

// print shows text line by line.
func (l *stepLog) print(style, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		l.emit(jobevent.Event{Kind: jobevent.Line, Style: style, Text: strings.TrimSuffix(line, "\r")})
	}
}

func (l *stepLog) line(text string)    { l.print("", text) }
func (l *stepLog) group(title string)  { l.print("group", title) }
func (l *stepLog) endgroup()           { l.print("endgroup", "") }
func (l *stepLog) warning(text string) { l.annotate("warning", text) }
func (l *stepLog) error(text string)   { l.annotate("error", text) }

// tell shows an error. One of the file has its line below it.
func (l *stepLog) tell(err error) {
	for text, excerpt := range workflow.Tell(err) {
		l.error(text)
		if excerpt != "" {
			l.line(excerpt)
		}
	}
}

func (l *stepLog) annotate(kind, text string) {
	l.print(kind, text)
	l.emit(jobevent.Event{Kind: jobevent.Annotation, Style: kind, Text: text})
}

func (l *stepLog) trace(text string) {
	if l.debug {
		l.print("debug", text)
	}
}

// phase tells of a part of the step that has ended.
func (l *stepLog) phase(name string, took time.Duration) {
	l.emit(jobevent.Event{Kind: jobevent.Phase, Text: name, Took: took})
}

// output reads the output of one process of a step: of hooks too, whose lines count as the step's.
type output struct {
	x              *execution
	filter         *joblog.Filter
	mu             sync.Mutex
	stdout, stderr joblog.Lines
}

var _ joblog.Sink = (*output)(nil)

// newOutput begins to read the output of a process; what has stopped commands before does not any more.
func (x *execution) newOutput() *output {
	o := &output{x: x}
	unsecure, _ := x.lookupEnv("ACTIONS_ALLOW_UNSECURE_COMMANDS")
	o.filter = &joblog.Filter{
		Sink: o, Masks: x.masks, Debug: x.opts.Debug, AllowUnsecure: strings.EqualFold(unsecure, "true"),
		SetEnv: x.setEnv, AddPath: func(_, path string) { x.addPaths(path) },
	}
	line := func(text string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.filter.Line(text)
	}
	o.stdout.Line, o.stderr.Line = line, line
	return o
}

// close hands on lines without an end.
func (o *output) close() {
	_ = o.stdout.Close() // never fails
	_ = o.stderr.Close()
	if o.filter.Failed {
		o.x.failCommand()
	}
}

func (o *output) Print(kind, text string) { o.x.log.print(kind, text) }

func (o *output) Annotate(kind string, props map[string]string, message string) {
	o.x.log.emit(jobevent.Event{Kind: jobevent.Annotation, Style: kind, Props: maps.Clone(props), Text: message})
}

func (o *output) SetOutput(name, value string) { o.x.setOutput(name, value) }
func (o *output) SaveState(name, value string) { o.x.saveState(name, value) }
