package job

import (
	"slices"
	"sync"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

// state is what changes while a job runs. It may be used by several goroutines.
type state struct {
	mu        sync.Mutex
	env       []pair // of the job, with what steps have added
	paths     []string
	status    jobevent.Result
	container *expr.Map // job.container
	services  *expr.Map // job.services
	post      []*task   // the last one runs first
}

// pair is a variable, an input or an output.
type pair struct{ name, value string }

// set puts a pair; a name that is there keeps its place.
func set(pairs []pair, name, value string) []pair {
	for i := range pairs {
		if pairs[i].name == name {
			pairs[i].value = value
			return pairs
		}
	}
	return append(pairs, pair{name, value})
}

// object makes a context of pairs. Upper and lower case are the same unless it is exact.
func object(pairs []pair, exact bool) *expr.Map {
	m := expr.NewMap()
	if exact {
		m = expr.NewExactMap()
	}
	for _, p := range pairs {
		m.Set(p.name, p.value)
	}
	return m
}

func (s *state) setEnv(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.env = set(s.env, name, value)
}

func (s *state) environment() []pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.env)
}

// addPaths puts folders before PATH. One that is there already moves to the front.
func (s *state) addPaths(paths ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range paths {
		s.paths = slices.DeleteFunc(s.paths, func(p string) bool { return p == path })
		s.paths = append(s.paths, path)
	}
}

// prepend lists the folders before PATH, the latest one first.
func (s *state) prepend() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := append([]string{}, s.paths...)
	slices.Reverse(paths)
	return paths
}

// merge makes the job's result worse by that of a step (TaskResultUtil.cs).
func (s *state) merge(result jobevent.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = worse(s.status, result)
}

func (s *state) result() jobevent.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// worse merges results: a cancel stays one, a failure is not undone.
func worse(a, b jobevent.Result) jobevent.Result {
	for _, r := range []jobevent.Result{jobevent.Cancelled, jobevent.Failure} {
		if a == r || b == r {
			return r
		}
	}
	return a
}

func (s *state) pushPost(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.post = append(s.post, t)
}

// popPost takes the post step that was registered last; nil if there is none.
func (s *state) popPost() *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.post) == 0 {
		return nil
	}
	last := s.post[len(s.post)-1]
	s.post = s.post[:len(s.post)-1]
	return last
}

// job is the context job.
func (s *state) job() *expr.Map {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := expr.NewMap()
	m.Set("status", string(s.status))
	if s.container != nil {
		m.Set("container", s.container)
	}
	if s.services != nil {
		m.Set("services", s.services)
	}
	return m
}

// steps is the context steps of a job or of a composite action.
type steps struct {
	mu      sync.Mutex
	names   []string
	entries map[string]*stepEntry
}

type stepEntry struct {
	outputs             []pair
	outcome, conclusion jobevent.Result
}

func newSteps() *steps { return &steps{entries: map[string]*stepEntry{}} }

// entry finds or makes the step of that id. The caller holds the lock.
func (s *steps) entry(id string) *stepEntry {
	e, ok := s.entries[id]
	if !ok {
		e = &stepEntry{}
		s.entries[id] = e
		s.names = append(s.names, id)
	}
	return e
}

func (s *steps) setOutputs(id string, outputs []pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(id)
	for _, o := range outputs {
		e.outputs = set(e.outputs, o.name, o.value)
	}
}

func (s *steps) conclude(id string, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(id)
	e.outcome, e.conclusion = v.outcome, v.conclusion
}

// context is the value of the context at this time.
func (s *steps) context() *expr.Map {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := expr.NewMap()
	for _, name := range s.names {
		e := s.entries[name]
		step := expr.NewMap()
		step.Set("outputs", object(e.outputs, false))
		if e.outcome != "" {
			step.Set("outcome", string(e.outcome))
			step.Set("conclusion", string(e.conclusion))
		}
		m.Set(name, step)
	}
	return m
}
