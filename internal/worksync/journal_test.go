package worksync

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// writer is a process that keeps a folder in step.
type writer struct {
	*journal
	tree *tree.Tree
	last token
}

// start is a process that goes on with what is in state.
func start(t *testing.T, state, work string) *writer {
	t.Helper()
	j, err := openJournal(state)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Open(work, tree.Options{Side: tree.Host})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{journal: j, tree: tr}
	if w.last, err = j.load(tr); err != nil {
		t.Fatal(err)
	}
	return w
}

// end is that of the process: it may have been killed.
func (w *writer) end(t *testing.T) {
	t.Helper()
	if err := errors.Join(w.close(), w.tree.Close()); err != nil {
		t.Fatal(err)
	}
}

// found is what the process finds to have changed. The other side gets it.
func (w *writer) found(t *testing.T) map[string]tree.Kind {
	t.Helper()
	if _, err := w.tree.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, upto := w.tree.Changes(0)
	w.tree.Forget(upto)
	kinds := map[string]tree.Kind{}
	for _, c := range list {
		kinds[c.Path] = c.Kind
	}
	return kinds
}

func put1(t *testing.T, work, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A hook without a keeper knows of the job by the journal only. Killed in the middle of a pull, it must not have what it
// has written taken for the host's.
func TestWhatAKilledHookHasWrittenIsNoChangeOfTheHosts(t *testing.T) {
	state, work := t.TempDir(), t.TempDir()
	put1(t, work, "own", "own")
	first := start(t, state, work)
	first.found(t)
	if err := first.save(first.tree, token{Instance: "x", Since: 1}); err != nil {
		t.Fatal(err)
	}
	first.end(t)
	killed := start(t, state, work)
	if err := killed.intend([]job{{Change: aFile("pulled", "theirs")}, {Change: tree.Change{Path: "own"}}}); err != nil {
		t.Fatal(err)
	}
	put1(t, work, "pulled", "theirs")
	if err := os.Remove(filepath.Join(work, "own")); err != nil {
		t.Fatal(err)
	}
	killed.end(t)
	next := start(t, state, work)
	if got := next.found(t); len(got) > 0 || next.last != (token{Instance: "x", Since: 1}) {
		t.Errorf("%v, %+v", got, next.last)
	}
	next.end(t)
}

// What was asked for once is not asked for for ever.
func TestWhatAKilledHookHasNotWrittenIsLaterAChangeOfTheHosts(t *testing.T) {
	state, work := t.TempDir(), t.TempDir()
	first := start(t, state, work)
	if err := first.save(first.tree, token{}); err != nil {
		t.Fatal(err)
	}
	if err := first.intend([]job{{Change: aFile("f", "text")}}); err != nil {
		t.Fatal(err)
	}
	first.end(t)
	next := start(t, state, work)
	next.found(t)
	if err := next.save(next.tree, next.last); err != nil {
		t.Fatal(err)
	}
	next.end(t)
	put1(t, work, "f", "text")
	last := start(t, state, work)
	if got := last.found(t); got["f"] != tree.File {
		t.Errorf("%v", got)
	}
	last.end(t)
}

func TestATornJournalIsGoneOnWithFromWhereItIsWhole(t *testing.T) {
	state, work := t.TempDir(), t.TempDir()
	put1(t, work, "a", "a")
	first := start(t, state, work)
	first.found(t)
	if err := first.save(first.tree, token{Since: 1}); err != nil {
		t.Fatal(err)
	}
	first.end(t)
	f, err := os.OpenFile(filepath.Join(state, journalName), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{sectionNames, 100, 'f', 1, 'x'}); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	second := start(t, state, work)
	put1(t, work, "b", "b")
	if got := second.found(t); len(got) != 1 || got["b"] != tree.File {
		t.Errorf("%v", got)
	}
	if err := second.save(second.tree, token{Since: 2}); err != nil {
		t.Fatal(err)
	}
	second.end(t)
	third := start(t, state, work)
	if got := third.found(t); len(got) > 0 || third.last.Since != 2 {
		t.Errorf("%v, %+v", got, third.last)
	}
	third.end(t)
}

func TestAJournalThatCannotBeWrittenIsWrittenAnew(t *testing.T) {
	state, work := t.TempDir(), t.TempDir()
	name := filepath.Join(state, journalName)
	put1(t, work, "a", "a")
	w := start(t, state, work)
	for range 2 {
		w.found(t)
		if err := w.save(w.tree, token{Since: 1}); err != nil {
			t.Fatal(err)
		}
		put1(t, work, "b", "b")
		w.found(t)
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.file.Close(); err != nil {
			t.Fatal(err)
		}
		w.file = full
		if err := w.save(w.tree, token{Since: 2}); err == nil {
			t.Error("a full disk is not seen")
		}
		if _, err := os.Stat(name); err == nil {
			t.Error("a journal is left that does not say what is known")
		}
	}
	if err := w.save(w.tree, token{Since: 3}); err != nil {
		t.Fatal(err)
	}
	w.end(t)
	next := start(t, state, work)
	if got := next.found(t); len(got) > 0 || next.last.Since != 3 {
		t.Errorf("%v, %+v", got, next.last)
	}
	next.end(t)
}

func TestAJournalThatCannotBeReadIsNone(t *testing.T) {
	bad := tree.Change{Path: "../x", Entry: tree.Entry{Kind: tree.Folder}}
	names := append(bad.Append(nil), 0, 0, 0, 0, 0)
	for name, data := range map[string][]byte{
		"nonsense": []byte("nonsense"), "empty": {}, "bad token": {sectionToken, 1, '{'},
		"bad names":  append(append([]byte{sectionNames, byte(len(names))}, names...), sectionToken, 2, '{', '}'),
		"bad intent": {sectionToken, 2, '{', '}', sectionIntent, 1, 'f'},
	} {
		state, work := t.TempDir(), t.TempDir()
		put1(t, work, "a", "a")
		put1(t, state, journalName, string(data))
		w := start(t, state, work)
		if got := w.found(t); len(got) != 1 || w.last != (token{}) {
			t.Errorf("%s: %v, %+v", name, got, w.last)
		}
		w.end(t)
	}
}
