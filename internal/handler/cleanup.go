package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/ownership"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

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
	restoreErr := h.restore(ctx, inv)
	failpoint.Hit("cleanup-restored")
	err = parallel(func() error { return h.Engine.Remove(ctx, inv) }, func() error { return h.forget("") })
	failpoint.Hit("cleanup-removed")
	return hook.Result{}, errors.Join(err, restoreErr)
}

// removeLeftovers removes what earlier jobs of this runner left, except the agent folder of the job that is being
// prepared.
func (h *Handler) removeLeftovers(ctx context.Context, keep string) error {
	inv, err := h.Engine.List(ctx, map[string]string{LabelRunner: h.Runner.ID})
	if err != nil {
		return err
	}
	if n := len(inv.Containers) + len(inv.Networks); n > 0 {
		h.logf("gantry: removing %d containers and %d networks that earlier jobs of this runner left", len(inv.Containers), len(inv.Networks))
		if err := h.Engine.Remove(ctx, inv); err != nil {
			return err
		}
	}
	return h.forget(keep)
}

// forget deletes agent folders, except keep, and job records of this runner.
func (h *Handler) forget(keep string) error {
	var all []error
	if h.Runner.Work != "" {
		all = append(all, removeAgentDirs(h.Runner.Work, keep))
	}
	records, err := h.Store.All()
	all = append(all, err)
	for _, rec := range records {
		if rec.Runner == h.Runner.ID {
			all = append(all, h.Store.Delete(rec.ID))
		}
	}
	return errors.Join(all...)
}

// showFailed prints the logs of services that have ended or are unhealthy. They cannot speak to the runner: its
// commands are switched off meanwhile.
func (h *Handler) showFailed(ctx context.Context, inv engine.Inventory) {
	for _, c := range inv.Containers {
		if c.Labels[LabelRole] != roleService || c.Running && !h.unhealthy(ctx, c.ID) {
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

func (h *Handler) unhealthy(ctx context.Context, id string) bool {
	st, err := h.Engine.Inspect(ctx, id)
	return err == nil && st.Health == "unhealthy"
}

// restore gives files that containers left to other users back to the runner's user, who could not even delete
// them. Only the engine can: the agent of the job container if it is root there, else a helper container.
func (h *Handler) restore(ctx context.Context, inv engine.Inventory) error {
	if h.UID == 0 || !h.Config.RestoreOwnership || h.Runner.Work == "" {
		return nil
	}
	foreign, err := ownership.Foreign(h.Runner.Work, h.UID)
	for _, rec := range h.ownRecords() {
		if err == nil && foreign && rec.Container != nil && rec.Container.Root && h.restoreInJob(ctx, rec) == nil {
			foreign, err = ownership.Foreign(h.Runner.Work, h.UID)
		}
	}
	if err != nil || !foreign {
		return err
	}
	for _, c := range inv.Containers {
		if c.Image != "" {
			return h.restoreInHelper(ctx, c.Image)
		}
	}
	return errors.New("files in the work folder belong to other users, and no image is left to mend that with")
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
	exit, err := scriptstep.Client(rec).Run(ctx, step, h.Log, nil)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("restoring the ownership of files: %s (status %d)", exit.Error, exit.Code)
	}
	return err
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
	if err := h.makeAgentDir(dir); err != nil {
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
	return dead, rows, nil
}

// young spares what may have been made a moment ago by a step container's hook, which keeps no record.
func (h *Handler) young(created time.Time) bool { return time.Since(created) < time.Minute }

// parallel runs functions at once and joins their errors.
func parallel(fs ...func() error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
