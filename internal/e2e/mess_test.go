package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// mess makes files that the runner's user cannot delete, also where gantry's own things are.
const mess = `umask 077; mkdir -p /.gantry/d/e /__w/_temp/d/e d/e; touch /.gantry/d/e/f /__w/_temp/d/e/f d/e/f; chmod 555 d/e; chmod 700 d`

// Whatever a step leaves, the runner's user can delete it after the job, and the next job can begin.
func TestTheRunnerIsLeftAsItWas(t *testing.T) {
	asEveryUser(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		for _, image := range []string{testbed.Busybox, testbed.NonRoot} {
			ok(t, r.Prepare(ctx(t), r.JobContainer(image)))
			ok(t, r.RunScript(ctx(t), mess))
			ok(t, r.Cleanup(ctx(t)))
			noLeftovers(t, e, r)
			deletes(t, filepath.Join(r.Work, "_temp/d"), filepath.Join(r.Workspace, "d"))
		}
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		ok(t, r.RunScript(ctx(t), mess))
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox))) // that job has had no clean-up
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		deletes(t, filepath.Join(r.Work, "_temp/d"), filepath.Join(r.Workspace, "d"))
	})
}

// deletes fails the test if this user cannot delete folders and what mess has made in them.
func deletes(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := errors.Join(os.Chmod(filepath.Join(dir, "e"), 0o755), os.RemoveAll(dir)); err != nil {
			t.Errorf("the runner cannot delete what a step left: %v", err)
		}
	}
}

// Only what the runner mounts is the runner's: volumes of the workflow keep their owners, wherever they are mounted.
func TestFilesInVolumesKeepTheirOwners(t *testing.T) {
	user := dockerUser(t)
	volume := os.Getenv("SHARED_VOLUME")
	if volume == "" {
		volume = filepath.Join("/tmp", "gantry-volume-"+filepath.Base(os.Getenv(envBin)))
		theirs := write(t, filepath.Join(volume, "theirs"), "x", 0o644)
		t.Cleanup(func() { os.RemoveAll(volume) })
		testbed.RunAs(t, user, envBin+"="+os.Getenv(envBin), "SHARED_VOLUME="+volume)
		if uid := ownerOf(theirs); uid != 0 {
			t.Errorf("a file in a volume of the workflow was given to user %d", uid)
		}
		return
	}
	r := newRunner(t, user)
	job := r.JobContainer(testbed.Busybox)
	job.UserMountVolumes = []hook.MountVolume{{
		UserProvidedValue: volume + ":/__w/repo/repo/volume", SourceVolumePath: volume, TargetVolumePath: "/__w/repo/repo/volume",
	}}
	ok(t, r.Prepare(ctx(t), job))
	ok(t, r.RunScript(ctx(t), "touch mine volume/made"))
	ok(t, r.Cleanup(ctx(t)))
	ownedByMe(t, filepath.Join(r.Workspace, "mine"))
}
