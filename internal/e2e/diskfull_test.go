package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// onSmallDisks runs a test on every engine that root drives: others cannot mount.
func onSmallDisks(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	for _, e := range testbed.Engines(t) {
		if e.UID != os.Geteuid() {
			continue
		}
		t.Run(e.Label, func(t *testing.T) { test(t, e) })
	}
}

// small makes dir a file system of its own.
func small(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("gantry-test", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Skipf("mounting is not possible here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all the space that is left on dir's file system, and gives a function that frees it.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := 1 << 20; block >= 1; block /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, block))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// onDisk is a runner whose work folder is a small disk.
func onDisk(t *testing.T, e *testbed.Engine, size string, env ...string) *fakerunner.Runner {
	t.Helper()
	root := filepath.Join(t.TempDir(), "runner-"+e.Label)
	small(t, filepath.Join(root, "_work"), size)
	r := newRunner(t, e, env...)
	mine, err := fakerunner.New(root, r.Client.HookPath, r.Client.Env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if res := mine.Cleanup(t.Context()); res.Err != nil && t.Context().Err() == nil {
			t.Errorf("cleaning up: %v\n%s", res.Err, res.Output())
		}
	})
	return mine
}

const freeSpace = "free disk space"

func TestAWorkFolderOnAFullDisk(t *testing.T) {
	onSmallDisks(t, func(t *testing.T, e *testbed.Engine) {
		r := onDisk(t, e, "24m")
		free := fill(t, r.Work)
		explains(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)), "infrastructure", "no space left on device", freeSpace)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		free()

		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		args, err := r.Script("echo ran; echo x=1 >>$GITHUB_OUTPUT")
		if err != nil {
			t.Fatal(err)
		}
		free = fill(t, r.Work)
		res := r.Call(ctx(t), hook.RunScriptStep, args)
		failsWith(t, res, 1, "ran\n", "No space left on device", "gantry: workflow: step exited") // its own trouble
		res = r.Call(ctx(t), hook.RunContainerStep, r.ContainerStep(testbed.Entry))
		explains(t, res, "infrastructure", "no space left on device", freeSpace)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		free()
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		if out := stdout(t, r, "echo as before"); out != "as before\n" {
			t.Errorf("with free space again a step printed %q", out)
		}
		ok(t, r.Cleanup(ctx(t)))
	})
}

func TestAResponseThatDoesNotFitOnTheDisk(t *testing.T) {
	onSmallDisks(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		disk := filepath.Join(r.Work, "_temp/responses")
		small(t, disk, "8k")
		path := write(t, filepath.Join(disk, "r.json"), "", 0o644)
		fill(t, disk)
		res := raw(t, r, fmt.Sprintf(`{"command":"prepare_job","responseFile":%q,"args":{"services":[{"image":%q}]},"state":null}`, path, testbed.Redis))
		explains(t, res, "infrastructure", "response file", "the disk is full", freeSpace)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

func TestAStateFolderOnAFullDisk(t *testing.T) {
	onSmallDisks(t, func(t *testing.T, e *testbed.Engine) {
		disk := filepath.Join(t.TempDir(), "disk")
		small(t, disk, "64k")
		r := newRunner(t, e, "GANTRY_STATE_DIR="+filepath.Join(disk, "state"))
		free := fill(t, disk)
		job := r.JobContainer(testbed.Busybox)
		job.EnvironmentVariables["PATH"] = "/bin" // goes through a private file, where there is no space either
		explains(t, r.Prepare(ctx(t), job), "infrastructure", "no space left on device", freeSpace)
		explains(t, r.Call(ctx(t), hook.RunContainerStep, r.ContainerStep(testbed.Entry)), "infrastructure", "no space left on device", freeSpace)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		free()
		ok(t, r.Prepare(ctx(t), job))
		free = fill(t, disk)
		args, err := r.Script("echo ran")
		if err != nil {
			t.Fatal(err)
		}
		if res := ok(t, r.Call(ctx(t), hook.RunScriptStep, args)); res.Stdout != "ran\n" {
			t.Errorf("a step printed %q", res.Output())
		}
		step := r.ContainerStep(testbed.Busybox, "-c", "echo ran")
		step.EntryPoint = "/bin/sh"
		if res := r.Call(ctx(t), hook.RunContainerStep, step); res.Err != nil {
			explains(t, res, "infrastructure", "no space left on device", freeSpace)
		} else if !strings.Contains(res.Stdout, "ran") {
			t.Errorf("a container step printed %q", res.Output())
		}
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		free()
	})
}
