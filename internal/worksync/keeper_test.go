package worksync_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// keptJob is what a keeper of these tests reads, as the real one reads a job's record.
type keptJob struct {
	Work, Root, State string
	Config            worksync.Config
	Address           agent.Address
}

// keep is the keeper's process. The job is alive as long as its file is there.
func keep(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var job keptJob
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	dial, err := agent.TLSDialer(job.Address)
	if err != nil {
		return err
	}
	return worksync.Keep(context.Background(), worksync.KeepOptions{
		Options: worksync.Options{
			Work: job.Work, Root: job.Root, State: job.State, Config: job.Config,
			Client: &agent.Client{Dial: dial, Token: "t", GiveUp: 2 * time.Second, Heartbeat: agent.Heartbeat},
		},
		Alive: func() bool { _, err := os.Stat(file); return err == nil },
	})
}

// hook is a hook of the pair's job. It has a keeper of its own program if kept.
func (p *pair) hook(t testing.TB, kept bool) *worksync.Hook {
	t.Helper()
	h := &worksync.Hook{Work: p.host, Client: p.client, Spec: worksync.Spec{Root: p.pod, Config: p.config, State: p.state}}
	if !kept {
		return h
	}
	program, err := os.Executable()
	must(t, err)
	text, err := json.Marshal(keptJob{Work: p.host, Root: p.pod, State: p.state, Config: p.config, Address: p.address})
	must(t, err)
	must(t, os.WriteFile(p.record(), text, 0o600))
	h.Spec.Keeper = []string{program, "keep", p.record()}
	t.Cleanup(func() {
		_ = os.Remove(p.record()) // whatever keepers are left end
		must(t, h.Stop(context.Background()))
	})
	return h
}

func (p *pair) record() string { return p.state + ".json" }

func hookSync(t testing.TB, h *worksync.Hook, wins tree.Side, step string) worksync.Report {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	report, err := h.Sync(ctx, wins, step)
	must(t, err)
	return report
}

// keeperOf is the pid of the pair's keeper, 0 if there is none.
func (p *pair) keeperOf(t testing.TB) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(string(text), "keep\x00"+p.record()+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			must(t, err)
			return pid
		}
	}
	return 0
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestAKeeperKeepsBothInStepForEveryHook(t *testing.T) {
	p := newPair(t)
	write(t, filepath.Join(p.host, "r/r/a"), "first")
	h := p.hook(t, true)
	_, err := h.Start(t.Context())
	must(t, err)
	p.same(t)
	pid := p.keeperOf(t)
	if pid == 0 {
		t.Fatal("there is no keeper")
	}
	for i := range 5 {
		write(t, filepath.Join(p.host, "_temp", strconv.Itoa(i)), "script")
		next := p.hook(t, true)
		hookSync(t, next, tree.Host, "step")
		p.same(t)
		write(t, filepath.Join(p.pod, "_temp", "out", strconv.Itoa(i)), "x=y")
		hookSync(t, next, tree.Container, "")
		next.Leave(t.Context())
		p.same(t)
	}
	if again := p.keeperOf(t); again != pid {
		t.Errorf("the keeper is %d, it was %d", again, pid)
	}
	must(t, h.Stop(t.Context()))
	if _, err := os.Stat(p.state); !errors.Is(err, fs.ErrNotExist) || p.keeperOf(t) != 0 {
		t.Errorf("after its end: %v, keeper %d", err, p.keeperOf(t))
	}
	must(t, h.Stop(t.Context()))
}

// Whoever kills the keeper, and whenever: what hooks do is right, and the next one finds a keeper again.
func TestAKilledKeeperIsMadeUpFor(t *testing.T) {
	p := newPair(t)
	chance := rand.New(rand.NewPCG(1, 1))
	host, pod := vandal{p.host, chance}, vandal{p.pod, chance}
	h := p.hook(t, true)
	_, err := h.Start(t.Context())
	must(t, err)
	killed := 0
	for range 12 {
		for _, wins := range []tree.Side{tree.Host, tree.Container} {
			if wins == tree.Host {
				host.act(20)
			} else {
				pod.act(20)
			}
			pid, kill := p.keeperOf(t), make(chan struct{})
			go func() {
				defer close(kill)
				time.Sleep(time.Duration(chance.IntN(4)) * time.Millisecond)
				if pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
			}()
			hookSync(t, p.hook(t, true), wins, "")
			<-kill
			hookSync(t, p.hook(t, true), wins, "") // one of the two was after the kill
			p.same(t)
			waitFor(t, "a keeper", func() bool { return p.keeperOf(t) != 0 })
		}
	}
	if killed < 12 {
		t.Errorf("only %d keepers were killed", killed)
	}
}

func TestWithoutAKeeperEachHookGoesOnWhereTheLastOneWas(t *testing.T) {
	p := newPair(t)
	chance := rand.New(rand.NewPCG(2, 2))
	host, pod := vandal{p.host, chance}, vandal{p.pod, chance}
	_, err := p.hook(t, false).Start(t.Context())
	must(t, err)
	for range 10 {
		host.act(20)
		before := walk(t, p.host)
		hookSync(t, p.hook(t, false), tree.Host, "")
		if after := p.same(t); len(written(before, after))+len(written(after, before)) > 0 {
			t.Fatal("what the host wrote has not won")
		}
		pod.act(20)
		before = walk(t, p.pod)
		report := hookSync(t, p.hook(t, false), tree.Container, "")
		if after := p.same(t); len(written(before, after))+len(written(after, before)) > 0 {
			t.Fatal("what the container wrote has not won")
		}
		if report.Sent.Names > 0 {
			t.Errorf("what has not changed was sent again: %+v", report)
		}
	}
}

func TestAKeeperThatHangsIsMadeUpFor(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	p := newPair(t)
	h := p.hook(t, true)
	_, err := h.Start(t.Context())
	must(t, err)
	must(t, syscall.Kill(p.keeperOf(t), syscall.SIGSTOP))
	write(t, filepath.Join(p.host, "a"), "x")
	hookSync(t, p.hook(t, true), tree.Host, "")
	p.same(t)
}

func TestAKeeperEndsWithItsJob(t *testing.T) {
	p := newPair(t)
	h := p.hook(t, true)
	_, err := h.Start(t.Context())
	must(t, err)
	must(t, os.Remove(p.record()))
	waitFor(t, "the keeper's end", func() bool { return p.keeperOf(t) == 0 })
}

// step runs until it is ended, and tells of its start and its end.
func (p *pair) step(t *testing.T, id string) (started, ended func() bool) {
	t.Helper()
	dir := t.TempDir()
	step := &agent.Step{
		ID: id, Argv: []string{"sh", "-c", `trap "touch ` + dir + `/ended; exit" TERM; touch ` + dir + `/started; sleep 100 & wait`},
		OrphanGrace: time.Hour, CancelGrace: time.Second,
	}
	ctx, stop := context.WithCancel(t.Context())
	go p.client.Run(ctx, step, io.Discard, nil)
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	}
	waitFor(t, "the step", exists("started"))
	stop() // what the agent sees of a hook that was killed, or of a link that was cut
	return exists("started"), exists("ended")
}

func TestAStepWhoseHookVanishesIsEnded(t *testing.T) {
	p := newPair(t)
	_, err := p.hook(t, true).Start(t.Context())
	must(t, err)
	gone, stays, handsOver, leaves := p.hook(t, true), p.hook(t, true), p.hook(t, true), p.hook(t, true)
	for h, id := range map[*worksync.Hook]string{gone: "gone", stays: "stays", handsOver: "handed over", leaves: "left"} {
		hookSync(t, h, tree.Host, id)
	}
	_, goneEnded := p.step(t, "gone")
	_, staysEnded := p.step(t, "stays")
	_, overEnded := p.step(t, "handed over")
	_, leftEnded := p.step(t, "left")
	gone.Vanish()
	leaves.Leave(t.Context())
	handsOver.Vanish()
	p.hook(t, true).Hold(t.Context(), "handed over")
	waitFor(t, "the end of the step", goneEnded)
	time.Sleep(time.Second) // the others would have ended at the same time
	if staysEnded() || overEnded() || leftEnded() {
		t.Error("a step was ended whose hook is there, or has done with it")
	}
}

// A keeper that reads what is known does not answer yet. Whoever comes meanwhile waits for it, and only for it.
func TestAKeeperThatStartsIsWaitedFor(t *testing.T) {
	p := newPair(t)
	h := p.hook(t, true)
	must(t, os.MkdirAll(p.state, 0o700))
	journal := filepath.Join(p.state, "journal")
	must(t, syscall.Mkfifo(journal, 0o600)) // reading it takes until somebody has written it
	keeper := exec.Command(h.Spec.Keeper[0], h.Spec.Keeper[1:]...)
	must(t, keeper.Start())
	ended := make(chan error, 1)
	go func() { ended <- keeper.Wait() }()
	var pipe *os.File
	waitFor(t, "the keeper to read", func() (ok bool) {
		var err error
		pipe, err = os.OpenFile(journal, os.O_WRONLY|syscall.O_NONBLOCK, 0) // it fails without a reader
		return err == nil
	})
	write(t, filepath.Join(p.host, "a"), "x")
	time.AfterFunc(300*time.Millisecond, func() { _ = pipe.Close() })
	began := time.Now()
	hookSync(t, h, tree.Host, "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	p.same(t)
	select {
	case err := <-ended:
		t.Errorf("the keeper has ended: %v", err)
	default:
	}
}
