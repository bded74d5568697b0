package handler

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/jobrecord"
)

// actionAt is a work folder with a Dockerfile action in it.
func actionAt(t *testing.T, rel string) (work, dockerfile string) {
	t.Helper()
	work = t.TempDir()
	dockerfile = filepath.Join(work, rel, "Dockerfile")
	if err := os.MkdirAll(filepath.Dir(dockerfile), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dockerfile, []byte("FROM base:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return work, dockerfile
}

// Where jobs can write, a link could lead to any folder of the host, whose files would come into the image.
func TestNoLinkLeadsToABuildContext(t *testing.T) {
	_, outside := actionAt(t, "x")
	for _, rel := range []string{"_actions/o/r/v1", "_actions/o", "repo/repo/action", "repo"} {
		work, dockerfile := actionAt(t, "_actions/o/r/v1")
		if strings.HasPrefix(rel, "repo") {
			work, dockerfile = actionAt(t, "repo/repo/action")
		}
		link := filepath.Join(work, rel)
		deeper := strings.TrimPrefix(filepath.Dir(dockerfile), link)
		target := filepath.Join(t.TempDir(), "target")
		if err := os.MkdirAll(filepath.Dir(filepath.Join(target, deeper)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Dir(outside), filepath.Join(target, deeper)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		h := &Handler{Runner: Runner{Work: work}}
		if _, _, err := h.readDockerfile(&hook.Container{Dockerfile: dockerfile}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%s: %v", rel, err)
		}
		if err := os.Rename(filepath.Join(target, deeper), filepath.Dir(outside)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADockerfileMayBeALinkWithinItsFolderOnly(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("FROM secret:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, ok := range map[string]bool{"real/Dockerfile": true, secret: false, "../../../../../../" + secret: false, "/dev/zero": false} {
		work, dockerfile := actionAt(t, "_actions/o/r/v1")
		real := filepath.Join(filepath.Dir(dockerfile), "real")
		if err := os.Mkdir(real, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dockerfile, filepath.Join(real, "Dockerfile")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, dockerfile); err != nil {
			t.Fatal(err)
		}
		h := &Handler{Runner: Runner{Work: work}}
		_, images, err := h.readDockerfile(&hook.Container{Dockerfile: dockerfile})
		if ok != (err == nil) || ok && (len(images) != 1 || images[0] != "base:1") {
			t.Errorf("%s: %v, %v", target, images, err)
		}
	}
}

func TestAFIFOInPlaceOfADockerfileIsNotWaitedFor(t *testing.T) {
	work, dockerfile := actionAt(t, "_actions/o/r/v1")
	if err := os.Remove(dockerfile); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dockerfile, 0o666); err != nil {
		t.Fatal(err)
	}
	h := &Handler{Runner: Runner{Work: work}}
	if _, _, err := h.readDockerfile(&hook.Container{Dockerfile: dockerfile}); err == nil {
		t.Error("a FIFO was read")
	}
}

// The policy has judged the base images before the folder was copied.
func TestADockerfileThatChangesBeforeTheBuildIsRefused(t *testing.T) {
	work, dockerfile := actionAt(t, "_actions/o/r/v1")
	h := &Handler{Runner: Runner{Work: work}, Store: jobrecord.Store{Dir: t.TempDir()}}
	_, err := h.buildCopy(t.Context(), filepath.Dir(dockerfile), "Dockerfile", []string{"allowed:1"})
	if err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Error(err)
	}
}

func TestCopiesOfKilledHooksAreForgotten(t *testing.T) {
	h := &Handler{Store: jobrecord.Store{Dir: t.TempDir()}}
	old, fresh := filepath.Join(h.Store.Dir, "build-1"), filepath.Join(h.Store.Dir, "build-2")
	for _, dir := range []string{old, fresh} {
		if err := os.MkdirAll(filepath.Join(dir, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	if err := h.forgetCopies(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(h.Store.Dir, "*")); len(left) != 1 || left[0] != fresh {
		t.Errorf("left: %v", left)
	}
}
