package rundir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/rundir"
)

// envMake makes this test program a run that is killed at once: it makes a folder there.
const envMake = "RUNDIR_TEST_MAKE"

func TestMain(m *testing.M) {
	if parent := os.Getenv(envMake); parent != "" {
		if _, err := rundir.Make(parent); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func abandoned(t *testing.T, parent string, now time.Time) []*rundir.Dir {
	t.Helper()
	dirs, err := rundir.Abandoned(parent, os.Getuid(), now)
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func TestOnlyFoldersOfDeadProcessesAreAbandoned(t *testing.T) {
	parent := t.TempDir()
	alive, err := rundir.Make(parent)
	if err != nil {
		t.Fatal(err)
	}
	killed := exec.Command(os.Args[0])
	killed.Env = append(os.Environ(), envMake+"="+parent)
	if out, err := killed.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dirs := abandoned(t, parent, time.Now())
	if len(dirs) != 1 || dirs[0].Path == alive.Path {
		t.Fatalf("%+v, and %s is alive", dirs, alive.Path)
	}
	if again := abandoned(t, parent, time.Now()); len(again) > 0 {
		t.Errorf("two at once clean up after the same run: %+v", again)
	}
	for _, d := range []*rundir.Dir{dirs[0], alive} {
		if err := os.MkdirAll(filepath.Join(d.Path, "job/_work/modules/cache"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(d.Path, "job/_work/modules"), 0o500); err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

func TestWhatIsNoFolderOfARunIsNotTouched(t *testing.T) {
	parent := t.TempDir()
	target := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(parent, "gantry-run-new"), 0o700),
		os.Mkdir(filepath.Join(parent, "other"), 0o700),
		os.WriteFile(filepath.Join(parent, "gantry-run-file"), nil, 0o600),
		os.Symlink(target, filepath.Join(parent, "gantry-run-link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if dirs := abandoned(t, parent, time.Now()); len(dirs) > 0 {
		t.Errorf("%+v", dirs)
	}
	dirs := abandoned(t, parent, time.Now().Add(time.Hour))
	if len(dirs) != 1 || filepath.Base(dirs[0].Path) != "gantry-run-new" {
		t.Errorf("%+v, though one was made an hour ago and never locked", dirs)
	}
}
