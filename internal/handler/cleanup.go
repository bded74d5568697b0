package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/ownership"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// restoreTimeout bounds what a job container may take to give files back. Its agent is in the job's hands.
const restoreTimeout = 30 * time.Second

// logLines is how much of a failed service's log is shown.
const logLines = 100

// CleanupJob removes everything that this runner's jobs have made. It needs no state: the labels tell. It goes on
// after errors, and does no harm twice.
func (h *Handler) CleanupJob(ctx context.Context, _ json.RawMessage) (hook.Result, error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), orNone(h.Config.Timeouts.Cleanup))
	defer stop()
	failpoint.Hit("cleanup-start")
	inv, err := h.Engine.List(ctx, map[string]string{LabelRunner: h.Runner.ID})
	if err != nil {
		return hook.Result{}, err
	}
	failpoint.Hit("cleanup-listed")
	h.showFailed(ctx, inv)
	h.restoreInJobs(ctx)
	failpoint.Hit("cleanup-restored")
	err = h.Engine.Remove(ctx, inv)
	failpoint.Hit("cleanup-removed")
	return hook.Result{}, errors.Join(err, h.forgetAll(ctx, inv, ""))
}

// removeLeftovers removes what earlier jobs of this runner left, and nothing of the job that is being prepared meanwhile.
func (h *Handler) removeLeftovers(ctx context.Context, job string) error {
	inv, err := h.Engine.List(ctx, map[string]string{LabelRunner: h.Runner.ID})
	if err != nil {
		return err
	}
	inv.Networks = slices.DeleteFunc(inv.Networks, func(n engine.Network) bool { return n.Labels[LabelJob] == job })
	if n := inv.Len(); n > 0 {
		h.logf("gantry: removing %d containers and %d networks that earlier jobs of this runner left", len(inv.Containers), len(inv.Networks))
		if err := h.Engine.Remove(ctx, inv); err != nil {
			return err
		}
	}
	return h.forgetAll(ctx, inv, job)
}

// forgetAll is forget, which other users' files can hinder: those are the runner's again then. A container that could
// tamper with that is gone by now.
func (h *Handler) forgetAll(ctx context.Context, inv engine.Inventory, except string) error {
	err := h.forget(ctx, except)
	if h.restoreInHelpers(ctx, inv) {
		err = h.forget(ctx, except)
	}
	return err
}

// forget deletes agent folders and job records of this runner, except those of one job.
func (h *Handler) forget(ctx context.Context, except string) error {
	all := []error{h.forgetCopiesApart(ctx, except)}
	if h.Runner.Work != "" {
		all = append(all, removeAgentDirs(h.Runner.Work, h.agentDir(except).rel))
	}
	all = append(all, h.forgetCopies())
	records, err := h.Store.All()
	all = append(all, err)
	for _, rec := range records {
		if rec.Runner == h.Runner.ID && rec.ID != except {
			all = append(all, h.Store.Delete(rec.ID))
		}
	}
	return errors.Join(all...)
}

// showFailed prints the logs of services that have ended or are unhealthy. They cannot speak to the runner: its
// commands are switched off meanwhile.
func (h *Handler) showFailed(ctx context.Context, inv engine.Inventory) {
	for _, c := range inv.Containers {
		if c.Labels[LabelRole] != roleService || c.Running && c.Health != "unhealthy" {
			continue
		}
		token := newID()
		h.logf("gantry: service %s (%s) has failed; the end of its log:", c.Name, c.Image)
		h.logf("::stop-commands::%s", token)
		if err := h.Engine.Logs(ctx, c.ID, logLines, h.Log); err != nil {
			h.logf("gantry: %v", err)
		}
		h.logf("\n::%s::", token)
	}
}

// foreign says whether files in the work folder belong to other users than the runner's, who could not even delete
// them: containers leave such files. Only the engine can mend that.
func (h *Handler) foreign() bool {
	if h.UID == 0 || !h.Config.RestoreOwnership || h.Runner.Work == "" {
		return false
	}
	foreign, err := ownership.Foreign(h.Runner.Work, h.UID)
	if err != nil {
		h.logf("gantry: %v", err)
	}
	return foreign
}

// restoreInJobs gives files of other users back to the runner's user, where a job container runs that is root: the
// quick way. What it does not reach is left to restoreInHelpers.
func (h *Handler) restoreInJobs(ctx context.Context) {
	for _, rec := range h.ownRecords() {
		if rec.Container != nil && rec.Container.Root && h.foreign() {
			h.say(func() error { return h.restoreInJob(ctx, rec) })
		}
	}
}

// restoreInHelpers does the same in a container made for that, and says whether there was something to do. What is
// left is told, and does not make the job fail.
func (h *Handler) restoreInHelpers(ctx context.Context, inv engine.Inventory) bool {
	if !h.foreign() {
		return false
	}
	for _, c := range inv.Containers {
		if c.Image != "" {
			h.say(func() error { return h.restoreInHelper(ctx, c.Image) })
			break
		}
	}
	if h.foreign() {
		h.logf("gantry: files in %s belong to other users than the runner's; the next job may fail because of them", h.Runner.Work)
	}
	return true
}

func (h *Handler) ownRecords() []*jobrecord.Record {
	records, err := h.Store.All()
	if err != nil {
		return nil // none that can be read: clean-up goes by labels
	}
	var own []*jobrecord.Record
	for _, rec := range records {
		if rec.Runner == h.Runner.ID && rec.Work == h.Runner.Work {
			own = append(own, rec)
		}
	}
	return own
}

// restoreInJob has the job container's agent do it: a matter of milliseconds.
func (h *Handler) restoreInJob(ctx context.Context, rec *jobrecord.Record) error {
	target := ""
	for _, m := range rec.Container.Mounts {
		if m.Source == rec.Work {
			target = m.Target
		}
	}
	if target == "" {
		return errors.New("the work folder is not mounted")
	}
	step := restoreStep(target)
	ctx, stop := context.WithTimeout(ctx, restoreTimeout)
	defer stop()
	var said strings.Builder
	exit, err := h.agentClient(rec).Run(ctx, step, &said, nil)
	var lost *agent.LostError
	switch {
	case errors.As(err, &lost):
		return nil // the container has ended: a helper does it
	case err != nil:
		return fmt.Errorf("restoring the ownership of files: %w", err)
	case exit.Code != 0:
		return fmt.Errorf("restoring the ownership of files: status %d %s %q", exit.Code, exit.Error, said.String())
	}
	return nil
}

func restoreStep(target string) *agent.Step {
	return &agent.Step{
		ID:          scriptstep.NewStepID(),
		Argv:        []string{agent.MountPoint + "/" + agent.BinaryName, "restore", target},
		OrphanGrace: scriptstep.OrphanGrace, CancelGrace: time.Second,
	}
}

// restoreInHelper does it in a container made for that, as root, from an image that is there already.
func (h *Handler) restoreInHelper(ctx context.Context, image string) error {
	id := newID()
	dir := h.agentDir(id)
	defer h.say(dir.remove)
	if err := h.makeAgentDir(ctx, dir); err != nil {
		return err
	}
	const target = "/work"
	step := restoreStep(target)
	spec := engine.ContainerSpec{
		Name: h.name(id, "restore"), Title: "helper", Labels: h.labels(id, roleStep), Image: image, Pull: engine.PullNever,
		Entrypoint: step.Argv[0], Args: step.Argv[1:], Options: []string{"--user=0:0"},
		Mounts: []engine.Mount{dir.mount(), {Source: h.Runner.Work, Target: target}},
	}
	c, err := h.Engine.StartStep(ctx, spec, "none", h.Log)
	if err != nil {
		return fmt.Errorf("restoring the ownership of files: %w", err)
	}
	<-c.Gone
	if err := c.Err(); err != nil {
		return fmt.Errorf("restoring the ownership of files: %w", err)
	}
	return nil
}

// Leftover is something of a job that is over.
type Leftover struct {
	Kind, ID, Name, Job string
	Created             time.Time
}

// Leftovers finds what jobs left behind that cannot be running any more: their record is gone, or the process
// that they belonged to. Jobs whose records lie in another state folder are not judged.
func (h *Handler) Leftovers(ctx context.Context) (engine.Inventory, []Leftover, error) {
	inv, err := h.Engine.List(ctx, map[string]string{LabelState: StateID(h.Store.Dir)})
	if err != nil {
		return inv, nil, err
	}
	records, err := h.Store.All()
	if err != nil {
		return inv, nil, err
	}
	alive := map[string]bool{}
	for _, rec := range records {
		alive[rec.ID] = rec.Owner.Alive()
	}
	var dead engine.Inventory
	var rows []Leftover
	for _, c := range inv.Containers {
		if job := c.Labels[LabelJob]; !alive[job] && !h.young(c.Created) {
			dead.Containers = append(dead.Containers, c)
			rows = append(rows, Leftover{"container", c.ID, c.Name, job, c.Created})
		}
	}
	for _, n := range inv.Networks {
		if job := n.Labels[LabelJob]; !alive[job] && !h.young(n.Created) {
			dead.Networks = append(dead.Networks, n)
			rows = append(rows, Leftover{"network", n.ID, n.Name, job, n.Created})
		}
	}
	for _, o := range inv.Others {
		if job := o.Labels[LabelJob]; !alive[job] && !h.young(o.Created) {
			dead.Others = append(dead.Others, o)
			rows = append(rows, Leftover{o.Kind, o.ID, o.Name, job, o.Created})
		}
	}
	return dead, rows, nil
}

// young spares what may have been made a moment ago by a step container's hook, which keeps no record.
func (h *Handler) young(created time.Time) bool { return time.Since(created) < time.Minute }
