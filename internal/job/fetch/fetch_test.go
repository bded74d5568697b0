package fetch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/job/fetch"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestBothFormsOfAMirror(t *testing.T) {
	mirror := t.TempDir()
	write(t, mirror+"/o/a/v1/action.yml", "")
	write(t, mirror+"/o/b@release/v2/action.yml", "")
	f := &fetch.Fetcher{Mirror: mirror, Into: t.TempDir()}
	for repo, ref := range map[string]string{"a": "v1", "b": "release/v2"} {
		for range 2 {
			dir, err := f.Fetch(t.Context(), "o", repo, ref)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(dir + "/action.yml"); err != nil || dir != filepath.Join(f.Into, "o", repo, ref) {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}

func TestWhatCannotBeHadIsExplained(t *testing.T) {
	f := &fetch.Fetcher{Into: t.TempDir()}
	if _, err := f.Fetch(t.Context(), "o", "r", "v1"); err == nil || !strings.Contains(err.Error(), "--actions-dir") {
		t.Error(err)
	}
	f.Mirror = t.TempDir()
	if _, err := f.Fetch(t.Context(), "o", "r", "v1"); err == nil || !strings.Contains(err.Error(), f.Mirror) {
		t.Error(err)
	}
	f.ServerURL, f.Env = "file:///nowhere", []string{"PATH=/usr/bin:/bin"}
	if _, err := f.Fetch(t.Context(), "o", "r", "v1"); err == nil || !strings.Contains(err.Error(), "git fetch") {
		t.Error(err)
	}
	for _, name := range []string{"..", "../../etc", ""} {
		if _, err := f.Fetch(t.Context(), "o", "r", name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	if left, err := filepath.Glob(f.Into + "/o/r/*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestAFolderIsCopiedWithLinksAndModesButWithoutTheRunner(t *testing.T) {
	source, into := t.TempDir(), t.TempDir()
	write(t, source+"/dir/run.sh", "x")
	write(t, source+"/runners/big", "x")
	if err := os.Symlink("dir/run.sh", source+"/link"); err != nil {
		t.Fatal(err)
	}
	n, err := fetch.Source{Dir: source, Except: source + "/runners"}.Copy(t.Context(), into)
	if err != nil || n != 2 {
		t.Errorf("%d files, %v", n, err)
	}
	if info, err := os.Stat(into + "/link"); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(into + "/runners"); err == nil {
		t.Error("the runner's folder was copied")
	}
}
