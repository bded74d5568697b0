package handler

import (
	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/engine"
)

// PlanJob is what PrepareJob would ask an engine for, with job, 32 hex digits, as the job's name. It makes nothing, and
// looks at nothing of the machine.
func (h *Handler) PlanJob(args *hook.PrepareJobArgs, job string) (engine.JobSpec, error) {
	p := h.planner(job, engine.Info{})
	p.exists = func(string) bool { return false }
	return p.jobSpec(args, h.agentDir(job))
}
