package tree_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// nobody takes root's rights from the test, for which no file is closed otherwise. Call what is returned to get them back.
func nobody(t testing.TB) (again func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		return func() {}
	}
	must(t, syscall.Seteuid(65534))
	again = func() { must(t, syscall.Seteuid(0)) }
	t.Cleanup(again)
	return again
}

// unread are the paths that could not be looked at.
func unread(notes []tree.Note) []string {
	var paths []string
	for _, n := range notes {
		if n.Unread {
			paths = append(paths, n.Path)
		}
	}
	return paths
}

// What is closed to this user is there all the same: the other side must not remove its copy.
func TestWhatCannotBeReadIsNotGone(t *testing.T) {
	for name, o := range modes() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"changed", "gone", "listed/f", "entered/f"} {
				write(t, in(name), "old")
			}
			tr := open(t, dir, o)
			changes(t, tr)
			write(t, in("changed"), "new")
			write(t, in("made"), "new")
			write(t, in("new/f"), "new")
			must(t, os.Remove(in("gone")))
			for name, mode := range map[string]os.FileMode{"changed": 0, "made": 0, "listed": 0, "entered": 0o600, "new": 0} {
				must(t, os.Chmod(in(name), mode))
			}
			t.Cleanup(func() {
				_ = errors.Join(os.Chmod(in("listed"), 0o700), os.Chmod(in("entered"), 0o700), os.Chmod(in("new"), 0o700)) // for the removal
			})
			again := nobody(t)
			var notes []tree.Note
			for range 2 { // it is said, and tried, each time
				notes = refresh(t, tr)
			}
			list, upto := tr.Changes(0)
			tr.Forget(upto)
			for _, c := range list {
				if (c.Kind == tree.Gone) != (c.Path == "gone") {
					t.Errorf("%s is told to be a %q", c.Path, c.Kind)
				}
			}
			closed := unread(notes)
			for _, path := range []string{"changed", "made", "new"} {
				if !slices.Contains(closed, path) {
					t.Errorf("%s is not said to be closed: %+v", path, notes)
				}
			}
			again()
			for name, mode := range map[string]os.FileMode{"changed": 0o644, "made": 0o644, "listed": 0o755, "entered": 0o755, "new": 0o755} {
				must(t, os.Chmod(in(name), mode))
			}
			notes = refresh(t, tr)
			if got := slices.Sorted(maps.Keys(changes(t, tr))); len(unread(notes)) > 0 || !slices.Contains(got, "changed") || !slices.Contains(got, "made") || !slices.Contains(got, "new/f") {
				t.Errorf("what can be read again is not found: %q, %+v", got, notes)
			}
		})
	}
}

// The same holds where it is the machine that cannot: here it has no more file handles.
func TestAMachineThatCannotReadRemovesNothing(t *testing.T) {
	for name, o := range modes() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"a", "d/b", "d/e/c"} {
				write(t, filepath.Join(dir, name), "old")
			}
			o.Readers = 1
			tr := open(t, dir, o)
			known := changes(t, tr)
			for _, name := range []string{"a", "d/b", "d/e/c"} {
				write(t, filepath.Join(dir, name), "new")
			}
			var limit syscall.Rlimit
			must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
			must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: limit.Max}))
			notes, err := tr.Refresh(t.Context())
			list, _ := tr.Changes(0)
			must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
			if err != nil || len(list) > 0 || len(unread(notes)) == 0 {
				t.Errorf("%v, changes %v, notes %+v", err, list, notes)
			}
			maps.Copy(known, changes(t, tr))
			if diff := cmp.Diff(walk(t, dir), known); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNotesAreKeptUntilTheyAreHeardOf(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{Watch: true})
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	_, before := tr.Changes(0)
	for range 3 {
		tr.Forget(before)
		if notes := refresh(t, tr); len(notes) != 1 {
			t.Fatalf("%+v", notes)
		}
	}
	_, upto := tr.Changes(0)
	tr.Forget(upto)
	if notes := refresh(t, tr); len(notes) != 0 {
		t.Errorf("%+v", notes)
	}
}
