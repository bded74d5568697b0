package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// cut shuts down every stream socket that a process has, as a broken network would, and says how many.
func cut(t *testing.T, pid int) int {
	t.Helper()
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0 // it has ended
	}
	defer unix.Close(handle)
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	n := 0
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		number, _ := strconv.Atoi(filepath.Base(name))
		fd, err := unix.PidfdGetfd(handle, number, 0)
		if err != nil {
			continue
		}
		if unix.Shutdown(fd, unix.SHUT_RDWR) == nil {
			n++
		}
		unix.Close(fd)
	}
	return n
}

// firstProcess is the host's number of the first process of a runner's job container.
func firstProcess(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) int {
	t.Helper()
	id := engineSays(t, e, "ps", "-q", "--filter", "label=io.gantry.runner="+runnerID(r), "--filter", "label=io.gantry.role=job")
	pid, err := strconv.Atoi(engineSays(t, e, "inspect", "--format", "{{.State.Pid}}", id))
	if err != nil || pid <= 1 {
		t.Fatalf("the container's first process: %d, %v", pid, err)
	}
	return pid
}

// numbers is what a step prints that counts to n.
func numbers(n int) []byte {
	var text []byte
	for i := range n {
		text = append(strconv.AppendInt(text, int64(i+1), 10), '\n')
	}
	return text
}

// onDocker runs a test that needs one engine only.
func onDocker(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	e := testbed.Docker(t)
	if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin)) {
		return
	}
	test(t, e)
}

func TestOutputIsCompleteHoweverOftenTheSocketIsCut(t *testing.T) {
	onDocker(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		const n = 2_000_000
		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			cuts := 0
			pid := hookOf(t, r)
			for {
				select {
				case <-stop:
					stopped <- cuts
					return
				case <-time.After(20 * time.Millisecond):
					cuts += cut(t, pid)
				}
			}
		}()
		res := ok(t, r.RunScript(ctx(t), fmt.Sprintf("seq 1 %d; sleep 0.5; echo end", n)))
		close(stop)
		cuts := <-stopped
		if want := append(numbers(n), "end\n"...); res.Stdout != string(want) {
			t.Errorf("%d bytes arrived, want %d", len(res.Stdout), len(want))
		}
		if cuts < 5 {
			t.Errorf("the socket was cut only %d times", cuts)
		}
		t.Logf("%d cuts", cuts)
	})
}

func TestTheAgentListensAgainWhenItsSocketIsDeleted(t *testing.T) {
	onDocker(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		res := ok(t, r.RunScript(ctx(t), "rm /.gantry/a.sock; echo 1; sleep 1; echo 2"))
		if res.Stdout != "1\n2\n" {
			t.Errorf("stdout %q", res.Stdout)
		}
		if out := stdout(t, r, "rm /.gantry/a.sock"); out != "" {
			t.Errorf("stdout %q", out)
		}
		if out := stdout(t, r, "echo at once"); out != "at once\n" {
			t.Errorf("stdout %q", out)
		}
	})
}

// TestAnAgentThatIsStoppedForAWhileGoesOn freezes the agent, as a paused container or a sleeping machine does.
func TestAnAgentThatIsStoppedForAWhileGoesOn(t *testing.T) {
	onDocker(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		pid := firstProcess(t, e, r)
		freeze := func() {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			time.AfterFunc(2*time.Second, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		}
		watched := *r
		watched.Client.Stdout = &watcher{word: "ready", seen: freeze}
		res := ok(t, watched.RunScript(ctx(t), "echo ready; seq 1 100000"))
		if want := "ready\n" + string(numbers(100000)); res.Stdout != want {
			t.Errorf("%d bytes arrived, want %d", len(res.Stdout), len(want))
		}
		args, err := r.Script(`echo ready; while :; do sleep 1; done`)
		if err != nil {
			t.Fatal(err)
		}
		c, cancel := context.WithCancel(ctx(t))
		defer cancel()
		watched.Client.Stdout = &watcher{word: "ready", seen: func() { freeze(); cancel() }}
		res = watched.Call(c, hook.RunScriptStep, args)
		if !slices.Equal(res.Signals, []syscall.Signal{syscall.SIGINT}) || res.ExitCode != 130 {
			t.Errorf("cancelled while the agent stood still: signals %v, status %d\n%s", res.Signals, res.ExitCode, res.Output())
		}
	})
}

func TestAStepWhoseAgentIsKilledFailsAndSaysSo(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		pid := firstProcess(t, e, r)
		var at time.Time
		watched := *r
		watched.Client.Stdout = &watcher{word: "ready", seen: func() {
			at = time.Now()
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}}
		res := watched.RunScript(ctx(t), "echo ready; sleep 60")
		if took := time.Since(at); took > 5*time.Second || res.Err == nil {
			t.Errorf("it took %v: %v", took, res.Err)
		}
		contains(t, res.Output(), "gantry: infrastructure: ", "137")
	})
}

// TestAReaderThatPausesCostsNoMemory stops reading the hook's output while the step floods it.
func TestAReaderThatPausesCostsNoMemory(t *testing.T) {
	onDocker(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		agent := firstProcess(t, e, r)
		const size, limitKiB = 300 << 20, 64 << 10
		slow := &pausing{pause: func() {
			eventually(t, "the step fills all buffers", func() bool { return quiet(agent) })
			for name, pid := range map[string]int{"hook": hookOf(t, r), "agent": agent} {
				if kib := residentKiB(t, pid); kib > limitKiB {
					t.Errorf("the %s has %d KiB", name, kib)
				}
			}
		}}
		watched := *r
		watched.Client.Stdout = slow
		args, err := r.Script(fmt.Sprintf("head -c %d /dev/zero", size))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watched.Client.Call(ctx(t), hook.RunScriptStep, args, r.State); err != nil {
			t.Fatal(err)
		}
		if slow.n != size {
			t.Errorf("%d bytes arrived, want %d", slow.n, size)
		}
	})
}

// pausing counts what is written to it, and pauses once.
type pausing struct {
	n     int
	pause func()
}

func (p *pausing) Write(b []byte) (int, error) {
	if p.n += len(b); p.pause != nil && p.n > 1<<20 {
		p.pause()
		p.pause = nil
	}
	return len(b), nil
}

// quiet tells whether a process uses no time for a while.
func quiet(pid int) bool {
	used := func() string {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		return fields[11] + " " + fields[12]
	}
	before := used()
	time.Sleep(300 * time.Millisecond)
	return used() == before
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(value)[0])
			return kib
		}
	}
	t.Fatalf("process %d has no memory", pid)
	return 0
}

// TestAStepOutlivesThePodmanMonitor kills conmon under a step.
func TestAStepOutlivesThePodmanMonitor(t *testing.T) {
	e := testbed.Podman(t)
	if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin)) {
		return
	}
	r := prepared(t, e, testbed.Busybox)
	id := engineSays(t, e, "ps", "-q", "--no-trunc", "--filter", "label=io.gantry.runner="+runnerID(r))
	watched := *r
	watched.Client.Stdout = &watcher{word: "ready", seen: func() {
		for _, line := range processesWith(id) {
			if strings.Contains(line, "conmon") {
				pid, _ := strconv.Atoi(strings.TrimRight(strings.Fields(line)[0], "RSDT"))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}}
	res := ok(t, watched.RunScript(ctx(t), "echo ready; sleep 2; echo end"))
	if res.Stdout != "ready\nend\n" {
		t.Errorf("stdout %q", res.Stdout)
	}
	if out := stdout(t, r, "echo fine"); out != "fine\n" {
		t.Errorf("the next step printed %q", out)
	}
	ok(t, r.Cleanup(ctx(t)))
	noLeftovers(t, e, r)
}
