package job

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job/fetch"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/joblog"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// runner runs one job. Its own fields do not change once the job is set up; what changes is in state and hooks.
type runner struct {
	opts     Options
	job      Job
	dirs     layout.Dirs
	masks    *joblog.Masks
	github   []pair // members of the context github that are the same for all steps
	tracking string // RUNNER_TRACKING_ID
	host     []pair // RUNNER_*
	fetcher  *fetch.Fetcher

	hooks *hooks
	state *state
	main  *frame
	// background has the steps that run beside others.
	background *background
	nodes      sync.Map     // versions of node that lie in externals
	numbers    atomic.Int64 // of steps

	defaults  workflow.Defaults // evaluated
	container *container        // the job container; nil: steps run on the host
	uses      map[*workflow.Step]*use
}

func newRunner(opts Options, j Job) (*runner, error) {
	if j.Job == nil || j.Workflow == nil || opts.Sink == nil {
		return nil, errors.New("a job, its workflow and a sink for events are needed")
	}
	github := githubContext(opts, j)
	root, err := filepath.Abs(filepath.Join(opts.Root, folderName(j.Key)))
	if err != nil {
		return nil, fmt.Errorf("finding the runner's folder: %w", err)
	}
	repo := github["repository"][strings.LastIndex(github["repository"], "/")+1:]
	r := &runner{
		opts: opts, job: j, dirs: layout.New(root, repo), masks: &joblog.Masks{},
		tracking: "github_" + newGUID(), state: &state{status: jobevent.Success},
		uses: map[*workflow.Step]*use{},
	}
	for _, secret := range j.Secrets {
		r.masks.Add(secret)
	}
	if tools := toolCache(opts.Environ); tools != "" {
		r.dirs.Tool = tools
	}
	github["workspace"], github["event_path"] = r.dirs.Workspace, r.dirs.EventFile()
	for _, name := range slices.Sorted(maps.Keys(github)) {
		r.github = append(r.github, pair{name, github[name]})
	}
	r.host = r.runnerContext()
	r.fetcher = &fetch.Fetcher{
		Mirror: opts.ActionsDir, ServerURL: opts.ServerURL, Into: r.dirs.Actions, Env: opts.Environ,
	}
	r.hooks = newHooks(opts, r.dirs, j.Key, r.masks.Mask)
	r.background = newBackground(r)
	r.main = &frame{steps: newSteps(), inputs: j.Inputs, source: j.Workflow.Source()}
	return r, nil
}

// toolCache is where the runner's environment wants its tools; "" for the usual place (HostContext.cs).
func toolCache(environ []string) string {
	for _, name := range []string{"RUNNER_TOOL_CACHE", "RUNNER_TOOLSDIRECTORY", "AGENT_TOOLSDIRECTORY", "agent.ToolsDirectory"} {
		if dir := process.Lookup(environ, name); dir != "" {
			return dir
		}
	}
	return ""
}

// folderName makes the name of a folder of a job's key. Different keys of a run give different names.
func folderName(key string) string {
	return strings.Map(func(c rune) rune {
		if c == '/' || c == ' ' || c == ':' || c < ' ' {
			return '.'
		}
		return c
	}, key)
}

// newGUID is a random name in .NET's form.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// emit sends an event of the job as a whole.
func (r *runner) emit(e jobevent.Event) { r.newLog(0).emit(e) }

func (r *runner) newLog(step int) *stepLog {
	return &stepLog{sink: r.opts.Sink, masks: r.masks, job: r.job.Key, step: step, debug: r.opts.Debug}
}

// githubContext is what the options say, over what a run on GitHub would most likely have.
func githubContext(opts Options, j Job) map[string]string {
	const sha = "0000000000000000000000000000000000000000"
	m := map[string]string{
		"actor": "gantry", "actor_id": "1", "repository": "gantry/repo", "repository_id": "1", "repository_owner_id": "1",
		"api_url": "https://api.github.com", "graphql_url": "https://api.github.com/graphql", "server_url": "https://github.com",
		"event_name": "push", "ref": "refs/heads/main", "ref_name": "main", "ref_type": "branch", "ref_protected": "false",
		"base_ref": "", "head_ref": "", "sha": sha, "retention_days": "90", "secret_source": "Actions", "token": "",
		"run_id": "1", "run_number": "1", "run_attempt": "1", "repositoryUrl": "", "repository_visibility": "private",
		"workflow": j.Workflow.Name,
	}
	maps.Copy(m, opts.Github)
	if token := j.Secrets["GITHUB_TOKEN"]; token != "" {
		m["token"] = token
	}
	owner, _, _ := strings.Cut(m["repository"], "/")
	file := j.Workflow.File
	for name, value := range map[string]string{
		"repository_owner": owner, "triggering_actor": m["actor"], "workflow_sha": m["sha"],
		"workflow_ref": m["repository"] + "/" + file + "@" + m["ref"],
	} {
		if m[name] == "" {
			m[name] = value
		}
	}
	m["job"] = j.Job.ID
	return m
}

// runnerContext are the members of the context runner.
func (r *runner) runnerContext() []pair {
	arch := map[string]string{"amd64": "X64", "arm64": "ARM64", "arm": "ARM", "386": "X86"}[runtime.GOARCH]
	pairs := []pair{
		{"os", "Linux"}, {"arch", arch}, {"name", filepath.Base(r.dirs.Root)}, {"environment", "self-hosted"},
		{"tool_cache", r.dirs.Tool}, {"temp", r.dirs.Temp}, {"workspace", r.dirs.Pipeline},
	}
	if r.opts.Debug {
		pairs = append(pairs, pair{"debug", "1"})
	}
	return pairs
}

// strategy is the context strategy.
func (j Job) strategy() *expr.Map {
	m := expr.NewMap()
	total := max(j.Total, 1)
	parallel := j.MaxParallel
	if parallel == 0 {
		parallel = total
	}
	m.Set("fail-fast", j.FailFast)
	m.Set("job-index", float64(j.Index))
	m.Set("job-total", float64(total))
	m.Set("max-parallel", float64(parallel))
	return m
}
