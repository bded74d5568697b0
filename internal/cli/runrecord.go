package cli

import (
	"errors"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/session"
)

// recorder records the hook calls of jobs below dir.
func (p *Process) recorder(dir string) func(layout.Dirs, string, func(string) string) job.Recorder {
	return func(dirs layout.Dirs, worker string, mask func(string) string) job.Recorder {
		return &jobRecorder{folders: map[string]bool{}, Recorder: session.Recorder{
			Dir: dir, Worker: worker, Mask: mask, Head: session.Head{Gantry: p.Version, Work: dirs.Work},
		}}
	}
}

// jobRecorder records the calls of one job.
type jobRecorder struct {
	session.Recorder
	mu      sync.Mutex
	folders map[string]bool // of sessions
}

var _ job.Recorder = (*jobRecorder)(nil)

// Begin is the start of a call.
func (r *jobRecorder) Begin(c job.Call) (job.Recording, error) {
	rec, err := r.Recorder.Begin(session.Started{Input: c.Input, Environ: c.Environ, WorkDir: c.WorkDir, Time: c.Began})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folders[rec.Folder()] = true
	return jobRecording{rec}, nil
}

// Close takes out of all calls what has become known as secret only after them.
func (r *jobRecorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for folder := range r.folders {
		errs = append(errs, session.Mask(folder, r.Mask))
	}
	return errors.Join(errs...)
}

// jobRecording is one call under way.
type jobRecording struct{ *session.Recording }

// End is the end of the call.
func (r jobRecording) End(result *hook.CallResult, took time.Duration, err error) error {
	outcome := session.Outcome{ExitStatus: result.ExitCode, Seconds: took.Seconds()}
	if err != nil {
		outcome.Error = err.Error()
	}
	return r.Recording.End(outcome, result.ResponseText)
}
