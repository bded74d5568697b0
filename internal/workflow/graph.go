package workflow

import (
	"fmt"
	"slices"
	"strings"
)

// checkGraph reports unknown needs, and cycles, each once.
func (r *reader) checkGraph(w *Workflow) {
	for _, job := range w.Jobs {
		for _, need := range job.Needs {
			if w.Job(need.ID) == nil {
				r.report(need.Pos, Error, kindNeeds, "there is no job %q; job %q needs it", need.ID, job.ID)
			}
		}
	}
	state := map[*Job]int{}
	for _, job := range w.Jobs {
		r.findCycle(w, job, nil, state)
	}
}

const (
	visiting = iota + 1
	visited
)

// findCycle follows the needs of a job; path are the jobs on the way to it.
func (r *reader) findCycle(w *Workflow, job *Job, path []*Job, state map[*Job]int) {
	if state[job] == visited {
		return
	}
	state[job] = visiting
	path = append(path, job)
	for _, need := range job.Needs {
		next := w.Job(need.ID)
		switch {
		case next == nil:
		case state[next] == visiting:
			r.report(need.Pos, Error, kindNeeds, "jobs need each other in a circle: %s", circle(path, next))
		default:
			r.findCycle(w, next, path, state)
		}
	}
	state[job] = visited
}

func circle(path []*Job, first *Job) string {
	var ids []string
	for _, job := range path[slices.Index(path, first):] {
		ids = append(ids, job.ID)
	}
	return strings.Join(append(ids, first.ID), " needs ")
}

// Order gives the jobs in levels: each needs only jobs of earlier ones, and is as early as it can be. Within a level
// they are in the order of the file. The workflow must have no [Error].
func (w *Workflow) Order() [][]*Job {
	depth := map[*Job]int{}
	var levels [][]*Job
	for _, job := range w.Jobs {
		level := w.depth(job, depth)
		for len(levels) <= level {
			levels = append(levels, nil)
		}
		levels[level] = append(levels[level], job)
	}
	return levels
}

// depth is how many jobs come one after the other before a job. A circle is cut where it closes.
func (w *Workflow) depth(job *Job, known map[*Job]int) int {
	if level, ok := known[job]; ok {
		return level
	}
	known[job] = 0
	level := 0
	for _, need := range job.Needs {
		if before := w.Job(need.ID); before != nil {
			level = max(level, w.depth(before, known)+1)
		}
	}
	known[job] = level
	return level
}

// Select gives the jobs with these ids and all that they need, in the order of the file; without ids, all jobs.
func (w *Workflow) Select(ids ...string) ([]*Job, error) {
	if len(ids) == 0 {
		return w.Jobs, nil
	}
	wanted := map[*Job]bool{}
	for _, id := range ids {
		job := w.Job(id)
		if job == nil {
			return nil, fmt.Errorf("there is no job %q in %s; its jobs are %s", id, w.File, strings.Join(w.ids(), ", "))
		}
		w.want(job, wanted)
	}
	return slices.DeleteFunc(slices.Clone(w.Jobs), func(job *Job) bool { return !wanted[job] }), nil
}

func (w *Workflow) want(job *Job, wanted map[*Job]bool) {
	if job == nil || wanted[job] {
		return
	}
	wanted[job] = true
	for _, need := range job.Needs {
		w.want(w.Job(need.ID), wanted)
	}
}

func (w *Workflow) ids() []string {
	var ids []string
	for _, job := range w.Jobs {
		ids = append(ids, job.ID)
	}
	return ids
}
