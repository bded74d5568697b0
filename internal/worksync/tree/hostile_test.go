package tree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

func file(path string) tree.Change {
	return tree.Change{Path: path, Entry: tree.Entry{Kind: tree.File, Mode: 0o644}}
}

// put writes a file as the other side would have it written.
func put(tr *tree.Tree, c tree.Change, text string, terms tree.Terms) error {
	w, err := tr.Create(c, time.Now().UnixNano(), terms)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Commit(hashOf(text))
}

func TestPathsThatLeadElsewhereAreRefused(t *testing.T) {
	tr := open(t, t.TempDir(), tree.Options{})
	for _, path := range []string{
		"", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/./b", "a/", "a\x00b",
		strings.Repeat("a", 256), strings.Repeat("a/", 2100) + "a",
	} {
		for _, kind := range []tree.Kind{tree.Gone, tree.Folder, tree.Link} {
			c := tree.Change{Path: path, Entry: tree.Entry{Kind: kind, Target: "x"}}
			if err := tr.Make(c, tree.Terms{Force: true}); err == nil {
				t.Errorf("%.20q was made a %c", path, kind)
			}
		}
		if err := put(tr, file(path), "x", tree.Terms{Force: true}); err == nil {
			t.Errorf("%.20q was written", path)
		}
		if s, err := tr.Source(path); err == nil {
			t.Errorf("%.20q was read: %+v", path, s)
		}
	}
}

func TestThingsThatAreNoneAreRefused(t *testing.T) {
	for _, e := range []tree.Entry{
		{Kind: 'b'}, {Kind: tree.File, Size: -1}, {Kind: tree.File, Mode: 0o4755}, {Kind: tree.Folder, Mode: 0o1777},
		{Kind: tree.Link}, {Kind: tree.Link, Target: "a\x00"}, {Kind: tree.Link, Target: strings.Repeat("x", 5000)},
	} {
		if (tree.Change{Path: "a", Entry: e}).Check() == nil {
			t.Errorf("%+v is taken", e)
		}
	}
}

// A job can put links wherever it writes. What is sent below such a name must not end up where the link leads to.
func TestNoLinkIsFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "kept"), "kept")
	write(t, filepath.Join(outside, "sub", "kept"), "kept")
	plant := func(name string) {
		must(t, errors.Join(os.RemoveAll(filepath.Join(dir, name)), os.Symlink(outside, filepath.Join(dir, name))))
	}
	tr := open(t, dir, tree.Options{})
	for _, terms := range []tree.Terms{{Force: true}, {}} {
		for name, change := range map[string]func() error{
			"a file":        func() error { return put(tr, file("l/kept"), "x", terms) },
			"a new file":    func() error { return put(tr, file("l/sub/new"), "x", terms) },
			"the link":      func() error { return put(tr, file("l"), "x", terms) },
			"a folder":      func() error { return tr.Make(folder("l/new"), terms) },
			"a link":        func() error { return tr.Make(link("l/new", "x"), terms) },
			"its mode":      func() error { return tr.Make(folder("l"), terms) },
			"nothing":       func() error { return tr.Make(tree.Change{Path: "l/kept"}, terms) },
			"no folder":     func() error { return tr.Make(tree.Change{Path: "l/sub"}, terms) },
			"nothing at it": func() error { return tr.Make(tree.Change{Path: "l"}, terms) },
		} {
			plant("l")
			refresh(t, tr)
			if err := change(); err != nil {
				t.Logf("%s: %v", name, err)
			}
			if all := walk(t, outside); len(all) != 3 || string(read(t, filepath.Join(outside, "kept"))) != "kept" {
				t.Fatalf("%s: outside there is %v", name, all)
			}
			if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o755 {
				t.Fatalf("%s: outside is %v, %v", name, info.Mode(), err)
			}
		}
	}
	plant("l")
	if s, err := tr.Source("l/kept"); err == nil {
		t.Errorf("read through a link: %+v", s)
	}
	for path, e := range changes(t, tr) {
		if path != "l" && e.Kind != tree.Gone {
			t.Errorf("looked through a link: %s, %v", path, e)
		}
	}
}

func folder(path string) tree.Change {
	return tree.Change{Path: path, Entry: tree.Entry{Kind: tree.Folder, Mode: 0o755}}
}

func link(path, target string) tree.Change {
	return tree.Change{Path: path, Entry: tree.Entry{Kind: tree.Link, Target: target}}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644)) // opening it would wait for ever
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	tr := open(t, dir, tree.Options{})
	for _, name := range []string{"pipe", "folder", "link", "nothing"} {
		if s, err := tr.Source(name); err == nil {
			t.Errorf("%s was opened: %+v", name, s)
		}
	}
}

func TestRightsOfOthersDoNotTravel(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{})
	write(t, filepath.Join(dir, "program"), "x")
	must(t, os.Chmod(filepath.Join(dir, "program"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(t, os.Mkdir(filepath.Join(dir, "closed"), 0))
	must(t, os.Chmod(filepath.Join(dir, "closed"), fs.ModeSticky))
	got := changes(t, tr)
	if got["program"].Mode != 0o755 || got["closed"].Mode != 0o700 {
		t.Errorf("%+v", got)
	}
}

func TestWhatChangedMeanwhileIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{})
	for _, name := range []string{"file", "gone", "link", "same"} {
		write(t, filepath.Join(dir, name), "old")
	}
	refresh(t, tr)
	_, since := tr.Changes(0)
	write(t, filepath.Join(dir, "file"), "new")
	write(t, filepath.Join(dir, "link"), "new")
	write(t, filepath.Join(dir, "made"), "new")
	must(t, os.Remove(filepath.Join(dir, "gone")))
	refresh(t, tr)
	terms := tree.Terms{Since: since}
	for name, err := range map[string]error{
		"file": put(tr, file("file"), "theirs", terms), "gone": put(tr, file("gone"), "theirs", terms),
		"made": tr.Make(tree.Change{Path: "made"}, terms), "link": tr.Make(link("link", "x"), terms),
	} {
		if !errors.Is(err, tree.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, put(tr, file("same"), "theirs", terms))
	if string(read(t, filepath.Join(dir, "same"))) != "theirs" || string(read(t, filepath.Join(dir, "file"))) != "new" {
		t.Error("the wrong one was replaced")
	}
	must(t, put(tr, file("file"), "theirs", tree.Terms{Force: true}))
}

func TestAFolderWithSomethingNewInItStays(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{})
	write(t, filepath.Join(dir, "d", "known"), "x")
	refresh(t, tr)
	write(t, filepath.Join(dir, "d", "new"), "x")
	must(t, tr.Make(tree.Change{Path: "d/known"}, tree.Terms{Force: true}))
	must(t, tr.Make(tree.Change{Path: "d"}, tree.Terms{Force: true}))
	if err := put(tr, file("d"), "x", tree.Terms{Force: true}); err == nil {
		t.Error("a folder with an unknown file was replaced")
	}
	if got := walk(t, dir); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestNothingHalfIsLeft(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{Watch: true})
	write(t, filepath.Join(dir, "f"), "old")
	write(t, filepath.Join(dir, tree.TempPrefix+"killed"), "half")
	refresh(t, tr)
	w, err := tr.Create(file("f"), 0, tree.Terms{Force: true})
	must(t, err)
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	refresh(t, tr)
	if err := w.Commit(hashOf("whole")); !errors.Is(err, tree.ErrCorrupt) {
		t.Errorf("half a file was taken: %v", err)
	}
	w.Abort()
	names := []string{}
	for name := range walk(t, dir) {
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"f"}) || string(read(t, filepath.Join(dir, "f"))) != "old" {
		t.Errorf("%q", names)
	}
}
