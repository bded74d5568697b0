package e2e

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// watcher calls seen once a word was written to it.
type watcher struct {
	mu   sync.Mutex
	text []byte
	word string
	seen func()
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if w.seen != nil && strings.Contains(string(w.text), w.word) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}

// cancelled makes a call and cancels it once the hook has printed a word, as the runner does.
func cancelled(t *testing.T, r *fakerunner.Runner, word string, command hook.Command, args any) (res *fakerunner.Result, took time.Duration) {
	t.Helper()
	c, cancel := context.WithCancel(ctx(t))
	defer cancel()
	var at time.Time
	watched := *r
	w := &watcher{word: word, seen: func() { at = time.Now(); cancel() }}
	watched.Client.Stdout, watched.Client.Stderr = w, w
	res = watched.Call(c, command, args)
	if at.IsZero() {
		t.Fatalf("it has not come to be cancelled: %v\n%s", res.Err, res.Output())
	}
	return res, time.Since(at)
}

// hookOf is the process of a runner's hook.
func hookOf(t *testing.T, r *fakerunner.Runner) int {
	t.Helper()
	found := 0
	eventually(t, "the hook runs", func() bool {
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			args, _ := os.ReadFile(name)
			environ, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "environ"))
			words := strings.Split(string(args), "\x00")
			if len(words) > 1 && words[1] == "hook" && strings.Contains(string(environ), "RUNNER_NAME="+filepath.Base(r.Root)+"\x00") {
				found, _ = strconv.Atoi(filepath.Base(filepath.Dir(name)))
			}
		}
		return found != 0
	})
	return found
}

func TestACancelledStepMayCleanUp(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		const text = `trap 'sleep 1; echo cleaned; exit 3' INT; echo ready; while :; do sleep 0.1 || :; done`
		steps := map[hook.Command]any{}
		args, err := r.Script(text)
		if err != nil {
			t.Fatal(err)
		}
		steps[hook.RunScriptStep] = args
		c := r.ContainerStep(testbed.Busybox, "-c", text)
		c.EntryPoint = "sh"
		steps[hook.RunContainerStep] = c
		for command, args := range steps {
			t.Run(string(command), func(t *testing.T) {
				res, took := cancelled(t, r, "ready", command, args)
				if !slices.Equal(res.Signals, []syscall.Signal{syscall.SIGINT}) || took > 4*time.Second {
					t.Errorf("signals %v, it took %v", res.Signals, took)
				}
				if res.ExitCode != 3 || !strings.Contains(res.Stdout, "cleaned\n") {
					t.Errorf("status %d\n%s", res.ExitCode, res.Output())
				}
			})
		}
	})
}

func TestAnInterruptMayComeMoreThanOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		const text = `n=0; trap 'n=$((n+1)); echo "interrupted $n"' INT; trap 'echo "terminated $n"; exit 4' TERM
			echo ready; while :; do sleep 0.1 || :; done`
		args, err := r.Script(text)
		if err != nil {
			t.Fatal(err)
		}
		w := &watcher{word: "ready", seen: func() {
			go func() {
				pid := hookOf(t, r)
				for range 3 {
					_ = syscall.Kill(pid, syscall.SIGINT) // the hook is there as long as its step
					time.Sleep(300 * time.Millisecond)
				}
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}()
		}}
		watched := *r
		watched.Client.Stdout = w
		res := watched.Call(ctx(t), hook.RunScriptStep, args)
		if res.ExitCode != 4 || !strings.Contains(res.Stdout, "terminated 3\n") {
			t.Errorf("status %d\n%s", res.ExitCode, res.Output())
		}
	})
}

// TestAnInterruptEndsAnyWait cancels while the hook waits for somebody else.
func TestAnInterruptEndsAnyWait(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		t.Run("pull", func(t *testing.T) {
			r := newRunner(t, e, "GANTRY_PULL=always")
			endsSoon(t, e, r, "pulling", hook.PrepareJob, &hook.PrepareJobArgs{Container: r.JobContainer(silentRegistry(t) + "/image:1")})
		})
		t.Run("health", func(t *testing.T) {
			r := newRunner(t, e)
			c := r.JobContainer(testbed.Busybox)
			c.CreateOptions = `--health-cmd "test -e /never" --health-interval 1s --health-retries 1000`
			go func() {
				eventually(t, "the container runs", func() bool { return len(containers(t, e, r)) > 0 })
				_ = syscall.Kill(hookOf(t, r), syscall.SIGINT)
			}()
			res := within(t, 20*time.Second, func() *fakerunner.Result { return r.Prepare(ctx(t), c) })
			if res.Err == nil {
				t.Error("it has not been cancelled")
			}
			contains(t, res.Output(), "cancelled")
			ok(t, r.Cleanup(ctx(t)))
			noLeftovers(t, e, r)
		})
		t.Run("build", func(t *testing.T) {
			r := prepared(t, e, testbed.Busybox)
			marker := "mark" + filepath.Base(r.Root)
			c := r.ContainerStep("")
			c.Dockerfile = write(t, filepath.Join(r.Work, "_actions/slow/Dockerfile"),
				"FROM "+testbed.Busybox+"\nRUN : "+marker+"; trap '' INT TERM; echo is building; sleep 120; sleep 1\n", 0o644)
			endsSoon(t, e, r, "is building", hook.RunContainerStep, c)
			eventually(t, "nothing is built any more", func() bool { return len(processesWith(marker)) == 0 })
		})
	})
}

// endsSoon cancels a call and wants it to end by the first signal, and to say so.
func endsSoon(t *testing.T, e *testbed.Engine, r *fakerunner.Runner, word string, command hook.Command, args any) {
	t.Helper()
	res, took := cancelled(t, r, word, command, args)
	if !slices.Equal(res.Signals, []syscall.Signal{syscall.SIGINT}) {
		t.Errorf("signals %v, it took %v\n%s", res.Signals, took, res.Output())
	}
	contains(t, res.Output(), "cancelled")
	ok(t, r.Cleanup(ctx(t)))
	noLeftovers(t, e, r)
}

// silentRegistry is an address that takes connections and says nothing.
func silentRegistry(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return l.Addr().String()
}

// envDyingRunner makes this program a runner that makes one call: the value is a dyingRunner.
const envDyingRunner = "GANTRY_TEST_DYING_RUNNER"

type dyingRunner struct {
	Runner  *fakerunner.Runner
	Command hook.Command
	Args    json.RawMessage
}

// TestPlayADyingRunner is no test but the runner of TestAStepEndsWhenItsRunnerDies.
func TestPlayADyingRunner(t *testing.T) {
	text := os.Getenv(envDyingRunner)
	if text == "" {
		t.Skip("it belongs to TestAStepEndsWhenItsRunnerDies")
	}
	var d dyingRunner
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	d.Runner.Call(ctx(t), d.Command, d.Args)
}

func TestAStepEndsWhenItsRunnerDies(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		steps := map[string]string{"silent": `trap "" INT TERM; while :; do sleep 1 || :; done`}
		if e.Name == "docker" {
			steps["noisy"] = `trap "" INT TERM; while :; do sleep 0.1; echo more; done`
		}
		for name, text := range steps {
			for _, command := range []hook.Command{hook.RunScriptStep, hook.RunContainerStep} {
				t.Run(name+"/"+string(command), func(t *testing.T) { runnerDies(t, e, r, command, text) })
			}
		}
		ok(t, r.RunScript(ctx(t), "echo fine"))
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

func runnerDies(t *testing.T, e *testbed.Engine, r *fakerunner.Runner, command hook.Command, text string) {
	t.Helper()
	marker := "mark" + filepath.Base(t.TempDir()) + filepath.Base(r.Root) + strconv.Itoa(os.Getpid())
	started := filepath.Join(r.Work, "_temp", marker)
	var args any
	script := func(temp string) string { return "touch " + temp + "/" + marker + "; : " + marker + "; " + text }
	if command == hook.RunScriptStep {
		step, err := r.Script("")
		if err != nil {
			t.Fatal(err)
		}
		name := marker + ".sh"
		write(t, filepath.Join(r.Work, "_temp", name), script("/__w/_temp"), 0o644)
		step.EntryPointArgs = []string{"/__w/_temp/" + name}
		args = step
	} else {
		c := r.ContainerStep(testbed.Busybox, "-c", script("/github/runner_temp"))
		c.EntryPoint = "sh"
		args = c
	}
	os.Remove(started)
	runner := playRunner(t, r, command, args)
	eventually(t, "the step runs", func() bool { _, err := os.Stat(started); return err == nil })
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	_ = runner.Wait() // it was killed
	s := &stage{e: e}
	if left := s.awaitEnd(t, marker, r, died.Add(8*time.Second)); len(left) > 0 {
		t.Errorf("alive after %v:\n%s", time.Since(died), strings.Join(left, "\n"))
	}
	t.Logf("all was gone after %.1f s", time.Since(died).Seconds())
}

// playRunner starts a process that calls the hook.
func playRunner(t *testing.T, r *fakerunner.Runner, command hook.Command, args any) *exec.Cmd {
	t.Helper()
	encoded, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(dyingRunner{Runner: r, Command: command, Args: encoded})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestPlayADyingRunner$")
	cmd.Env = append(os.Environ(), envDyingRunner+"="+string(text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}
