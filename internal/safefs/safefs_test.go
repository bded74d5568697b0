package safefs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/internal/safefs"
)

func TestLinksAreNeverFollowed(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("keep"), 0o600))
	must(t, os.Mkdir(filepath.Join(base, "real"), 0o700))
	must(t, os.Symlink(outside, filepath.Join(base, "last")))
	must(t, os.Symlink(filepath.Dir(outside), filepath.Join(base, "middle")))
	for _, rel := range []string{"last", "middle/outside", "real/../last", "../x", "/etc/passwd"} {
		if f, err := safefs.OpenFile(base, rel, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
			f.Close()
			t.Errorf("opening %q worked", rel)
		}
	}
	if got, _ := os.ReadFile(outside); string(got) != "keep" {
		t.Errorf("the file outside has changed: %q", got)
	}
	if err := safefs.Chmod(base, "last", 0o777); err == nil {
		t.Error("chmod followed a link")
	}
}

func TestRegularFilesAndFoldersOpen(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "a/b"), 0o700))
	f, err := safefs.OpenFile(base, "a/b/c", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	must(t, err)
	_, err = f.WriteString("x")
	must(t, err)
	must(t, f.Close())
	must(t, safefs.Chmod(base, "a/b/c", 0o666))
	st, err := os.Stat(filepath.Join(base, "a/b/c"))
	must(t, err)
	if st.Mode().Perm() != 0o666 {
		t.Errorf("mode %v", st.Mode())
	}
	d, err := safefs.OpenDir(base, "a")
	must(t, err)
	d.Close()
}

func TestAFIFODoesNotBlock(t *testing.T) {
	base := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(base, "p"), 0o600))
	if f, err := safefs.OpenFile(base, "p", os.O_WRONLY, 0); err == nil {
		f.Close()
		t.Error("a FIFO without reader opened for writing")
	}
	if err := safefs.Chmod(base, "p", 0o777); err == nil {
		t.Error("chmod of a FIFO worked")
	}
}

func TestRel(t *testing.T) {
	for _, c := range []struct {
		base, path, rel string
		ok              bool
	}{
		{"/w", "/w/_temp/x", "_temp/x", true},
		{"/w/", "/w", ".", true},
		{"/w", "/wx", "", false},
		{"/w", "/w/../etc", "", false},
	} {
		rel, ok := safefs.Rel(c.base, c.path)
		if rel != c.rel || ok != c.ok {
			t.Errorf("Rel(%q, %q) = %q, %v; want %q, %v", c.base, c.path, rel, ok, c.rel, c.ok)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRealPathFollowsLinksAsFarAsThePathExists(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "a/b"), 0o700))
	must(t, os.Symlink("a", filepath.Join(base, "l")))
	must(t, os.Symlink("loop", filepath.Join(base, "loop")))
	for path, want := range map[string]string{
		"a": "a", "l": "a", "l/b": "a/b", "l/b/c/d": "a/b/c/d", "none": "none", "l/../x": "x",
	} {
		if got := safefs.RealPath(filepath.Join(base, path)); got != filepath.Join(base, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := safefs.RealPath(filepath.Join(base, "loop/x")); got != "" {
		t.Errorf("a loop leads to %s", got)
	}
}
