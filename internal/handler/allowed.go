package handler

import (
	"errors"

	"github.com/gantry-ci/gantry/internal/policy"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// allowed checks a request against the administrator's policy, and names every rule that forbids something.
func (p *planner) allowed(pt part) error {
	r := policy.Request{
		Title: pt.title, Image: pt.in.Image, BaseImages: pt.baseImages, Options: pt.opts,
		Volumes: pt.in.UserMountVolumes, Ports: pt.in.PortMappings, RealPath: safefs.RealPath,
		Step: pt.role == roleStep, JobContainer: pt.hasJob,
	}
	if p.socket != "" {
		r.Sockets = []string{p.socket}
	}
	var all []error
	for _, v := range policy.Check(p.h.Config, r) {
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil
	}
	return verdict.New(verdict.Workflow, "ask the administrator of this runner, or use something that the policy allows", "%w", errors.Join(all...))
}
