package agent_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

// service is an agent with a program of its own.
type service struct {
	*agent.Client
	base, log string
	ended     chan served
}

type served struct {
	exit agent.Exit
	err  error
}

func startService(t *testing.T) *service {
	t.Helper()
	s := &service{base: t.TempDir(), ended: make(chan served, 1)}
	s.log = filepath.Join(s.base, "log")
	out, err := os.Create(s.log)
	must(t, err)
	dir := filepath.Join(s.base, "svc", agent.SharedDir)
	must(t, errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o711)))
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		opts := agent.ServerOptions{Socket: filepath.Join(dir, agent.SocketName), Main: out, Env: []string{"PATH=" + os.Getenv("PATH")}}
		exit, err := agent.NewServer(opts).Serve(ctx)
		s.ended <- served{exit, err}
		close(s.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-s.ended
		out.Close()
	})
	s.Client = &agent.Client{Dial: agent.SocketDialer(s.base, "svc"), Token: "secret", GiveUp: 2 * time.Second}
	claim, done := context.WithTimeout(ctx, limit)
	defer done()
	if _, err := s.Claim(claim); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) wait(t *testing.T) served {
	t.Helper()
	select {
	case end := <-s.ended:
		return end
	case <-time.After(limit):
		t.Fatal("it has not ended")
		return served{}
	}
}

func TestAContainersOwnProgramIsItsLifeAndItsLog(t *testing.T) {
	s := startService(t)
	step := sh("echo out $SECRET; echo err >&2; sleep 0.2; exit 7")
	step.Env = map[string]string{"SECRET": "of nobody"}
	for range 2 { // the answer may be lost
		if start, err := s.Main(t.Context(), step); err != nil || start.Error != "" {
			t.Fatalf("%+v %v", start, err)
		}
	}
	if end := s.wait(t); end.err != nil || end.exit.Code != 7 {
		t.Errorf("%+v", end)
	}
	if got := string(read(t, s.log)); got != "out of nobody\nerr\n" {
		t.Errorf("its log is %q", got)
	}
}

func TestAProgramThatASignalEndsGivesItsNumber(t *testing.T) {
	s := startService(t)
	if _, err := s.Main(t.Context(), sh("kill -9 $$")); err != nil {
		t.Fatal(err)
	}
	if end := s.wait(t); end.exit.Code != 137 || end.exit.Signal != 9 {
		t.Errorf("%+v", end)
	}
}

func TestAProgramThatIsNotThereIsToldAtOnce(t *testing.T) {
	s := startService(t)
	step := sh("")
	step.Argv = []string{"no-such-program"}
	start, err := s.Main(t.Context(), step)
	if err != nil || start.Code != 127 || !strings.Contains(start.Error, "no-such-program") {
		t.Errorf("%+v %v", start, err)
	}
	if end := s.wait(t); end.exit.Code != 127 || end.exit.Error == "" {
		t.Errorf("%+v", end)
	}
}

func TestHealthChecksRunBesideTheProgram(t *testing.T) {
	s := startService(t)
	if _, err := s.Main(t.Context(), sh("exec sleep 600")); err != nil {
		t.Fatal(err)
	}
	for want, script := range map[int]string{0: "true", 1: "false"} {
		if exit, err := s.Run(t.Context(), sh(script), new(strings.Builder), nil); err != nil || exit.Code != want {
			t.Errorf("%s: %+v %v", script, exit, err)
		}
	}
	if _, err := s.Main(t.Context(), sh("echo another")); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("a second program was started: %v", err)
	}
}

func TestAnAgentIsStoppedThroughItsFolder(t *testing.T) {
	s := startService(t)
	file := filepath.Join(s.base, "alive")
	if _, err := s.Main(t.Context(), sh("(while sleep 0.02; do touch '"+file+"'; done) & trap '' TERM; wait")); err != nil {
		t.Fatal(err)
	}
	if !agent.Alive(t.Context(), s.base, "svc") {
		t.Error("it listens, and seems not to")
	}
	if agent.Stopping(s.base, "svc") {
		t.Error("nobody has stopped it")
	}
	for range 2 {
		must(t, agent.Stop(s.base, "svc"))
	}
	if !agent.Stopping(s.base, "svc") {
		t.Error("it is not known that it was stopped")
	}
	if end := s.wait(t); !errors.Is(end.err, agent.ErrStopped) || end.exit.Code != 0 {
		t.Errorf("%+v", end)
	}
	soon(t, "its processes are gone", func() bool {
		_ = os.Remove(file)
		time.Sleep(100 * time.Millisecond)
		_, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist)
	})
	must(t, agent.Stop(s.base, "no-such-folder"))
	must(t, agent.Stop(filepath.Join(s.base, "nowhere"), "svc"))
}

func TestAnAgentWithoutAProgramStartsNone(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	if _, err := c.Main(t.Context(), sh("true")); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("%v", err)
	}
}

func TestTheFirstClaimBringsTheContainersEnvironment(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "job", agent.SharedDir)
	must(t, errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o700)))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	opts := agent.ServerOptions{Socket: filepath.Join(dir, agent.SocketName), Env: []string{"PATH=" + os.Getenv("PATH"), "A=image", "B=image"}}
	go func() { _, _ = agent.NewServer(opts).Serve(ctx) }() // the claim shows whether it serves
	for _, value := range []string{"first", "second"} {
		c := &agent.Client{Dial: agent.SocketDialer(base, "job"), Token: "t", Env: map[string]string{"A": value}, GiveUp: time.Second}
		if _, err := c.Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		if _, err := c.Run(t.Context(), sh("echo $A $B"), &said, nil); err != nil || said.String() != "first image\n" {
			t.Errorf("a step has %q (%v)", said.String(), err)
		}
	}
}

// The kubelet writes the hosts file of a pod anew whenever a container of the pod starts.
func TestWhatOthersUndoIsMadeAgain(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	config := agent.ServeConfig{Hosts: []agent.Host{{Name: "db", IP: "127.0.0.1"}}}
	c, _ := start(t, agent.ServerOptions{Furnish: func() []agent.Undone { return config.Furnish(hosts) }})
	for range 2 {
		must(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o644))
		soon(t, "the name is there", func() bool { return strings.Contains(string(read(t, hosts)), "db") })
	}
	must(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"), 0o644))
	var said strings.Builder
	if exit, err := c.Run(t.Context(), sh("cat '"+hosts+"'"), &said, nil); err != nil || exit.Code != 0 || !strings.Contains(said.String(), "db") {
		t.Errorf("a step saw %q (%+v %v)", said.String(), exit, err)
	}
}

// soon waits until a condition holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
