package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// envOwnDaemon says that the testbed's daemon is this test's alone.
const envOwnDaemon = "GANTRY_TEST_OWN_DAEMON"

// TestTheDaemonIsRestartedUnderAStep plays in a testbed of its own: other tests need their daemon.
func TestTheDaemonIsRestartedUnderAStep(t *testing.T) {
	e := testbed.Docker(t)
	if os.Getenv(envOwnDaemon) == "" {
		ownTestbed(t)
		return
	}
	d := &daemon{e: e, dir: filepath.Dir(e.Home)}
	t.Run("killed", func(t *testing.T) { stepDiesWith(t, d, syscall.SIGKILL) })
	t.Run("stopped", func(t *testing.T) { stepDiesWith(t, d, syscall.SIGTERM) })
	d.keepContainers(t)
	t.Run("killed with live-restore", func(t *testing.T) { stepOutlives(t, d) })
}

// ownTestbed runs the calling test again in a testbed with Docker only.
func ownTestbed(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "testbed")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../testbed/cmd/testbed")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the testbed: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "run", "--only", "docker", "--",
		self, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), envOwnDaemon+"=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// daemon is a Docker daemon that can be restarted.
type daemon struct {
	e   *testbed.Engine
	dir string
}

func (d *daemon) pid(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, filepath.Join(d.dir, "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// end sends the daemon a signal and waits for its end. start starts it again as it was.
func (d *daemon) end(t *testing.T, sig syscall.Signal) (start func()) {
	t.Helper()
	pid := d.pid(t)
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	args := strings.Split(strings.TrimRight(read(t, filepath.Join(proc, "cmdline")), "\x00"), "\x00")
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon has ended", func() bool { return ended(proc) })
	return func() {
		log, err := os.Create(filepath.Join(d.dir, "again.log"))
		// What has died with it may still be a zombie, which would count as alive.
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.dir, "pid")), os.RemoveAll(filepath.Join(d.dir, "exec/containerd/containerd.pid")))
		if err != nil {
			t.Error(err)
			return
		}
		defer log.Close()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = d.e.Env, log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Error(err)
		}
		go func() { _ = cmd.Wait() }()
		d.answers(t)
	}
}

func (d *daemon) answers(t *testing.T) {
	t.Helper()
	failed := t.Failed()
	eventually(t, "the daemon answers", func() bool { return d.e.Command(ctx(t), "version").Run() == nil })
	if t.Failed() && !failed {
		t.Logf("the daemon said:\n%s", read(t, filepath.Join(d.dir, "again.log")))
	}
}

// ended tells whether a process is gone, or a zombie.
func ended(proc string) bool {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return true
	}
	return strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z")
}

// keepContainers switches live-restore on.
func (d *daemon) keepContainers(t *testing.T) {
	t.Helper()
	write(t, filepath.Join(d.dir, "daemon.json"), `{"live-restore": true}`+"\n", 0o644)
	if err := syscall.Kill(d.pid(t), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "live-restore is on", func() bool {
		out, _ := d.e.Command(ctx(t), "info", "--format", "{{.LiveRestoreEnabled}}").Output()
		return strings.TrimSpace(string(out)) == "true"
	})
}

// stepDiesWith ends the daemon under a step and starts it again: it kills its containers, and the step has to fail.
func stepDiesWith(t *testing.T, d *daemon, sig syscall.Signal) {
	r := prepared(t, d.e, testbed.Busybox)
	marker := "mark" + filepath.Base(r.Root)
	restarted := make(chan struct{})
	gone := make(chan time.Time, 1)
	watched := *r
	watched.Client.Stdout = &watcher{word: "ready", seen: func() {
		go func() {
			defer close(restarted)
			start := d.end(t, sig)
			go start()
			eventually(t, "the container's processes are gone", func() bool { return len(processesWith(marker)) == 0 })
			gone <- time.Now()
		}()
	}}
	res := watched.RunScript(ctx(t), "echo ready; sh -c ': "+marker+"; sleep 60; :'")
	ended := time.Now()
	<-restarted
	if res.Err == nil {
		t.Error("the step has succeeded")
	}
	if took := ended.Sub(<-gone); took > goneLimit {
		t.Errorf("it took %v from the end of its container to the end of the step", took)
	}
	contains(t, res.Output(), "gantry: infrastructure: ")
	t.Logf("the step said:\n%s", res.Output())
	d.answers(t)
	ok(t, r.Cleanup(ctx(t)))
	noLeftovers(t, d.e, r)
}

// stepOutlives ends a daemon that leaves its containers alone: steps do not even notice.
func stepOutlives(t *testing.T, d *daemon) {
	r := prepared(t, d.e, testbed.Busybox)
	goOn := filepath.Join(r.Work, "_temp/go-on")
	restarted := make(chan struct{})
	watched := *r
	watched.Client.Stdout = &watcher{word: "ready", seen: func() {
		go func() {
			defer close(restarted)
			start := d.end(t, syscall.SIGKILL)
			other := *r
			if res := alone(ctx(t), &other, "run_script_step", echo(t, &other)); res.Stdout != "fine\n" {
				t.Errorf("a step without any daemon: %v\n%s", res.Err, res.Output())
			}
			start()
			write(t, goOn, "", 0o644)
		}()
	}}
	res := ok(t, watched.RunScript(ctx(t), "echo ready; until [ -e /__w/_temp/go-on ]; do sleep 0.1; done; echo end"))
	<-restarted
	if res.Stdout != "ready\nend\n" {
		t.Errorf("stdout %q", res.Stdout)
	}
	ok(t, r.Cleanup(ctx(t)))
	noLeftovers(t, d.e, r)
}

// echo is a step that prints "fine".
func echo(t *testing.T, r *fakerunner.Runner) any {
	t.Helper()
	args, err := r.Script("")
	if err != nil {
		t.Error(err)
		return nil
	}
	args.EntryPoint, args.EntryPointArgs = "echo", []string{"fine"}
	return args
}
