package tree_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// open looks at a folder until the test ends.
func open(t testing.TB, dir string, o tree.Options) *tree.Tree {
	t.Helper()
	if o.Side == "" {
		o.Side = tree.Host
	}
	tr, err := tree.Open(dir, o)
	must(t, err)
	t.Cleanup(func() { must(t, tr.Close()) })
	return tr
}

// changes refreshes a tree and gives what it found, by path; they are forgotten.
func changes(t testing.TB, tr *tree.Tree) map[string]tree.Entry {
	t.Helper()
	refresh(t, tr)
	list, upto := tr.Changes(0)
	tr.Forget(upto)
	found := map[string]tree.Entry{}
	for _, c := range list {
		must(t, c.Check())
		found[c.Path] = c.Entry
	}
	return found
}

func refresh(t testing.TB, tr *tree.Tree) []tree.Note {
	t.Helper()
	notes, err := tr.Refresh(t.Context())
	must(t, err)
	return notes
}

// walk is what lies in a folder, found in the plainest way.
func walk(t testing.TB, dir string) map[string]tree.Entry {
	t.Helper()
	all := map[string]tree.Entry{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		must(t, err)
		info, err := d.Info()
		must(t, err)
		switch {
		case d.IsDir():
			all[rel] = tree.Entry{Kind: tree.Folder, Mode: uint16(info.Mode().Perm())}
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			must(t, err)
			all[rel] = tree.Entry{Kind: tree.Link, Target: target}
		case d.Type().IsRegular():
			data, err := os.ReadFile(p)
			must(t, err)
			all[rel] = tree.Entry{Kind: tree.File, Mode: uint16(info.Mode().Perm()), Size: info.Size(), Hash: sha256.Sum256(data)}
		}
		return nil
	}))
	return all
}

// modes are the ways in which a tree finds out about changes.
func modes() map[string]tree.Options {
	return map[string]tree.Options{"watched": {Watch: true}, "listed": {}}
}

// seeds is how many histories each test of chance plays.
const seeds = 8

func TestWhateverHappensToAFolderIsFound(t *testing.T) {
	for name, o := range modes() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				dir := t.TempDir()
				v := &vandal{t: t, dir: dir, rand: rand.New(rand.NewPCG(seed, 1))}
				v.act(30)
				tr := open(t, dir, o)
				known := map[string]tree.Entry{}
				for range 15 {
					for p, e := range changes(t, tr) {
						if known[p] = e; e.Kind == tree.Gone {
							delete(known, p)
						}
					}
					if diff := cmp.Diff(walk(t, dir), known); diff != "" {
						t.Fatalf("seed %d: %s", seed, diff)
					}
					v.act(1 + v.rand.IntN(40))
				}
			}
		})
	}
}

// vandal does to a folder whatever a job may do.
type vandal struct {
	t    testing.TB
	dir  string
	rand *rand.Rand
}

func (v *vandal) act(times int) {
	for range times {
		v.once()
	}
}

// name is a path of which there are few, so that things get into each other's way.
func (v *vandal) name() string {
	parts := make([]string, 1+v.rand.IntN(4))
	for i := range parts {
		parts[i] = string(rune('a' + v.rand.IntN(3)))
	}
	return filepath.Join(v.dir, filepath.Join(parts...))
}

// once does one thing; that it may not be possible is part of it.
func (v *vandal) once() {
	p := v.name()
	switch v.rand.IntN(12) {
	case 0, 1, 2:
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		_ = os.WriteFile(p, []byte(fmt.Sprint(v.rand.IntN(5))), 0o644)
	case 3:
		if f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = io.WriteString(f, "more")
			_ = f.Close()
		}
	case 4, 5:
		_ = os.MkdirAll(p, 0o755)
	case 6:
		_ = os.RemoveAll(p)
	case 7:
		_ = os.Rename(p, v.name())
	case 8:
		_ = os.Symlink(v.name(), p)
	case 9:
		if info, err := os.Lstat(p); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			_ = os.Chmod(p, []fs.FileMode{0o755, 0o700, 0o744}[v.rand.IntN(3)])
		}
	case 10:
		_ = os.Remove(p)
	case 11:
		q := v.name()
		_ = os.RemoveAll(q)
		_ = os.Rename(p, q)
	}
}

// carry makes to look like from, as far as from says that it has changed, and the other way round for nothing.
func carry(t testing.TB, from, to *tree.Tree) {
	t.Helper()
	list, upto := from.Changes(0)
	for _, c := range list {
		if c.Kind == tree.File {
			must(t, copyFile(from, to, c, tree.Terms{Force: true}))
		} else {
			must(t, to.Make(c, tree.Terms{Force: true}))
		}
	}
	from.Forget(upto)
}

func copyFile(from, to *tree.Tree, c tree.Change, terms tree.Terms) error {
	s, err := from.Source(c.Path)
	if err != nil {
		return err
	}
	defer s.Close()
	w, err := to.Create(tree.Change{Path: c.Path, Entry: s.Entry}, s.Mtime, terms)
	if err != nil {
		return err
	}
	defer w.Abort()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, h), io.NewSectionReader(s, 0, s.Size)); err != nil {
		return err
	}
	from.Sent(s, tree.Hash(h.Sum(nil)))
	return w.Commit(tree.Hash(h.Sum(nil)))
}

func TestACopyFollowsItsOriginal(t *testing.T) {
	for name, o := range modes() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				here, there := t.TempDir(), t.TempDir()
				v := &vandal{t: t, dir: here, rand: rand.New(rand.NewPCG(seed, 2))}
				from, to := open(t, here, o), open(t, there, tree.Options{Side: tree.Container, Watch: o.Watch})
				for range 15 {
					v.act(1 + v.rand.IntN(40))
					refresh(t, from)
					carry(t, from, to)
					if diff := cmp.Diff(walk(t, here), walk(t, there)); diff != "" {
						t.Fatalf("seed %d: %s", seed, diff)
					}
					if echo := changes(t, to); len(echo) > 0 {
						t.Fatalf("seed %d: what was carried over comes back: %v", seed, echo)
					}
				}
			}
		})
	}
}

func TestWhatWasSavedIsNotFoundAgain(t *testing.T) {
	for name, o := range modes() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				dir := t.TempDir()
				v := &vandal{t: t, dir: dir, rand: rand.New(rand.NewPCG(seed, 3))}
				var saved []byte
				known := map[string]tree.Entry{}
				for round := range 8 {
					v.act(20)
					tr := open(t, dir, o)
					must(t, tr.Load(saved))
					for p, e := range changes(t, tr) {
						if known[p] = e; e.Kind == tree.Gone {
							delete(known, p)
						}
					}
					if diff := cmp.Diff(walk(t, dir), known); diff != "" {
						t.Fatalf("seed %d, round %d: %s", seed, round, diff)
					}
					if round%3 == 0 {
						saved = nil
					}
					saved = append(saved, save(t, tr, round%3 == 0)...)
					calm := open(t, dir, o)
					if must(t, calm.Load(saved)); len(changes(t, calm)) > 0 {
						t.Fatalf("seed %d, round %d: what was saved is found again", seed, round)
					}
				}
			}
		})
	}
}

func save(t testing.TB, tr *tree.Tree, all bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	must(t, tr.Save(&buf, all))
	return buf.Bytes()
}

func TestWhatTheOtherSideHasNotGotIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{})
	for _, name := range []string{"sent", "unsent", "gone"} {
		write(t, filepath.Join(dir, name), name)
	}
	changes(t, tr)
	saved := save(t, tr, true)
	write(t, filepath.Join(dir, "sent"), "sent again")
	changes(t, tr)
	write(t, filepath.Join(dir, "unsent"), "unsent again")
	write(t, filepath.Join(dir, "new"), "new")
	must(t, os.Remove(filepath.Join(dir, "gone")))
	refresh(t, tr)
	saved = append(saved, save(t, tr, false)...)
	again := open(t, dir, tree.Options{})
	must(t, again.Load(append(saved, 'f', 200))) // and a record that is cut off
	got := slices.Sorted(maps.Keys(changes(t, again)))
	if want := []string{"gone", "new", "unsent"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestOnlyWhatASideLooksAtIsFound(t *testing.T) {
	rules := []tree.Rule{{Path: "/in", Flow: tree.In}, {Path: "/out", Flow: tree.Out}, {Path: "none", Flow: tree.None}}
	for side, want := range map[tree.Side][]string{
		tree.Host:      {"both", "both/f", "in", "in/f"},
		tree.Container: {"both", "both/f", "out", "out/f"},
	} {
		for name, o := range modes() {
			t.Run(string(side)+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				o.Side, o.Rules = side, rules
				tr := open(t, dir, o)
				refresh(t, tr)
				for _, p := range []string{"both/f", "both/none/f", "in/f", "out/f", "none"} {
					write(t, filepath.Join(dir, p), "x")
				}
				if got := slices.Sorted(maps.Keys(changes(t, tr))); !slices.Equal(got, want) {
					t.Errorf("found %q, want %q", got, want)
				}
				for _, p := range []string{"in/g", "out/g", "both/none/g"} { // what the other side sends is taken all the same
					must(t, tr.Make(tree.Change{Path: p, Entry: tree.Entry{Kind: tree.Link, Target: "x"}}, tree.Terms{}))
					if _, err := os.Lstat(filepath.Join(dir, p)); err != nil {
						t.Error(err)
					}
				}
				if got := changes(t, tr); len(got) > 0 {
					t.Errorf("it comes back: %v", got)
				}
			})
		}
	}
}

func TestSpecialFilesAreLeftOutAndSaid(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{})
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	write(t, filepath.Join(dir, "file"), "x")
	notes := refresh(t, tr)
	if len(notes) != 1 || notes[0].Path != "pipe" || !strings.Contains(notes[0].What, "pipe") {
		t.Errorf("%+v", notes)
	}
	if got := changes(t, tr); len(got) != 1 {
		t.Errorf("%v", got)
	}
	must(t, os.Remove(filepath.Join(dir, "file")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "file"), 0o644))
	if got := changes(t, tr); len(got) != 1 || got["file"].Kind != tree.Gone {
		t.Errorf("a file that became a pipe: %v", got)
	}
}

func TestAFileThatChangesAllTheTimeIsSaid(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{ReadLater: 1 << 40})
	f, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	must(t, f.Truncate(64<<20)) // takes some time to read
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = f.WriteAt([]byte(time.Now().String()), 0)
			}
		}
	}()
	notes := refresh(t, tr)
	close(stop)
	<-stopped
	if len(notes) != 1 || notes[0].Path != "log" {
		t.Errorf("%+v", notes)
	}
	changes(t, tr)
	if want := walk(t, dir)["log"]; !want.Same(lookup(t, tr, "log")) {
		t.Error("it is not looked at again when it is calm")
	}
}

// lookup is what a tree knows of a path, by the only way that it is asked for.
func lookup(t testing.TB, tr *tree.Tree, path string) tree.Entry {
	t.Helper()
	tr.Again(path)
	list, upto := tr.Changes(0)
	tr.Forget(upto)
	for _, c := range list {
		if c.Path == path {
			return c.Entry
		}
	}
	return tree.Entry{}
}

func TestALostEventIsMadeUpFor(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{Watch: true})
	refresh(t, tr)
	limit := 0
	if _, err := fmt.Sscan(string(read(t, "/proc/sys/fs/inotify/max_queued_events")), &limit); err != nil || limit > 1<<17 {
		t.Skipf("the kernel's queue is too long for this test: %d, %v", limit, err)
	}
	for i := range limit + 100 { // twice as many events, at least
		write(t, filepath.Join(dir, fmt.Sprint(i%97), fmt.Sprint(i)), "x")
	}
	known := changes(t, tr)
	if diff := cmp.Diff(walk(t, dir), known); diff != "" {
		t.Error(diff)
	}
}

func TestLargeNewFilesAreReadWhenTheyTravel(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	from, to := open(t, here, tree.Options{ReadLater: 10}), open(t, there, tree.Options{ReadLater: 10})
	write(t, filepath.Join(here, "large"), "0123456789-")
	refresh(t, from)
	if list, _ := from.Changes(0); len(list) != 1 || list[0].Hash.Known() {
		t.Errorf("%+v", list)
	}
	carry(t, from, to)
	if want := walk(t, here)["large"]; !want.Same(lookup(t, from, "large")) || !want.Same(lookup(t, to, "large")) {
		t.Error("its hash is not known after it has travelled")
	}
	must(t, os.Chtimes(filepath.Join(here, "large"), time.Now(), time.Now()))
	if got := changes(t, from); len(got) != 0 {
		t.Errorf("a new time is not a new content: %v", got)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hashOf(text string) tree.Hash { return sha256.Sum256([]byte(text)) }
