// Package gc finds and removes what jobs that are over have left: containers and networks, agents' folders in work
// folders, job records, folders of killed runs, and images that were built for Dockerfile actions.
package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/rundir"
)

// Engine is what collecting needs of an engine.Engine.
type Engine interface {
	List(ctx context.Context, labels map[string]string) (engine.Inventory, error)
	Remove(ctx context.Context, inv engine.Inventory) error
	Images(ctx context.Context, labels map[string]string) ([]engine.Image, error)
	RemoveImages(ctx context.Context, ids []string) error
}

// Collector looks for leftovers and removes them.
type Collector struct {
	Engine Engine
	// Leftovers finds containers and networks of dead jobs, as handler.Handler does.
	Leftovers func(ctx context.Context) (engine.Inventory, []handler.Leftover, error)
	Store     jobrecord.Store
	// TempDir is where the folders of `gantry run` lie; "" for not to look. UID is whose they are.
	TempDir string
	UID     int
	// Works are work folders of runners that are known, besides those in job records.
	Works []string
	Now   time.Time
	// All counts every job of gantry's on this engine as dead, also running ones and those of other users' state
	// folders.
	All bool
	// Images says to look for images too, at least OlderThan old.
	Images    bool
	OlderThan time.Duration
}

// Item is one thing that is not needed any more.
type Item struct {
	Kind    string // "container", "network", "secret", "agent folder", "job record", "run folder", "image"
	Name    string
	Job     string // "" if it is of no job
	Created time.Time

	remove func(ctx context.Context) error
}

// Outcome is what became of an item.
type Outcome struct {
	Item
	// Kept says that an image or a folder is in use, which is no error. Err is why something could not be removed.
	Kept bool
	Err  error
}

// Find gives what can go, in an order in which it can go: a network after its containers.
func (c *Collector) Find(ctx context.Context) ([]Item, error) {
	inv, err := c.inventory(ctx)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, container := range inv.Containers {
		items = append(items, Item{"container", container.Name, container.Labels[handler.LabelJob], container.Created,
			c.removal(engine.Inventory{Containers: []engine.Container{container}})})
	}
	for _, network := range inv.Networks {
		items = append(items, Item{"network", network.Name, network.Labels[handler.LabelJob], network.Created,
			c.removal(engine.Inventory{Networks: []engine.Network{network}})})
	}
	for _, o := range inv.Others {
		items = append(items, Item{o.Kind, o.Name, o.Labels[handler.LabelJob], o.Created,
			c.removal(engine.Inventory{Others: []engine.Object{o}})})
	}
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	runs, err := c.runs()
	if err != nil {
		return nil, err
	}
	images, err := c.images(ctx)
	return slices.Concat(items, files, runs, images), err
}

// runs finds folders of runs that were killed.
func (c *Collector) runs() ([]Item, error) {
	if c.TempDir == "" {
		return nil, nil
	}
	dirs, err := rundir.Abandoned(c.TempDir, c.UID, c.Now)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, dir := range dirs {
		if err := dir.Release(); err != nil { // until it is removed
			return nil, err
		}
		if c.Now.Sub(dir.Created) >= young { // else it goes with its containers
			items = append(items, Item{"run folder", dir.Path, "", dir.Created, func(context.Context) error { return removeRun(dir.Path) }})
		}
	}
	return items, nil
}

// removeRun ends what a killed run has left on this machine, and removes its folder, unless somebody else does.
func removeRun(path string) error {
	dir, err := rundir.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, rundir.ErrInUse):
		return errInUse
	case err != nil:
		return err
	}
	for _, orphan := range process.Below(path) {
		orphan.Kill()
	}
	return dir.Remove()
}

func (c *Collector) removal(inv engine.Inventory) func(context.Context) error {
	return func(ctx context.Context) error { return c.Engine.Remove(ctx, inv) }
}

func (c *Collector) inventory(ctx context.Context) (engine.Inventory, error) {
	if !c.All {
		inv, _, err := c.Leftovers(ctx)
		if err != nil {
			return inv, err
		}
		return c.withOrphans(ctx, inv)
	}
	var all engine.Inventory
	for _, role := range handler.Roles() {
		inv, err := c.Engine.List(ctx, map[string]string{handler.LabelRole: role})
		if err != nil {
			return all, err
		}
		all.Containers = append(all.Containers, inv.Containers...)
		all.Networks = append(all.Networks, inv.Networks...)
		all.Others = append(all.Others, inv.Others...)
	}
	return all, nil
}

// withOrphans adds what runners have left that are gone from an engine which they share with others.
func (c *Collector) withOrphans(ctx context.Context, inv engine.Inventory) (engine.Inventory, error) {
	shared, ok := c.Engine.(engine.Orphaner)
	if !ok {
		return inv, nil
	}
	orphans, err := shared.Orphans(ctx)
	for _, container := range orphans.Containers {
		if !slices.ContainsFunc(inv.Containers, func(known engine.Container) bool { return known.ID == container.ID }) {
			inv.Containers = append(inv.Containers, container)
		}
	}
	for _, o := range orphans.Others {
		if !slices.ContainsFunc(inv.Others, func(known engine.Object) bool { return known.ID == o.ID }) {
			inv.Others = append(inv.Others, o)
		}
	}
	return inv, err
}

// files finds records of dead jobs and folders of their agents. A runner does one job at a time, so where a job is
// alive every folder may be its own.
func (c *Collector) files() ([]Item, error) {
	records, err := c.Store.All()
	if err != nil {
		return nil, err
	}
	var items []Item
	busy, works := map[string]bool{}, map[string]bool{}
	for _, work := range c.Works {
		works[filepath.Clean(work)] = true
	}
	for _, rec := range records {
		works[filepath.Clean(rec.Work)] = true
		if rec.Owner.Alive() && !c.All {
			busy[filepath.Clean(rec.Work)] = true
			continue
		}
		if c.Now.Sub(rec.Created) < young && !c.All {
			continue // it goes with its containers, and says where its folder lies
		}
		items = append(items, Item{"job record", rec.ID, rec.ID, rec.Created,
			func(context.Context) error { return c.Store.Delete(rec.ID) }})
	}
	for work := range works {
		if !busy[work] {
			folders, err := c.folders(work)
			if err != nil {
				return nil, err
			}
			items = append(folders, items...)
		}
	}
	return items, nil
}

// young is how long something is spared that may belong to a job which is only starting, as handler.Leftovers does.
const young = time.Minute

// folders finds agents' folders in a work folder. Only real folders count: jobs can write where they lie.
func (c *Collector) folders(work string) ([]Item, error) {
	root, err := os.OpenRoot(work)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for agents' folders: %w", err)
	}
	defer root.Close()
	parent := filepath.Join("_temp", agent.ParentDir)
	if info, err := root.Lstat(parent); err != nil || !info.IsDir() {
		return nil, nil // none, or nothing of ours
	}
	entries, err := fs.ReadDir(root.FS(), parent)
	if err != nil {
		return nil, fmt.Errorf("looking for agents' folders: %w", err)
	}
	var items []Item
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.IsDir() || c.Now.Sub(info.ModTime()) < young && !c.All {
			continue
		}
		rel := filepath.Join("_temp", agent.FolderName(entry.Name()))
		items = append(items, Item{"agent folder", filepath.Join(work, rel), entry.Name(), info.ModTime(),
			func(context.Context) error { return removeBelow(work, rel) }})
	}
	return items, nil
}

// removeBelow follows no link: jobs can write where these folders lie.
func removeBelow(work, rel string) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return fmt.Errorf("removing an agent's folder: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(rel); err != nil {
		return fmt.Errorf("removing an agent's folder: %w", err)
	}
	return nil
}

// images finds images of Dockerfile actions. Their age is that of their build: engines do not know the last use.
func (c *Collector) images(ctx context.Context) ([]Item, error) {
	if !c.Images {
		return nil, nil
	}
	images, err := c.Engine.Images(ctx, map[string]string{handler.LabelRole: handler.RoleImage})
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, image := range images {
		if c.Now.Sub(image.Created) < c.OlderThan {
			continue
		}
		name := image.ID
		if len(image.Tags) > 0 {
			name = strings.Join(image.Tags, ", ")
		}
		items = append(items, Item{"image", name, "", image.Created, func(ctx context.Context) error { return c.removeImage(ctx, image.ID) }})
	}
	return items, nil
}

// errInUse is an image that a container uses, or a folder that another process cleans up.
var errInUse = errors.New("in use")

// removeImage looks afterwards whether the image is gone: the engine passes over those in use.
func (c *Collector) removeImage(ctx context.Context, id string) error {
	if err := c.Engine.RemoveImages(ctx, []string{id}); err != nil {
		return err
	}
	left, err := c.Engine.Images(ctx, map[string]string{handler.LabelRole: handler.RoleImage})
	for _, image := range left {
		if image.ID == id {
			return errInUse
		}
	}
	return err
}

// Remove removes the items, in their order, and goes on after errors.
func Remove(ctx context.Context, items []Item) []Outcome {
	outcomes := make([]Outcome, len(items))
	for i, item := range items {
		err := item.remove(ctx)
		outcomes[i] = Outcome{Item: item, Kept: errors.Is(err, errInUse)}
		if !outcomes[i].Kept {
			outcomes[i].Err = err
		}
	}
	return outcomes
}
