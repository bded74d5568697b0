package gc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/gc"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/rundir"
)

// fake is an engine with things in it.
type fake struct {
	engine.Inventory
	images   []engine.Image
	inUse    string // ID of an image
	stubborn string // name of a container
	removed  []string
}

func (f *fake) List(_ context.Context, labels map[string]string) (engine.Inventory, error) {
	var inv engine.Inventory
	for _, c := range f.Containers {
		if c.Labels[handler.LabelRole] == labels[handler.LabelRole] {
			inv.Containers = append(inv.Containers, c)
		}
	}
	return inv, nil
}

func (f *fake) Remove(_ context.Context, inv engine.Inventory) error {
	for _, c := range inv.Containers {
		if c.Name == f.stubborn {
			return errors.New("device or resource busy")
		}
		f.removed = append(f.removed, c.Name)
	}
	for _, n := range inv.Networks {
		f.removed = append(f.removed, n.Name)
	}
	return nil
}

func (f *fake) Images(context.Context, map[string]string) ([]engine.Image, error) {
	return f.images, nil
}

func (f *fake) RemoveImages(_ context.Context, ids []string) error {
	f.images = slices.DeleteFunc(f.images, func(i engine.Image) bool { return slices.Contains(ids, i.ID) && i.ID != f.inUse })
	return nil
}

func (f *fake) leftovers(context.Context) (engine.Inventory, []handler.Leftover, error) {
	return f.Inventory, nil, nil
}

const (
	deadJob  = "00000000000000000000000000000001"
	aliveJob = "00000000000000000000000000000002"
)

func record(t *testing.T, store jobrecord.Store, id, work string, owner jobrecord.Owner) {
	t.Helper()
	if err := store.Save(&jobrecord.Record{ID: id, Work: work, Owner: owner}); err != nil {
		t.Fatal(err)
	}
}

// agentFolder makes a folder as it lies in _temp, an hour old.
func agentFolder(t *testing.T, work, id string) string {
	t.Helper()
	dir := filepath.Join(work, "_temp/.gantry", id)
	hourAgo := time.Now().Add(-time.Hour)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "s"), 0o755), os.Chtimes(dir, hourAgo, hourAgo)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOnlyWhatIsOfDeadJobsGoes(t *testing.T) {
	store := jobrecord.Store{Dir: filepath.Join(t.TempDir(), "state")}
	dead, alive, known := t.TempDir(), t.TempDir(), t.TempDir()
	record(t, store, deadJob, dead, jobrecord.Owner{PID: os.Getpid(), Start: "another"})
	record(t, store, aliveJob, alive, jobrecord.Parent())
	deadDir, aliveDir := agentFolder(t, dead, deadJob), agentFolder(t, alive, aliveJob)
	stepDir, forgotten := agentFolder(t, alive, "step"), agentFolder(t, known, "forgotten")
	young := filepath.Join(known, "_temp/.gantry/young")
	if err := os.Mkdir(young, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &fake{Inventory: engine.Inventory{
		Containers: []engine.Container{{Name: "c1"}}, Networks: []engine.Network{{Name: "n1"}},
	}}
	c := &gc.Collector{Engine: f, Leftovers: f.leftovers, Store: store, Works: []string{known}, Now: time.Now()}
	items, err := c.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range gc.Remove(t.Context(), items) {
		if o.Err != nil || o.Kept {
			t.Errorf("%s %s: %v", o.Kind, o.Name, o.Err)
		}
	}
	for dir, stays := range map[string]bool{deadDir: false, forgotten: false, aliveDir: true, stepDir: true, young: true} {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v, want stays=%t", dir, err, stays)
		}
	}
	if got := strings.Join(f.removed, " "); got != "c1 n1" {
		t.Errorf("removed %s", got)
	}
	if _, err := store.Load(deadJob, ""); !errors.Is(err, jobrecord.ErrNone) {
		t.Errorf("the record of the dead job: %v", err)
	}
	if _, err := store.Load(aliveJob, ""); err != nil {
		t.Errorf("the record of the running job: %v", err)
	}
	if again, err := c.Find(t.Context()); err != nil || len(again) != 2 { // the fake's container and network
		t.Errorf("afterwards: %d items, %v", len(again), err)
	}
}

func TestALinkInTempLeadsNowhere(t *testing.T) {
	work, whole, precious := t.TempDir(), t.TempDir(), t.TempDir()
	file := filepath.Join(precious, "folder/file")
	dir := agentFolder(t, work, "real")
	err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644),
		os.Symlink(precious, filepath.Join(work, "_temp/.gantry/link")), os.Symlink(precious, filepath.Join(dir, "s/link")),
		os.Mkdir(filepath.Join(whole, "_temp"), 0o755), os.Symlink(precious, filepath.Join(whole, "_temp/.gantry")))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	c := &gc.Collector{Engine: f, Leftovers: f.leftovers, Works: []string{work, whole}, Now: time.Now().Add(time.Hour)}
	items, err := c.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gc.Remove(t.Context(), items)
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what a link points to is gone: %v", err)
	}
}

func TestImagesGoByAgeUnlessInUse(t *testing.T) {
	now := time.Now()
	f := &fake{inUse: "used", images: []engine.Image{
		{ID: "old", Created: now.Add(-100 * time.Hour)},
		{ID: "used", Created: now.Add(-100 * time.Hour)},
		{ID: "new", Created: now.Add(-time.Hour)},
	}}
	c := &gc.Collector{Engine: f, Leftovers: f.leftovers, Now: now, Images: true, OlderThan: 48 * time.Hour}
	items, err := c.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := gc.Remove(t.Context(), items)
	if len(outcomes) != 2 || outcomes[0].Kept || !outcomes[1].Kept || outcomes[1].Err != nil {
		t.Errorf("%+v", outcomes)
	}
	if len(f.images) != 2 {
		t.Errorf("left: %+v", f.images)
	}
}

func TestWhatCannotBeRemovedIsToldAndTheRestGoes(t *testing.T) {
	f := &fake{stubborn: "c1", Inventory: engine.Inventory{Containers: []engine.Container{{Name: "c1"}, {Name: "c2"}}}}
	c := &gc.Collector{Engine: f, Leftovers: f.leftovers, Now: time.Now()}
	items, err := c.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := gc.Remove(t.Context(), items)
	if outcomes[0].Err == nil || outcomes[1].Err != nil || len(f.removed) != 1 {
		t.Errorf("%+v, removed %v", outcomes, f.removed)
	}
}

func TestAllAsksForEveryRole(t *testing.T) {
	f := &fake{}
	for _, role := range handler.Roles() {
		f.Containers = append(f.Containers, engine.Container{Name: role, Labels: map[string]string{handler.LabelRole: role}})
	}
	c := &gc.Collector{Engine: f, Now: time.Now(), All: true}
	items, err := c.Find(t.Context())
	if err != nil || len(items) != len(handler.Roles()) {
		t.Errorf("%+v, %v", items, err)
	}
}

func TestFoldersOfKilledRunsGo(t *testing.T) {
	temp, hourAgo := t.TempDir(), time.Now().Add(-time.Hour)
	for _, name := range []string{"killed", "alive", "new"} {
		lock := filepath.Join(temp, "gantry-run-"+name, ".lock")
		err := errors.Join(os.MkdirAll(filepath.Join(filepath.Dir(lock), "job/_work"), 0o755), os.WriteFile(lock, nil, 0o600))
		if name != "new" {
			err = errors.Join(err, os.Chtimes(lock, hourAgo, hourAgo))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	alive, err := rundir.Open(filepath.Join(temp, "gantry-run-alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Release()
	collector := &gc.Collector{
		Engine: &fake{}, Leftovers: (&fake{}).leftovers, Store: jobrecord.Store{Dir: t.TempDir()}, Now: time.Now(),
		TempDir: temp, UID: os.Getuid(),
	}
	items, err := collector.Find(t.Context())
	if err != nil || len(items) != 1 || items[0].Name != filepath.Join(temp, "gantry-run-killed") {
		t.Fatalf("%+v %v", items, err)
	}
	for _, o := range gc.Remove(t.Context(), items) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 2 {
		t.Errorf("%v %v", left, err)
	}
}
