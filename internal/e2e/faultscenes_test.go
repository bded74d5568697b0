package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// lanes are scenes that are played side by side, each lane by a runner of its own.
func lanes() [][]scene {
	return [][]scene{
		{
			{"script", []string{
				"fast-read", "fast-record", "script-opening-files", "script-asking", "client-dialled", "client-asked",
				"client-output", "client-acknowledging", "client-exit-read", "client-done", "fast-answered",
			}, playScript},
			{"script of the full program", []string{
				"fast-leaving-to-full", "full-script", "script-asking", "client-asked", "client-output",
			}, playFullScript},
			{"script without agent", []string{"full-script-lost"}, playLostScript},
			{"cleanup", []string{
				"cleanup-start", "cleanup-listed", "cleanup-restored", "containers-removed", "cleanup-removed",
			}, playCleanup},
			{"pull", []string{"pull-started", "pull-ended"}, playPull},
			{"action", []string{"build-started", "build-ended", "step-started"}, playAction},
		},
		{
			{"container step", []string{
				"step-start", "step-image", "agent-folder-making", "step-agent-folder", "step-run-starting", "step-run-started",
				"step-started", "step-claimed", "client-asked", "client-output", "client-done", "step-gone",
			}, playContainerStep},
			{"prepare", []string{
				"prepare-start", "agent-folder-making", "prepare-agent-folder", "prepare-leftovers", "prepare-record",
				"network-creating", "network-created", "engine-making", "images-checked", "container-creating", "container-starting",
				"container-started", "health-looked", "prepare-started", "prepare-claimed", "prepare-saved",
			}, playPrepare},
		},
	}
}

// stage is where faults are played: a runner, and its job once one is needed.
type stage struct {
	e      *testbed.Engine
	sum    *figures
	tmp    string
	number int           // of the fault
	left   int           // things that were there after it
	took   time.Duration // until nothing of its step was alive

	runner *fakerunner.Runner // of the prepared job, which many faults share
	full   *fakerunner.Runner // the same with steps by the full program
}

func newStage(t *testing.T, e *testbed.Engine, sum *figures) *stage {
	return &stage{e: e, sum: sum, tmp: t.TempDir()}
}

// play plays one fault and counts it.
func (s *stage) play(t *testing.T, f fault) {
	s.left, s.took = 0, 0
	defer func() { s.sum.add(f, !t.Failed(), s.left, s.took) }()
	f.scene.play(t, s, f)
}

// kill makes a call during which the hook gets the signal, and waits until nothing with the marker is alive.
func (s *stage) kill(t *testing.T, f fault, r *fakerunner.Runner, marker string, command hook.Command, args any) {
	t.Helper()
	mark := filepath.Join(s.tmp, "mark-"+rand.Text())
	killed := *r
	killed.Client.Env = append(slices.Clone(r.Client.Env),
		fmt.Sprintf("GANTRY_FAILPOINT=%s:%d", f.place, f.signal), "GANTRY_FAILPOINT_MARK="+mark)
	state := r.State
	if command == hook.PrepareJob {
		state = nil
	}
	late := atGoneLimit(mark, marker)
	res := killed.CallWithState(ctx(t), command, args, state)
	ended := time.Now()
	info, err := os.Stat(mark)
	if err != nil {
		t.Fatalf("the place was not reached: %v\n%s", res.Err, res.Output())
	}
	if took := ended.Sub(info.ModTime()); took > hookLimit {
		t.Errorf("the hook took %v to end\n%s", took, res.Output())
	}
	left := append(late(), s.awaitEnd(t, marker, r, info.ModTime().Add(goneLimit))...)
	if len(left) > 0 {
		t.Errorf("alive %v after the signal:\n%s\nthe hook had said:\n%.2000s", goneLimit, strings.Join(left, "\n"), res.Output())
	}
	s.left, s.took = len(left), time.Since(info.ModTime())
}

// atGoneLimit looks at the processes with the marker when their time is over, if the hook takes longer than that; the
// function that it returns ends the watch.
func atGoneLimit(mark, marker string) func() []string {
	done, result := make(chan struct{}), make(chan []string, 1)
	go func() {
		for {
			select {
			case <-done:
				result <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			if info, err := os.Stat(mark); err == nil && time.Since(info.ModTime()) > goneLimit {
				result <- processesWith(marker)
				return
			}
		}
	}()
	return func() []string { close(done); return <-result }
}

// awaitEnd waits until no process with the marker and no step container of the runner is alive, and gives those
// that are at the deadline.
func (s *stage) awaitEnd(t *testing.T, marker string, r *fakerunner.Runner, deadline time.Time) []string {
	t.Helper()
	for {
		left := processesWith(marker)
		if len(left) == 0 {
			left = s.stepContainers(t, r)
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *stage) stepContainers(t *testing.T, r *fakerunner.Runner) []string {
	t.Helper()
	return strings.Fields(engineSays(t, s.e, "ps", "--filter", "label=io.gantry.role=step",
		"--filter", "label=io.gantry.runner="+runnerID(r), "--format", "{{.Names}}"))
}

// newRunner is a runner whose hook keeps its private files where they are looked for.
func (s *stage) newRunner(t *testing.T, env ...string) *fakerunner.Runner {
	t.Helper()
	dir, err := os.MkdirTemp(s.tmp, "runner-")
	if err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(dir, "tmp")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	env = slices.Concat(s.e.Env, []string{
		"GANTRY_ENGINE=" + s.e.Name, "GANTRY_PULL=missing", "GANTRY_STATE_DIR=" + filepath.Join(dir, "state"), "TMPDIR=" + private,
	}, env)
	r, err := fakerunner.New(filepath.Join(dir, filepath.Base(dir)), filepath.Join(os.Getenv(envBin), "hook.sh"), env)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shared gives the runner with a prepared job that many faults share, until end.
func (s *stage) shared(t *testing.T, r **fakerunner.Runner, env ...string) *fakerunner.Runner {
	t.Helper()
	if *r != nil {
		return *r
	}
	made := s.newRunner(t, env...)
	ok(t, made.Prepare(ctx(t), s.jobContainer(made)))
	*r = made
	return made
}

// end ends the job that faults shared.
func (s *stage) end(t *testing.T, r **fakerunner.Runner) {
	t.Helper()
	if *r == nil {
		return
	}
	ok(t, (*r).Cleanup(ctx(t)))
	noLeftovers(t, s.e, *r)
	built := engineSays(t, s.e, "image", "ls", "-q", "--filter", "label=io.gantry.runner="+runnerID(*r))
	if ids := strings.Fields(built); len(ids) > 0 {
		slices.Sort(ids)
		engineSays(t, s.e, append([]string{"rmi", "-f"}, slices.Compact(ids)...)...)
	}
	*r = nil
}

// jobContainer is a container in which not even a fork bomb takes more than its share.
func (s *stage) jobContainer(r *fakerunner.Runner) *hook.Container {
	c := r.JobContainer(testbed.Busybox)
	if s.e.UID == 0 {
		c.CreateOptions = "--pids-limit 150"
	}
	return c
}

// whole plays a job from prepare to cleanup: it must succeed after any fault.
func (s *stage) whole(t *testing.T, r *fakerunner.Runner, c *hook.Container) {
	t.Helper()
	ok(t, r.Prepare(ctx(t), c))
	if out := stdout(t, r, "echo fine"); out != "fine\n" {
		t.Errorf("the next job's step printed %q", out)
	}
	ok(t, r.Cleanup(ctx(t)))
	s.nothingLeft(t, r)
}

// nothingLeft looks for leftovers in the engine, in _temp, in the state folder and among private files.
func (s *stage) nothingLeft(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	if failed := t.Failed(); !failed {
		defer func() {
			if t.Failed() {
				s.left++
			}
		}()
	}
	noLeftovers(t, s.e, r)
	for _, variable := range r.Client.Env {
		name, dir, _ := strings.Cut(variable, "=")
		if name != "GANTRY_STATE_DIR" && name != "TMPDIR" {
			continue
		}
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (name != "TMPDIR" || strings.HasPrefix(d.Name(), "gantry")) {
				t.Errorf("left over: %s", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// after cleans up by cleanup_job without a state, or leaves that to the next job's prepare_job, in turn; and plays
// that job.
func (s *stage) after(t *testing.T, r *fakerunner.Runner, c *hook.Container) {
	t.Helper()
	if s.number%2 == 0 {
		ok(t, r.CallWithState(ctx(t), hook.CleanupJob, nil, nil))
		s.nothingLeft(t, r)
	}
	s.whole(t, r, c)
}

// beasts are programs of steps that are hard to end. MARK is in the command line of all their processes but short
// sleeps. They print a line once they are in full swing.
func beasts() []string {
	const loop = `while :; do sleep 1; done`
	return []string{
		`echo ready; ` + loop,
		`trap "" INT TERM HUP QUIT; echo ready; while :; do sleep 1 || :; done`,
		`(setsid sh -c '(env -i /bin/sh -c ": MARK; trap \"\" INT TERM; while :; do /bin/sleep 1; done" </dev/null >/dev/null 2>&1 &)' MARK &)
		 echo ready; ` + loop,
		`su -s /bin/sh nobody -c ': MARK; trap "" INT TERM; ` + loop + `' & echo ready; wait`,
		`sh -c ': MARK; ulimit -u 300; f() { f | f & }; f' & echo ready; ` + loop,
		`yes MARK`,
		`sh -c ': MARK; kill -STOP $$; :' & trap "" INT; echo ready; wait; ` + loop,
		`storm() { while :; do sh -c ': MARK; exit' & sh -c ': MARK; sleep 0.01' & wait; done; }; storm & storm & echo ready; ` + loop,
	}
}

// program writes the program of a step that is killed at a place, and gives its name in _temp.
func (s *stage) program(t *testing.T, f fault, r *fakerunner.Runner) (name, marker string) {
	t.Helper()
	marker = "mark" + rand.Text()
	text := beasts()[s.number%len(beasts())]
	switch f.place {
	case "client-exit-read", "client-done", "fast-answered", "step-gone":
		text = "echo done"
	case "client-acknowledging":
		text = "yes MARK"
	}
	write(t, filepath.Join(r.Work, "_temp", marker+".sh"), strings.ReplaceAll(text, "MARK", marker), 0o644)
	return marker + ".sh", marker
}

func playScript(t *testing.T, s *stage, f fault) {
	s.killScript(t, f, s.shared(t, &s.runner))
}

func playFullScript(t *testing.T, s *stage, f fault) {
	s.killScript(t, f, s.shared(t, &s.full, "GANTRY_TRACE_DIR="+filepath.Join(s.tmp, "traces")))
}

func (s *stage) killScript(t *testing.T, f fault, r *fakerunner.Runner) {
	t.Helper()
	name, marker := s.program(t, f, r)
	args, err := r.Script("")
	if err != nil {
		t.Fatal(err)
	}
	args.EntryPointArgs = []string{"-e", "/__w/_temp/" + name}
	s.kill(t, f, r, marker, hook.RunScriptStep, args)
	if out := stdout(t, r, "echo fine"); out != "fine\n" {
		t.Errorf("the next step printed %q", out)
	}
}

// playLostScript has the hook killed while it seeks an agent that does not answer.
func playLostScript(t *testing.T, s *stage, f fault) {
	r := s.shared(t, &s.runner)
	sockets, err := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry/*/s/a.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("the agent's socket: %v, %v", sockets, err)
	}
	deaf := deafSocket(t, sockets[0])
	defer func() {
		if err := os.Remove(sockets[0]); err != nil {
			t.Error(err)
		}
		eventually(t, "the agent listens again", func() bool {
			info, err := os.Stat(sockets[0])
			// The number of the deaf one may be taken again.
			return err == nil && (!os.SameFile(info, deaf) || !info.ModTime().Equal(deaf.ModTime()))
		})
		s.end(t, &s.runner)
	}()
	args, err := r.Script("echo never")
	if err != nil {
		t.Fatal(err)
	}
	s.kill(t, f, r, "no-such-marker", hook.RunScriptStep, args)
}

// deafSocket puts a socket in the place of another that nobody listens on.
func deafSocket(t *testing.T, path string) os.FileInfo {
	t.Helper()
	short := filepath.Join(os.TempDir(), rand.Text()[:8])
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(l.Close(), os.Rename(short, path)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func playContainerStep(t *testing.T, s *stage, f fault) {
	r := s.shared(t, &s.runner)
	name, marker := s.program(t, f, r)
	c := r.ContainerStep(testbed.Busybox, "-e", "/github/runner_temp/"+name)
	c.EntryPoint = "sh"
	if s.e.UID == 0 {
		c.CreateOptions = "--pids-limit 150"
	}
	s.kill(t, f, r, marker, hook.RunContainerStep, c)
	s.nextContainerStep(t, r)
}

func (s *stage) nextContainerStep(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	if s.number%3 != 0 {
		return
	}
	if res := ok(t, r.Call(ctx(t), hook.RunContainerStep, r.ContainerStep(testbed.Entry, "fine"))); res.Stdout != "entry fine\n" {
		t.Errorf("the next container step printed %q", res.Stdout)
	}
}

// playAction kills the hook at an action with a Dockerfile.
func playAction(t *testing.T, s *stage, f fault) {
	r := s.shared(t, &s.runner)
	name, marker := s.program(t, f, r)
	dir := filepath.Join(r.Work, "_actions", marker)
	dockerfile := write(t, filepath.Join(dir, "Dockerfile"), "FROM "+testbed.Busybox+"\nRUN echo "+marker+"\nENTRYPOINT [\"sh\", \"-e\"]\n", 0o644)
	c := r.ContainerStep("", "/github/runner_temp/"+name)
	c.Dockerfile = dockerfile
	s.kill(t, f, r, marker, hook.RunContainerStep, c)
	again := r.ContainerStep("", "-c", "echo fine")
	again.Dockerfile = dockerfile
	if res := ok(t, r.Call(ctx(t), hook.RunContainerStep, again)); !strings.HasSuffix(res.Stdout, "fine\n") {
		t.Errorf("the action printed %q the next time", res.Stdout)
	}
}

func playPrepare(t *testing.T, s *stage, f fault) {
	if s.runner != nil {
		s.end(t, &s.runner)
	}
	r := s.newRunner(t)
	redis := hook.Container{Image: testbed.Redis}
	s.kill(t, f, r, "no-such-marker", hook.PrepareJob,
		&hook.PrepareJobArgs{Container: s.jobContainer(r), Services: []hook.Container{redis}})
	s.after(t, r, s.jobContainer(r))
}

// playPull kills the hook while it pulls from a registry with a password.
func playPull(t *testing.T, s *stage, f fault) {
	registry := testbed.Registry(t)
	r := s.newRunner(t, "GANTRY_PULL=always")
	c := r.JobContainer(registry.Image)
	c.Registry = &hook.Registry{ServerURL: registry.Addr, Username: registry.User, Password: registry.Password}
	s.kill(t, f, r, "no-such-marker", hook.PrepareJob, &hook.PrepareJobArgs{Container: c})
	s.after(t, r, c)
}

func playCleanup(t *testing.T, s *stage, f fault) {
	if s.full != nil {
		s.end(t, &s.full)
	}
	r := s.newRunner(t)
	ok(t, r.Prepare(ctx(t), s.jobContainer(r)))
	s.kill(t, f, r, "no-such-marker", hook.CleanupJob, json.RawMessage(nil))
	s.after(t, r, s.jobContainer(r))
}
