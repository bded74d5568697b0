package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// keepApart says in a job's record how the copy of the work folder that its containers have is kept in step.
func (h *Handler) keepApart(rec *jobrecord.Record) error {
	root := ""
	for _, m := range rec.Container.Mounts {
		if m.Source == rec.Work {
			root = m.Target
		}
	}
	if root == "" {
		return verdict.New(verdict.Bug, "", "the job container has no place for the work folder")
	}
	var err error
	if rec.Sync, err = h.copyAt(rec.ID, root); err != nil {
		return err
	}
	if byPipe(rec) {
		rec.Sync.Keeper = nil // it is the lean program, which cannot open one
	}
	return nil
}

// copyAt says how a copy of the work folder is kept in step that a container has at root, and that is known by an ID.
func (h *Handler) copyAt(id, root string) (*worksync.Spec, error) {
	config := worksync.Defaults()
	for _, pattern := range h.Config.Kubernetes.Sync.Exclude {
		config.Rules = append(config.Rules, tree.Rule{Path: pattern, Flow: tree.None})
	}
	if excluded := h.Config.Kubernetes.Sync.Exclude; len(excluded) > 0 {
		h.logf("gantry: the work folder is carried to the pod and back without %s (kubernetes.sync.exclude)", strings.Join(excluded, ", "))
	}
	maxFile, err := bytesOf(h.Config.Kubernetes.Sync.MaxFile)
	maxSum, err2 := bytesOf(h.Config.Kubernetes.Sync.MaxSum)
	if err := errors.Join(err, err2); err != nil {
		return nil, verdict.New(verdict.Configuration, "see kubernetes.sync in gantry.yaml", "%w", err)
	}
	config.MaxFile, config.MaxTotal = maxFile, maxSum
	return &worksync.Spec{
		Root: root, Config: config, State: worksync.StateDir(h.Store.Dir, id), Keeper: []string{h.AgentPath, "keep", h.Store.Dir, id},
	}, nil
}

// clearTime is how long it may take to remove a step's copy of the work folder.
const clearTime = 10 * time.Second

// clear removes a copy of the work folder, whose volume may be there for longer than the step.
func (h *Handler) clear(ctx context.Context, rec *jobrecord.Record, root string) error {
	step := &agent.Step{ID: newID(), Argv: []string{agent.MountPoint + "/" + agent.BinaryName, "clear", root}}
	_, err := h.agentClient(rec).Run(ctx, step, io.Discard, nil)
	if err != nil {
		return fmt.Errorf("removing the step's copy of the work folder: %w", err)
	}
	return nil
}

// ownCopy gives a step's container that has a work folder of its own the runner's, as it is. forget is for the end.
func (h *Handler) ownCopy(ctx context.Context, rec *jobrecord.Record, id string, c *engine.StepContainer) (forget func(), err error) {
	if rec.Sync, err = h.copyAt(id, c.Root); err != nil {
		return nil, err
	}
	rec.Sync.Keeper = nil // for one step
	copied := h.copyOf(rec)
	copied.Ended = func(context.Context) error { return gone(c) }
	forget = func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
		defer stop()
		h.say(func() error { return errors.Join(h.clear(ctx, rec, c.Root), copied.Stop(ctx)) })
	}
	if err := copied.Start(ctx); err != nil {
		forget()
		return nil, interrupted(ctx, "bringing the work folder to the step's container", err)
	}
	return forget, nil
}

// externals says how the job container gets programs of the runner's; nil: it has them.
func (h *Handler) externals(rec *jobrecord.Record, made engine.Job) *externals.Spec {
	where := made.Container.Externals
	i := slices.IndexFunc(rec.Container.Mounts, func(m jobrecord.Mount) bool { return m.Target == where.Prefix })
	if i < 0 {
		return nil
	}
	spec := &externals.Spec{
		Source: rec.Container.Mounts[i].Source, Prefix: where.Prefix, Root: where.Dir, State: externals.StateDir(h.Store.Dir, rec.ID),
	}
	if !made.Apart {
		spec.Shared = path.Join(rec.Container.AgentDir, agent.SharedDir, externals.Dir)
	}
	return spec
}

// bytesOf reads a size in the engine's notation: a number with b, k, m, g or nothing behind it. "" is 0.
func bytesOf(size string) (int64, error) {
	if size == "" {
		return 0, nil
	}
	number, shift := strings.ToLower(size), 0
	if i := strings.IndexByte("bkmg", number[len(number)-1]); i >= 0 {
		number, shift = number[:len(number)-1], 10*i
	}
	n, err := strconv.ParseInt(number, 10, 64)
	return n << shift, err
}

// copyOf is the copy of the work folder that a job's containers have; nil if they have the folder itself.
func (h *Handler) copyOf(rec *jobrecord.Record) *scriptstep.Copy {
	if rec.Sync == nil {
		return nil
	}
	c := scriptstep.NewCopy(rec, h.agentClient(rec), h.Env, h.Log)
	c.Ended = func(ctx context.Context) error { return h.knownToBeOver(ctx, rec.Container.ID) }
	return c
}

// forgetCopiesApart ends what keeps the copies of this runner's jobs in step, except one job's.
func (h *Handler) forgetCopiesApart(ctx context.Context, except string) error {
	var all []error
	for _, rec := range h.ownRecords() {
		if rec.ID != except && rec.Sync != nil {
			all = append(all, h.copyOf(rec).Stop(ctx))
		}
	}
	return errors.Join(all...)
}
