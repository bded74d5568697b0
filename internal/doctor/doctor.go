// Package doctor examines whether a machine, or a pod, can do the container work of a runner: the engine, the runner's
// settings, the hook's own, the work folder, and at last a real job played through the hook.
//
// A check never changes anything that stays. Its code is stable: documentation and scripts refer to it.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Status is the result of a check.
type Status string

// The results.
const (
	OK      Status = "ok"
	Warn    Status = "warn"    // jobs may run, but somebody will be surprised one day
	Fail    Status = "fail"    // jobs cannot run
	Skipped Status = "skipped" // the check does not apply here, or another one has to pass first
)

// Finding is what a check found.
type Finding struct {
	Code   string `json:"code"` // "G101"
	Title  string `json:"title"`
	Status Status `json:"status"`
	// Whose problem it is, and the next step: "" unless the status is warn or fail.
	Whose    verdict.Whose `json:"whose,omitempty"`
	Detail   string        `json:"detail"`
	NextStep string        `json:"nextStep,omitempty"`
	// Elsewhere says that the check is about another engine than the one that is there.
	Elsewhere bool `json:"-"`
}

// Subject is what is examined.
type Subject struct {
	Runner *runnerdir.Runner // nil: none was found
	// Environ is the environment that the hook would have.
	Environ []string
	UID     int
	// ProgramDir is where the program that examines lies, with its companions.
	ProgramDir string
	Config     *config.Config
	ConfigErr  error  // why Config is not valid; checks that need one are skipped then
	ConfigFile string // "" for none
	StateDir   string
	TempDir    string // for the real job, if there is no runner
	OpenEngine func(ctx context.Context) (engine.Engine, error)
}

// check is one row of the table of checks.
type check struct {
	code, title string
	engine      string // the only engine that it is about; "" for any
	run         func(ctx context.Context, e *exam) Finding
}

// exam is an examination under way: the subject, and what earlier checks have found.
type exam struct {
	Subject
	engine engine.Engine // nil until it has answered
	info   engine.Info
	survey *kube.Survey // of Kubernetes, nil until its pod was looked for
	trial  trial
}

// Examine does all checks, in order, and tells each finding as soon as it is there.
func Examine(ctx context.Context, s Subject, tell func(Finding)) {
	e := &exam{Subject: s}
	for _, c := range checks() {
		f := c.do(ctx, e)
		f.Code, f.Title = c.code, c.title
		tell(f)
	}
	e.trial.end(ctx, e)
}

func (c check) do(ctx context.Context, e *exam) Finding {
	switch {
	case ctx.Err() != nil:
		return skipped("interrupted")
	case c.engine != "" && e.meant() != "" && e.meant() != c.engine:
		return elsewhere(e.meant())
	case c.engine != "" && e.engine == nil:
		return skipped("the engine has to answer first")
	}
	return c.run(ctx, e)
}

// meant is the engine's name: of the one that has answered, or that is configured; "" if neither is known.
func (e *exam) meant() string {
	if e.engine == nil && e.ConfigErr == nil && e.Config.Engine != "auto" {
		return e.Config.Engine
	}
	return e.info.Name
}

// checks is the table. Codes are never used again for something else.
func checks() []check {
	return []check{
		{"G101", "container engine", "", checkEngine},
		{"G102", "engine's storage", "", checkStorage},
		{"G103", "SELinux", "", checkSELinux},
		{"G111", "access to the engine's socket", "docker", checkSocket},
		{"G121", "subordinate user ids", "podman", checkSubIDs},
		{"G122", "names on networks", "podman", checkNames},
		{"G123", "user session", "podman", checkSession},
		{"G131", "runner's pod", kube.Name, checkPod},
		{"G132", "permissions", kube.Name, inCluster(checkPermissions)},
		{"G133", "where jobs run", kube.Name, inCluster(checkMode)},
		{"G134", "volume of the work folder", kube.Name, inCluster(checkWorkVolume)},
		{"G135", "resources of jobs", kube.Name, inCluster(checkShare)},
		{"G136", "jobs of a pod", kube.Name, inCluster(checkOneJob)},
		{"G137", "agent for pods of their own", kube.Name, inCluster(checkAgentImage)},
		{"G138", "node for JavaScript actions", kube.Name, inCluster(checkNode)},
		{"G139", "pod template", "", checkTemplate},
		{"G140", "images of Dockerfile actions", kube.Name, checkBuilder},

		{"G201", "runner", "", checkRunner},
		{"G202", "user", "", checkUser},
		{"G203", "hook variable", "", checkVariable},
		{"G204", "hook file", "", checkHookFile},
		{"G205", "hook programs", "", checkPrograms},
		{"G206", "runner restarted", "", checkRestarted},

		{"G301", "configuration", "", checkConfig},
		{"G302", "state folder", "", checkState},

		{"G401", "work folder", "", checkWork},
		{"G402", "programs in the work folder", "", checkExec},
		{"G403", "sockets in the work folder", "", checkSockets},
		{"G404", "space in the work folder", "", checkSpace},
		{"G405", "owners in the work folder", "", checkOwners},

		{"G501", "building an image", "", trialBuild},
		{"G502", "prepare_job", "", trialPrepare},
		{"G503", "run_script_step", "", trialScript},
		{"G504", "reaching a service by name", "", trialService},
		{"G505", "run_container_step", "", trialContainer},
		{"G506", "cleanup_job", "", trialCleanup},
	}
}

func ok(format string, args ...any) Finding {
	return Finding{Status: OK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Status: Skipped, Detail: fmt.Sprintf(format, args...)}
}

// elsewhere is the finding of a check that is about another engine than this one.
func elsewhere(engine string) Finding {
	f := skipped("not for %s", engine)
	f.Elsewhere = true
	return f
}

func warn(whose verdict.Whose, next, format string, args ...any) Finding {
	return Finding{Status: Warn, Whose: whose, Detail: fmt.Sprintf(format, args...), NextStep: next}
}

func fail(whose verdict.Whose, next, format string, args ...any) Finding {
	return Finding{Status: Fail, Whose: whose, Detail: fmt.Sprintf(format, args...), NextStep: next}
}

// failed is the finding of an error: its verdict's.
func failed(err error) Finding {
	v := verdict.Of(err)
	detail := err.Error()
	if v.Command != "" {
		detail += "\ncommand: " + v.Command
	}
	if v.Output != "" {
		detail += "\noutput: " + v.Output
	}
	return fail(v.Whose, v.Hint, "%s", detail)
}

// getenv is the hook's variable.
func (e *exam) getenv(name string) string {
	value, _ := runnerdir.WithLines(e.Environ).Get(name)
	return value
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
