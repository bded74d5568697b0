// Package handler does the work of the four hook commands: all policy, paths, names and environment of gantry,
// above an engine.Engine and the agent. How containers come to be is the engine's, how steps run is the agent's.
package handler

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// Labels of everything that gantry makes.
const (
	LabelRunner = "io.gantry.runner" // whose: see RunnerID
	LabelJob    = "io.gantry.job"
	LabelRole   = "io.gantry.role"  // job, service, step, network, image
	LabelState  = "io.gantry.state" // which state folder has the job's record: see stateID
)

// Roles of containers.
const (
	roleJob     = "job"
	roleService = "service"
	roleStep    = "step"
	roleNetwork = "network"
	roleImage   = RoleImage
)

// RoleImage is the role of images that were built for Dockerfile actions.
const RoleImage = "image"

// Roles are those of containers and networks.
func Roles() []string { return []string{roleJob, roleService, roleStep, roleNetwork} }

// Handler implements hook.Handler. Make a new one for every command.
type Handler struct {
	Config *config.Config
	Engine engine.Engine
	Store  jobrecord.Store
	Runner Runner
	// AgentPath is the gantry-agent program on the host.
	AgentPath string
	// Out receives the output of steps byte for byte, Log everything that gantry says in the job's log.
	Out io.Writer
	Log io.Writer
	// Env is the hook's environment, for a process that outlives the command.
	Env []string
	// Signals stop a step; the command's ctx is for everything else.
	Signals <-chan os.Signal
	// UID and GID are the runner's user.
	UID, GID int
	// Resume goes on with a script step that the fast path has lost.
	Resume *Resume
}

// Resume names a step that runs already, or has ended, and says how much of it is known.
type Resume struct {
	StepID string
	Offset int64 // of its output
	scriptstep.Progress
}

// Runner is the runner that calls.
type Runner struct {
	ID   string // value of LabelRunner
	Work string // its _work folder on the host; "" if it cannot be told
}

var _ hook.Handler = (*Handler)(nil)

func (h *Handler) logf(format string, args ...any) {
	fmt.Fprintf(h.Log, format+"\n", args...)
}

// labels for something of a job.
func (h *Handler) labels(job, role string) map[string]string {
	return map[string]string{
		LabelRunner: h.Runner.ID, LabelJob: job, LabelRole: role, LabelState: StateID(h.Store.Dir),
	}
}

// name is unique in the engine and tells a reader whose the thing is.
func (h *Handler) name(job, what string) string {
	return fmt.Sprintf("gantry-%s-%s-%s", h.Runner.ID, job[:12], sanitize(what))
}

// sanitize keeps what engines allow in names and DNS allows in host names.
func sanitize(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, s)
	return strings.Trim(s[:min(len(s), 60)], "-")
}

// phases collects what took how long.
type phases struct {
	began time.Time
	rows  []engine.Phase
}

func (p *phases) do(title string, f func() error) error {
	start := time.Now()
	err := f()
	p.rows = append(p.rows, engine.Phase{Title: title, Start: start, Took: time.Since(start)})
	return err
}

// print writes one line a phase: when it began, how long it took, what it was.
func (p *phases) print(w io.Writer) {
	fmt.Fprintf(w, "%8s %8s  %s\n", "at", "took", "what")
	for _, row := range p.rows {
		fmt.Fprintf(w, "%8s %8s  %s\n", seconds(row.Start.Sub(p.began)), seconds(row.Took), row.Title)
	}
	fmt.Fprintf(w, "%8s %8s  %s\n", "", seconds(time.Since(p.began)), "in all")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
