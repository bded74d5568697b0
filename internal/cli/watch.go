package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/redact"
	"github.com/gantry-ci/gantry/internal/responsefile"
	"github.com/gantry-ci/gantry/internal/session"
	"github.com/gantry-ci/gantry/internal/trace"
)

// longestResponse is how much of a response file is recorded.
const longestResponse = 1 << 20

// watch is what writes down a hook call beside its work: a trace, a record, both or nothing. Its troubles are told
// on standard error and do not hinder the call.
type watch struct {
	p         *Process
	in        *hook.Input
	work      string
	began     time.Time
	log       *slog.Logger
	closer    io.Closer          // of log; nil without a trace
	recording *session.Recording // nil without a record
}

// watch begins to write down a call, as far as the configuration asks for it.
func (p *Process) watch(cfg *config.Config, in *hook.Input) *watch {
	w := &watch{
		p: p, in: in, work: handler.WorkOf(in, p.Getenv("RUNNER_TEMP")), began: p.Now(),
		log: slog.New(slog.DiscardHandler),
	}
	if cfg.TraceDir != "" {
		w.tell(w.trace(cfg))
	}
	if cfg.RecordDir != "" {
		w.tell(w.record(cfg))
	}
	return w
}

func (w *watch) trace(cfg *config.Config) error {
	clean := &redact.Redactor{}
	for _, text := range [][]byte{w.in.Args, w.in.State} {
		if len(text) == 0 {
			continue
		}
		if err := clean.LearnJSON(text); err != nil {
			return err
		}
	}
	log, closer, err := trace.Open(cfg.TraceDir, string(w.in.Command), w.began, clean)
	if err != nil {
		return err
	}
	w.log, w.closer = log, closer
	log.Info("call", "command", w.in.Command, "gantry", w.p.Version, "runner", w.p.runnerID(cfg, w.work), "work", w.work,
		"dir", w.p.Dir, "pid", os.Getpid(), "parent", jobrecord.Parent().PID)
	return nil
}

func (w *watch) record(cfg *config.Config) (err error) {
	worker := jobrecord.Parent()
	recorder := session.Recorder{
		Dir:    cfg.RecordDir,
		Worker: fmt.Sprintf("%d.%s", worker.PID, worker.Start),
		Head:   session.Head{Gantry: w.p.Version, Runner: w.p.runnerID(cfg, w.work), Work: w.work},
	}
	w.recording, err = recorder.Begin(session.Started{
		Input: w.in, Environ: w.p.Environ, WorkDir: w.p.Dir, Time: w.began, Override: cfg.Overrides[string(w.in.Command)],
	})
	return err
}

// end writes down how the call ended.
func (w *watch) end(code int, err error) {
	took := w.p.Now().Sub(w.began)
	w.log.Info("end", "status", code, "took", took, "error", err)
	if w.closer != nil {
		w.tell(w.closer.Close())
	}
	if w.recording == nil {
		return
	}
	outcome := session.Outcome{ExitStatus: code, Seconds: took.Seconds()}
	if err != nil {
		outcome.Error = err.Error()
	}
	response, readErr := w.response()
	w.tell(readErr)
	w.tell(w.recording.End(outcome, response))
}

func (w *watch) response() ([]byte, error) {
	if w.in.ResponseFile == "" {
		return nil, nil
	}
	file, err := responsefile.Opener(w.work)(w.in.ResponseFile, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("recording the response: %w", err)
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, longestResponse))
}

func (w *watch) tell(err error) {
	if err != nil {
		fmt.Fprintf(w.p.Stderr, "gantry: %v\n", err)
	}
}
