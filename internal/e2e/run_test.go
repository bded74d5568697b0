package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// watched is what a program prints, to be looked at while it goes on.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) has(word string) func() bool {
	return func() bool { return strings.Contains(w.String(), word) }
}

// running is a call of gantry run in a folder with one workflow, which has begun.
type running struct {
	*exec.Cmd
	out    watched
	state  string
	status chan int
}

func startRun(t *testing.T, e *testbed.Engine, text string, args ...string) *running {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	r := &running{Cmd: runCommand(t, e, state, append([]string{"ci.yml"}, args...)...), state: state, status: make(chan int, 1)}
	r.Dir = t.TempDir()
	write(t, filepath.Join(r.Dir, "ci.yml"), text, 0o644)
	r.Stdout, r.Stderr = &r.out, &r.out
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.Wait()
		r.status <- r.ProcessState.ExitCode()
	}()
	return r
}

func (r *running) ends(t *testing.T, status int) {
	t.Helper()
	select {
	case got := <-r.status:
		if got != status {
			t.Errorf("status %d, want %d\n%s", got, status, &r.out)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it does not end\n%s", &r.out)
	}
}

func (r *running) interrupt(t *testing.T) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
}

const longJob = `
on: push
jobs:
  long:
    runs-on: x
    container: gantry.test/busybox:1
    services:
      redis: {image: "gantry.test/redis:1"}
    steps:
      - run: echo "it has begun"; sleep 600
        shell: sh
      - run: echo "not any more"
      - if: always()
        run: echo "tidying up in the container"; sleep 2
`

// Ctrl-C ends the running step; what is for the end of every job still runs, also when there is a second Ctrl-C; and
// nothing is left.
func TestRunIsCancelled(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := startRun(t, e, longJob)
		eventually(t, "the step begins", r.out.has("\n    it has begun"))
		r.interrupt(t)
		eventually(t, "the step for the end begins", r.out.has("\n    tidying up in the container"))
		r.interrupt(t)
		r.ends(t, 1)
		contains(t, r.out.String(), "cancelling", "still cleaning up", "✓ Stop containers", "long: cancelled")
		if strings.Contains(r.out.String(), "\n    not any more") {
			t.Errorf("a step ran after the cancel:\n%s", &r.out)
		}
		nothingOf(t, e, r.state)
	})
}

// Ctrl-C while containers are prepared, in a container action, and while they are removed: nothing is left.
func TestRunIsCancelledAtOtherTimes(t *testing.T) {
	const head = "\non: push\njobs:\n  a:\n    runs-on: x\n    container: gantry.test/busybox:1\n"
	for name, c := range map[string]struct{ workflow, until, want string }{
		"waiting for health": {head + `
    services:
      never: {image: "gantry.test/busybox:1", entrypoint: sleep, command: "600",
        options: --health-cmd false --health-interval 1s --health-retries 1000}
    steps: [{run: echo "not run"}]`, "", "✗ Initialize containers"},
		"a container action": {head + `
    steps: [{uses: "docker://gantry.test/busybox:1", with: {entrypoint: sh, args: '-c "echo it has begun; sleep 600"'}}]`,
			"\n    it has begun", "✗ Run docker://"},
		"the end": {head + `
    steps: [{run: echo "the last step"}]`, "✓ Run echo", "a: cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(t *testing.T, e *testbed.Engine) {
				r := startRun(t, e, c.workflow)
				if c.until != "" {
					eventually(t, "its time comes", r.out.has(c.until))
				} else {
					label := "label=" + handler.LabelState + "=" + handler.StateID(r.state)
					eventually(t, "both containers run", func() bool {
						return len(strings.Fields(engineSays(t, e, "ps", "-q", "--filter", label))) == 2
					})
				}
				r.interrupt(t)
				r.ends(t, 1)
				contains(t, r.out.String(), c.want, "✓ Stop containers")
				nothingOf(t, e, r.state)
				if !empty(t, r.tmp()) {
					t.Error("the run's folder is left")
				}
			})
		})
	}
}

// killedJob has a process on this machine too.
const killedJob = longJob + `
  host:
    runs-on: x
    steps:
      - run: exec sleep SECONDS
`

// A run that is killed cannot clean up after itself. The next one does: containers, processes, and the folder.
func TestTheNextRunCleansUpAfterAKilledOne(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		seconds := strconv.Itoa(1_000_000 + rand.IntN(1_000_000)) // tells the process from all others
		sleeps := func() int { return programs(t, "sleep\x00"+seconds) }
		r := startRun(t, e, strings.Replace(killedJob, "SECONDS", seconds, 1))
		eventually(t, "the step begins", r.out.has("it has begun"))
		eventually(t, "the process on the host begins", func() bool { return sleeps() == 1 })
		if err := r.Process.Kill(); err != nil {
			t.Error(err)
		}
		r.ends(t, -1)
		next := exec.CommandContext(ctx(t), r.Path, "run", "hello.yml")
		next.Env, next.Dir = r.Env, r.Dir
		write(t, filepath.Join(r.Dir, "hello.yml"), "on: push\njobs: {a: {runs-on: x, steps: [{run: echo hello}]}}\n", 0o644)
		out, err := next.CombinedOutput()
		if err != nil {
			t.Error(err)
		}
		contains(t, string(out), "a run was killed", "success in ")
		nothingOf(t, e, r.state)
		if n := sleeps(); n > 0 {
			t.Errorf("%d processes of its steps are left", n)
		}
		if !empty(t, r.tmp()) {
			t.Errorf("a folder is left:\n%s", out)
		}
	})
}

// tmp is where the run makes its folder.
func (r *running) tmp() string {
	for _, kv := range slices.Backward(r.Env) {
		if dir, ok := strings.CutPrefix(kv, "TMPDIR="); ok {
			return dir
		}
	}
	return ""
}

// programs counts the processes whose command line begins so.
func programs(t *testing.T, line string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), line) { // else it is gone
			n++
		}
	}
	return n
}

// A page about a real job has the parts of its start on the waterfall, and works in a browser.
func TestRunWritesAReport(t *testing.T) {
	browser, registry, e := testbed.Browser(t), testbed.Registry(t), testbed.Docker(t)
	forget(t, e, registry.Image)
	t.Cleanup(func() { forget(t, e, registry.Image) })
	secret := "REGISTRY=" + registry.Password
	r := startRun(t, e, `
on: push
jobs:
  reported:
    runs-on: x
    container:
      image: `+registry.Image+`
      credentials: {username: `+registry.User+`, password: "${{ secrets.REGISTRY }}"}
    services:
      redis: {image: "gantry.test/redis:1"}
    steps:
      - run: echo "a line of its log"
      - run: "false"
`, "--report", "page.html", "--secret", secret)
	r.ends(t, 1)
	path := filepath.Join(r.Dir, "page.html")
	dom, complaints := testbed.Page(t, browser, path, "--dump-dom")
	if complaints != "" {
		t.Errorf("the browser complains:\n%s", complaints)
	}
	contains(t, dom, "pull "+registry.Image, "start job container", "start service redis", "health service redis",
		"Initialize containers", "a line of its log",
		"Run false", "Stop containers")
	if strings.Contains(read(t, path), registry.Password) {
		t.Error("the page has a secret")
	}
	nothingOf(t, e, r.state)
}

// The containers of a failed job can be entered, until Ctrl-C.
func TestRunKeepsWhatFailed(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := startRun(t, e, strings.Replace(longJob, "sleep 600", "touch /made-here; exit 3", 1), "--keep-on-failure", "10m")
		eventually(t, "it says how to enter", r.out.has("or with Ctrl-C"))
		enter := regexp.MustCompile(`(?m)^  (docker|podman) exec -it (\w+) sh   # the job$`).FindStringSubmatch(r.out.String())
		if enter == nil || enter[1] != e.Name {
			t.Errorf("it does not say how to enter the job's container:\n%s", &r.out)
		} else {
			engineSays(t, e, "exec", enter[2], "ls", "/made-here")
		}
		contains(t, r.out.String(), "# service redis")
		r.interrupt(t)
		r.ends(t, 1)
		nothingOf(t, e, r.state)
	})
}
