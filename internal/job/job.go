// Package job runs one job of a workflow as the GitHub Actions runner does (runner 2.336.0): the same folders, the same
// conditions, the same environment, the same requests to a container hook in the same order.
//
// Work in containers goes only through a hook process, called by hook.Client; steps of a job without a container run
// on the host. Everything that happens is told as events (package jobevent), in which secrets are masked.
package job

import (
	"context"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// Options are the same for all jobs of a run.
type Options struct {
	// Hook is the path of the hook, a file that ends in .sh, .js or .ps1. It may be "" for jobs that need none.
	Hook string
	// Environ is the environment of the runner itself: of the hook and of steps on the host, before what the runner
	// adds.
	Environ []string
	// Root is a folder for runners: each job has one of its own below it.
	Root string
	// Source is the checkout that stands for the repository: actions/checkout copies it.
	Source string
	// Node gives a node program of the host for "node20" or "node24", and for "node20_alpine" and "node24_alpine", where
	// false means the same one as without alpine; nil, or false, if there is none. Hooks that end in .js run with node20.
	Node func(version string) (string, bool)
	// ActionsDir has actions of repositories, in OWNER/REPO/REF or OWNER/REPO@REF; "" for none. What it lacks is
	// cloned from ServerURL, if that is not "".
	ActionsDir, ServerURL string
	// Env is added to the workflow's env, and wins over it; the job's own env wins over both.
	Env map[string]string
	// Vars is the context vars.
	Vars map[string]string
	// Event is github.event; nil is an empty object.
	Event expr.Value
	// Github are members of the context github, such as repository, ref, sha and actor. What is missing has a default.
	Github map[string]string
	// Image gives the image to use in place of one that a workflow or an action names; nil keeps all. One that is
	// replaced is asked for without the credentials of the other's registry.
	Image func(image string) string
	Sink  jobevent.Sink
	Debug bool
	// Keep leaves the containers of a failed job for the caller to clean up: see Kept.
	Keep bool
	// Record gives what keeps the hook calls of a job; nil for nothing. worker tells the jobs of a run apart, mask takes
	// out of a text what is known to be secret at that time.
	Record func(dirs layout.Dirs, worker string, mask func(text string) string) Recorder
	// Delays are those of the end of a cancelled process, zero for the runner's.
	Delays process.Delays
	// CancelBudget is the time from a cancel to the end of all steps that go on in spite of it; 0 means the runner's
	// 285 s. CleanupBudget is the time for cleanup_job; 0 means 5 minutes.
	CancelBudget, CleanupBudget time.Duration
	// BackgroundGrace is how long a cancelled step in the background is waited for; 0 means the runner's 7.5 s. It then
	// goes on beside the steps behind it, until it is ended with the job.
	BackgroundGrace time.Duration
}

// Recorder keeps hook calls. Begin is called before each call, by several goroutines at once if steps run in the
// background; the call goes on after an error. Close is called once, at the end of the job; only calls for kept
// containers (Options.Keep) come after it.
type Recorder interface {
	Begin(Call) (Recording, error)
	Close() error
}

// Call is one call of the hook that begins.
type Call struct {
	Input   *hook.Input
	Environ []string // of the hook
	WorkDir string
	Began   time.Time
}

// Recording is one call under way. End is called once; err is nil if the runner has nothing to object.
type Recording interface {
	End(result *hook.CallResult, took time.Duration, err error) error
}

// Job is one run of a job. Its fields are those of schedule.Job.
type Job struct {
	// Key tells it from all other jobs of the run: "test", "build/2".
	Key  string
	Name string // for people
	Job  *workflow.Job
	// Workflow is the one that has the job.
	Workflow *workflow.Workflow
	Matrix   *workflow.Combination // nil without a matrix
	// Index counts from 0 among Total combinations. MaxParallel is 0 without a limit.
	Index, Total int
	FailFast     bool
	MaxParallel  int
	Needs        *expr.Map // the context needs
	Inputs       *expr.Map // the context inputs
	Secrets      map[string]string
}

// Outcome is the end of a job.
type Outcome struct {
	Result  jobevent.Result
	Outputs map[string]string
	// Kept is not nil if the containers were left (Options.Keep).
	Kept *Kept
}

// Kept is what is left of a failed job.
type Kept struct {
	Container string // id of the job container; "" if there is none
	Network   string
	Services  map[string]string // ids by name
	Dirs      layout.Dirs
	// Cleanup calls cleanup_job. It has to be called once, whatever happens.
	Cleanup func(context.Context) error
}

// Run runs a job to its end, with its events from JobStarted to JobEnded.
//
// When ctx is cancelled the job is: a running step whose condition does not hold any more is ended as the runner does,
// always() steps, post steps and cleanup_job still run. The error is not about steps: it says that the job could not
// be run.
func Run(ctx context.Context, opts Options, j Job) (Outcome, error) {
	began := time.Now()
	r, err := newRunner(opts, j)
	if err != nil {
		return Outcome{Result: jobevent.Failure}, err
	}
	r.emit(jobevent.Event{Kind: jobevent.JobStarted, Text: j.Name})
	outcome := r.run(ctx)
	r.emit(jobevent.Event{
		Kind: jobevent.JobEnded, Result: outcome.Result, Took: time.Since(began), Outputs: outcome.Outputs,
	})
	return outcome, nil
}
