package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// Outcome is what became of a case.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	// NotSupported: the hook says clearly that it does not do this. It counts as pass only where nothing must be.
	NotSupported Outcome = "not supported"
	// Skipped: the machine lacks what the case needs.
	Skipped Outcome = "skipped"
	// Error: the suite could not find out. It never counts as pass.
	Error Outcome = "error"
)

// Result is the outcome of one case.
type Result struct {
	Case     *Case         `json:"-"`
	Outcome  Outcome       `json:"outcome"`
	Failures []Failure     `json:"failures,omitempty"`
	Note     string        `json:"note,omitempty"` // why it was skipped, what the hook does not support, what went wrong
	Took     time.Duration `json:"-"`
}

// Credentials are those of a registry with a password. Image is a name there, without the host.
type Credentials struct {
	Host, User, Password, Image string
}

// Suite judges one hook on one engine.
type Suite struct {
	// Hook is the program, as ACTIONS_RUNNER_CONTAINER_HOOKS would name it; Node starts .js hooks.
	Hook, Node string
	// Environ is the environment of the hook, to which that of a runner is added.
	Environ []string
	Engine  Engine
	// Dir is a folder for the runners. Its path should be short: hooks may have sockets below it.
	Dir string
	// Folder is the folder of the runner, with _work in it, on an engine that serves no other; "": each has one in Dir.
	// It must be empty but for an empty _work, and is emptied after each runner.
	Folder string
	// UID is the user that the suite runs as.
	UID int
	// Rewrite has names of base images, and those to take instead.
	Rewrite map[string]string
	// Registry is one with a password that the user gave; without Host the suite takes its own.
	Registry Credentials
	// Workers is how many jobs may run at the same time; 0 means 1.
	Workers int
	// Patience is how long the engine's lists and the machine's processes may take to become what is expected: hooks may
	// end things in the background. 0 means 10 s.
	Patience time.Duration
	// Tell is called with each result, one at a time; nil for nobody.
	Tell func(Result)

	added         []string // to the environment of the hook, by the engine
	images        map[string]string
	made          map[string]*images.Image
	open, private *images.Registry
	labels        *labels
	telling       sync.Mutex
}

// Run is Open, Judge and Close.
func (s *Suite) Run(ctx context.Context, all *Collection, chosen func(*Case) bool) ([]Result, error) {
	if err := s.Open(ctx); err != nil {
		return nil, err
	}
	results := s.Judge(ctx, all, chosen)
	return results, s.Close(ctx)
}

// With is a suite for another hook, on the same engine and with the same images, between Open and Close. Both may be
// used at the same time.
func (s *Suite) With(hook string) *Suite {
	return &Suite{
		Hook: hook, Node: s.Node, Environ: s.Environ, Engine: s.Engine, Dir: s.Dir, Folder: s.Folder, UID: s.UID, Registry: s.Registry,
		Workers: s.Workers, Patience: s.Patience,
		added: s.added, images: s.images, made: s.made, open: s.open, private: s.private, labels: s.labels,
	}
}

// Judge runs cases, between Open and Close, and gives their results in the order of the collection.
func (s *Suite) Judge(ctx context.Context, all *Collection, chosen func(*Case) bool) []Result {
	results := make([]Result, len(all.Cases))
	groups := s.group(all, chosen, results)
	s.compareRunners(ctx, len(groups))
	var queue sync.WaitGroup
	next := make(chan *group)
	for range s.workers() {
		queue.Go(func() {
			for g := range next {
				s.runGroup(ctx, all, g, results)
			}
		})
	}
	alone := slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return !g.alone })
	for _, g := range groups {
		if !g.alone {
			next <- g
		}
	}
	close(next)
	queue.Wait()
	for _, g := range alone {
		s.runGroup(ctx, all, g, results)
	}
	return slices.DeleteFunc(results, func(r Result) bool { return r.Case == nil })
}

// workers is how many jobs run at the same time.
func (s *Suite) workers() int {
	if !s.Engine.Meets("runners") {
		return 1
	}
	return cmp.Or(s.Workers, 1)
}

// compareRunners prepares a job on two runners, to learn which labels tell them apart. With one group there is only
// one runner. A hook that cannot do it is found out by the cases.
func (s *Suite) compareRunners(ctx context.Context, groups int) {
	if s.labels.believed() || !s.Engine.Meets("runners") {
		return
	}
	if groups > 1 {
		var both [2]*scene
		for i := range both {
			sc, err := s.preparedScene(ctx)
			if sc != nil {
				defer sc.end(ctx) // what it leaves is not judged here
			}
			if err != nil {
				return
			}
			both[i] = sc
		}
		for _, sc := range both {
			if have, err := sc.owned.now(ctx); err != nil || len(have.Containers) == 0 {
				return
			}
		}
	}
	s.labels.believe()
}

// preparedScene is a runner with the simplest job.
func (s *Suite) preparedScene(ctx context.Context) (*scene, error) {
	sc, err := s.newScene(ctx, RunnerSetup{})
	if err != nil {
		return nil, err
	}
	container, err := wire(sc.runner.JobContainer(sc.image("busybox")))
	if err != nil {
		return sc, err
	}
	sc.mark(container)
	sc.begin(true)
	client := sc.runner.Client
	result, err := client.Call(ctx, hook.PrepareJob, object{"container": container, "services": []any{}}, nil)
	if err == nil {
		sc.took(hook.PrepareJob, result)
	}
	return sc, err
}

// group is cases that run one after the other: those of a shared job, or a single one.
type group struct {
	job   string
	cases []int
	alone bool
}

// group sorts the chosen cases into groups, larger ones first. Those that lack something are skipped at once.
func (s *Suite) group(all *Collection, chosen func(*Case) bool, results []Result) []*group {
	var groups []*group
	shared := map[string]*group{}
	for i := range all.Cases {
		c := &all.Cases[i]
		if !chosen(c) {
			continue
		}
		if lacking := s.missing(all.Needs(c)); lacking != "" {
			results[i] = Result{Case: c, Outcome: Skipped, Note: lacking}
			s.tell(results[i])
			continue
		}
		key := c.Job
		if c.Alone && key != "" {
			key += " alone"
		}
		g := shared[key]
		if g == nil || c.Job == "" {
			g = &group{job: c.Job, alone: c.Alone}
			groups, shared[key] = append(groups, g), g
		}
		g.cases = append(g.cases, i)
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return len(b.cases) - len(a.cases) })
	return groups
}

func (s *Suite) tell(r Result) {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.Tell != nil {
		s.Tell(r)
	}
}

// runGroup runs the cases of a group in a scene.
func (s *Suite) runGroup(ctx context.Context, all *Collection, g *group, results []Result) {
	var setup RunnerSetup
	if g.job == "" {
		setup = all.Cases[g.cases[0]].Runner
	} else {
		setup = all.Jobs[g.job].Runner
	}
	sc, err := s.newScene(ctx, setup)
	var seen *observation
	if err == nil && g.job != "" {
		seen, err = sc.share(ctx, all.Jobs[g.job])
	}
	for _, i := range g.cases {
		start := time.Now()
		r := Result{Case: &all.Cases[i], Outcome: Error}
		switch {
		case err != nil:
			r.Note = err.Error()
		case ctx.Err() != nil:
			r.Note = "the suite was interrupted"
		default:
			if g.job != "" {
				sc.freshVars()
			}
			r = sc.runCase(ctx, r.Case, seen)
		}
		r.Took = time.Since(start)
		results[i] = r
		if i != g.cases[len(g.cases)-1] {
			s.tell(r)
		}
	}
	last := &results[g.cases[len(g.cases)-1]]
	if sc != nil {
		if err := sc.end(ctx); err != nil {
			last.Outcome, last.Note = Error, "cleaning up after it: "+err.Error()
		}
	}
	s.tell(*last)
}

// share prepares a shared job.
func (sc *scene) share(ctx context.Context, job SharedJob) (*observation, error) {
	call, err := sc.read(&job.Call)
	if err != nil {
		return nil, err
	}
	seen, err := sc.observe(ctx, &made{Call: call, stdout: newCollector(""), stderr: newCollector(""), ended: make(chan struct{})})
	if err != nil {
		return nil, err
	}
	_, err = sc.owned.now(ctx) // to know later what belongs to this job
	return seen, err
}

// runCase runs a case; shared is what was seen of its shared job's prepare_job.
func (sc *scene) runCase(ctx context.Context, c *Case, shared *observation) Result {
	r := Result{Case: c, Outcome: Pass}
	if shared != nil {
		failures, err := sc.judge(ctx, &Call{Expect: c.Prepared}, shared)
		if line := refused(shared); len(failures) > 0 && line != "" {
			return Result{Case: c, Outcome: NotSupported, Note: line}
		}
		for i := range failures {
			failures[i].Call = "prepare_job of the job " + c.Job
		}
		if r.add(failures, err); len(failures) > 0 || err != nil {
			return r
		}
	}
	for i := range c.Calls {
		failures, err := sc.run(ctx, &c.Calls[i], fmt.Sprint(i+1), nil)
		if r.add(failures, err); len(failures) > 0 || err != nil {
			break // what follows would only repeat it
		}
	}
	return r
}

// add takes over the findings of a call.
func (r *Result) add(failures []Failure, err error) {
	var no *notSupported
	switch {
	case errors.As(err, &no):
		r.Outcome, r.Note = NotSupported, no.line
		return
	case errors.Is(err, ErrImpossible):
		r.Outcome, r.Note = Skipped, "it needs "+ErrImpossible.Error()
		return
	case err != nil:
		r.Outcome, r.Note = Error, err.Error()
	case len(failures) > 0:
		r.Outcome = Fail
	}
	r.Failures = append(r.Failures, failures...)
}

// notSupported is not an error: it ends a case that the hook refuses clearly.
type notSupported struct{ line string }

func (n *notSupported) Error() string { return "the hook does not support it: " + n.line }

// hookEnv is the environment of a hook.
func (s *Suite) hookEnv() []string {
	own := slices.DeleteFunc(slices.Clone(s.Environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "RUNNER_") || strings.HasPrefix(name, "ACTIONS_")
	})
	return slices.Concat(own, s.added)
}

// removeFolder removes a runner's folder. What containers left of other users, a container removes.
func (s *Suite) removeFolder(ctx context.Context, folder string) error {
	remove := os.RemoveAll
	if folder == s.Folder {
		remove = emptied
	}
	if remove(folder) == nil {
		return nil
	}
	if err := s.Engine.Empty(ctx, folder, s.images["busybox"]); err != nil {
		return fmt.Errorf("removing %s: %w", folder, err)
	}
	if err := remove(folder); err != nil {
		return fmt.Errorf("removing the runner's folder: %w", err)
	}
	return nil
}

// emptied removes what is in a folder. Folders in it on which something is mounted stay, without what is in them.
func emptied(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		err := os.RemoveAll(path)
		if left, readErr := os.ReadDir(path); err != nil && (readErr != nil || len(left) > 0) {
			return err
		}
	}
	return nil
}

// Match makes a filter from patterns like exit-*; without any it takes every case.
func Match(patterns []string) (func(*Case) bool, error) {
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, fmt.Errorf("the pattern %q: %w", p, err)
		}
	}
	return func(c *Case) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
			ok, _ := filepath.Match(p, c.ID) // the pattern is a good one
			return ok
		})
	}, nil
}
