package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/agent/agenttest"
)

// The test binary is its own supervisor: the agent starts /proc/self/exe.
func TestMain(m *testing.M) {
	if os.Getenv(serveAnyway) != "" {
		_, err := agent.NewServer(agent.ServerOptions{Socket: os.Getenv(serveAnyway)}).Serve(context.Background())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(7)
	}
	agenttest.Supervise()
	if len(os.Args) > 1 && os.Args[1] == "pipe" {
		config, err := agent.ParseServe(os.Args[2:])
		if err == nil {
			err = agent.Pipe(os.Stdin, os.Stdout, config.SocketPath())
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const limit = 15 * time.Second

// serveAnyway names a variable that makes this program one which does not know that it is to be a supervisor.
const serveAnyway = "AGENT_TEST_SERVE"

// An agent starts /proc/self/exe as its supervisors. Without this, a program that is not made for it never ends.
func TestAProgramThatWasToBeASupervisorDoesNotServe(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = []string{"gantry-agent", "supervise"}
	cmd.Env = []string{serveAnyway + "=" + filepath.Join(t.TempDir(), "socket")}
	var exit *exec.ExitError
	if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v: %s", err, out)
	}
}

// start runs an agent and gives a client that has claimed it.
func start(t *testing.T, opts agent.ServerOptions) (*agent.Client, string) {
	t.Helper()
	base := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "job", agent.SharedDir), 0o700))
	must(t, os.Chmod(filepath.Join(base, "job"), 0o700))
	opts.Socket = filepath.Join(base, "job", agent.SharedDir, agent.SocketName)
	if opts.Env == nil {
		opts.Env = []string{"PATH=" + os.Getenv("PATH"), "FROM=container", "BOTH=container"}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := agent.NewServer(opts).Serve(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	c := &agent.Client{Dial: agent.SocketDialer(base, "job"), Token: "secret", GiveUp: 2 * time.Second}
	claim, done := context.WithTimeout(ctx, limit)
	defer done()
	if _, err := c.Claim(claim); err != nil {
		t.Fatal(err)
	}
	return c, base
}

var ids atomic.Int64

func sh(script string) *agent.Step {
	return &agent.Step{
		ID: strconv.FormatInt(ids.Add(1), 10), Argv: []string{"sh", "-c", script},
		OrphanGrace: 200 * time.Millisecond, CancelGrace: time.Second,
	}
}

func run(t *testing.T, c *agent.Client, step *agent.Step) (string, agent.Exit) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	var out bytes.Buffer
	exit, err := c.Run(ctx, step, &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), exit
}

func TestOutputKeepsTheOrderOfBothStreams(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	out, exit := run(t, c, sh(`for i in 1 2 3 4 5; do echo out$i; echo err$i >&2; done; printf no-newline`))
	if want := "out1\nerr1\nout2\nerr2\nout3\nerr3\nout4\nerr4\nout5\nerr5\nno-newline"; out != want || exit.Code != 0 {
		t.Errorf("got %q, status %d", out, exit.Code)
	}
}

func TestExitStatusIsTheStepsOwn(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	for script, code := range map[string]int{"exit 0": 0, "exit 42": 42, "kill -9 $$": 137, "kill -TERM $$": 143} {
		if _, exit := run(t, c, sh(script)); exit.Code != code {
			t.Errorf("%q ended with %d, want %d", script, exit.Code, code)
		}
	}
}

func TestAProgramThatCannotStartSaysWhy(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	plain := filepath.Join(base, "plain")
	must(t, os.WriteFile(plain, []byte("x"), 0o600))
	for _, tc := range []struct {
		argv []string
		dir  string
		code int
		word string
	}{
		{[]string{"no-such-program"}, "", 127, "no-such-program"},
		{[]string{"/no/such/program"}, "", 127, "/no/such/program"},
		{[]string{plain}, "", 126, "permission denied"},
		{[]string{"true"}, "/no/such/folder", 126, "/no/such/folder"},
	} {
		_, exit := run(t, c, &agent.Step{ID: strconv.FormatInt(ids.Add(1), 10), Argv: tc.argv, Dir: tc.dir})
		if exit.Code != tc.code || !strings.Contains(exit.Error, tc.word) {
			t.Errorf("%q in %q: status %d, error %q", tc.argv, tc.dir, exit.Code, exit.Error)
		}
	}
}

func TestEnvironmentIsTheContainersAndTheSteps(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	step := sh(`echo "$FROM $BOTH $STEP"; echo "$PATH"; pwd; cat`)
	odd := "a'b\"c$d`e\nf=g\\"
	step.Env = map[string]string{"BOTH": "step", "STEP": odd, "PATH": "/ignored"}
	step.PrependPath = []string{"/late", "/early"}
	step.Dir = "/"
	out, _ := run(t, c, step)
	if want := "container step " + odd + "\n/late:/early:" + os.Getenv("PATH") + "\n/\n"; out != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
}

func TestAServerLeftInTheBackgroundGoesOnAndHoldsNothing(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	began := time.Now()
	out, _ := run(t, c, sh(`sleep 300 & echo $! > `+base+`/pid; echo started`))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the step was held for %v", took)
	}
	if out != "started\n" {
		t.Errorf("output %q", out)
	}
	pid := strings.TrimSpace(string(read(t, base+"/pid")))
	out, _ = run(t, c, sh("kill -0 "+pid+" && echo alive; kill "+pid))
	if out != "alive\n" {
		t.Errorf("the background process has not gone on: %q", out)
	}
}

func TestOutputOfAProcessSubstitutionIsNotLost(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash")
	}
	c, _ := start(t, agent.ServerOptions{})
	step := sh("")
	step.Argv = []string{"bash", "-c", `seq 1 200 > >(while read -r l; do :; done; echo late)`}
	if out, _ := run(t, c, step); out != "late\n" {
		t.Errorf("got %q", out)
	}
}

func TestCancelEndsProcessesThatTriedToEscape(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	mark := strconv.FormatInt(time.Now().UnixNano(), 10)[8:]
	script := `trap "" INT TERM
		env -i setsid sh -c '(trap "" TERM INT; sleep 1` + mark + `) & exit 0' </dev/null >/dev/null 2>&1
		setsid nohup sleep 2` + mark + ` >/dev/null 2>&1 &
		touch ` + base + `/ready; while :; do sleep 3` + mark + `; done`
	signals := make(chan os.Signal, 1)
	go func() {
		waitFor(t, "the step", func() bool { _, err := os.Stat(base + "/ready"); return err == nil && alive(mark) >= 2 })
		signals <- syscall.SIGINT
	}()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	exit, err := c.Run(ctx, sh(script), io.Discard, signals)
	if err != nil || exit.Code != 137 {
		t.Errorf("status %d, %v", exit.Code, err)
	}
	if n := alive(mark); n != 0 {
		t.Errorf("%d processes are alive after the cancelled step has ended", n)
	}
}

func TestAStepWhoseClientVanishedIsEnded(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	mark := strconv.FormatInt(time.Now().UnixNano(), 10)[8:]
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Run(ctx, sh(`trap "" TERM; touch `+base+`/ready; while :; do sleep 9`+mark+`; done`), io.Discard, nil)
		done <- err
	}()
	waitFor(t, "the step", func() bool { _, err := os.Stat(base + "/ready"); return err == nil && alive(mark) > 0 })
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	waitFor(t, "the end of the step", func() bool { return alive(mark) == 0 })
}

func TestTheNextStepRunsAfterOneKilledEverything(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	// Stands for `kill -9 -1` as root in a container: the waiting supervisor dies too.
	run(t, c, sh(fmt.Sprintf(`pkill -9 -P %d -f "gantry-agent supervise"`, os.Getpid())))
	if out, exit := run(t, c, sh("echo fine")); out != "fine\n" || exit.Code != 0 {
		t.Errorf("got %q, %+v", out, exit)
	}
}

func TestAStepThatKillsItsSupervisorAtOnceRunsOnce(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	for i := range 20 {
		ran := filepath.Join(base, strconv.Itoa(i))
		if _, exit := run(t, c, sh("echo ran >> "+ran+"; kill -9 $PPID")); exit.Code != 137 {
			t.Errorf("%+v", exit)
		}
		if text, err := os.ReadFile(ran); err != nil || string(text) != "ran\n" {
			t.Fatalf("it ran like this: %q, %v", text, err)
		}
	}
}

// flaky cuts every connection after a number of bytes.
func flaky(dial agent.Dialer, budget int, cuts *atomic.Int64) agent.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, left: budget, cuts: cuts}, nil
	}
}

type cutConn struct {
	net.Conn
	left int
	cuts *atomic.Int64
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.cuts.Add(1)
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestOutputIsWholeWhenTheLinkIsCutAtAnyByte(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	want := func() string {
		var b strings.Builder
		for i := 1; i <= 3000; i++ {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}()
	for _, budget := range []int{10, 69, 1021, 30011, 70001} {
		var cuts atomic.Int64
		cut := *c
		cut.Dial = flaky(c.Dial, budget, &cuts)
		if budget < 100 { // nothing but a header or an exit record fits: give it room now and then
			cut.Dial = alternate(cut.Dial, flaky(c.Dial, 20000, &cuts))
		}
		step := sh(`i=1; while [ $i -le 3000 ]; do echo "line $i"; i=$((i+1)); done; exit 7`)
		out, exit := run(t, &cut, step)
		if out != want || exit.Code != 7 || cuts.Load() == 0 && budget < len(want) {
			t.Errorf("cut every %d bytes (%d times): %d bytes of output, want %d; status %d", budget, cuts.Load(), len(out), len(want), exit.Code)
		}
	}
}

func alternate(a, b agent.Dialer) agent.Dialer {
	var n atomic.Int64
	return func(ctx context.Context) (net.Conn, error) {
		if n.Add(1)%2 == 1 {
			return a(ctx)
		}
		return b(ctx)
	}
}

func TestAGigabyteTakesBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves a gigabyte")
	}
	c, _ := start(t, agent.ServerOptions{})
	sum := sha256.New()
	var n int64
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	exit, err := c.Run(ctx, sh(`dd if=/dev/zero bs=1M count=1024 2>/dev/null`), io.MultiWriter(sum, counter{&n}), nil)
	if err != nil || exit.Code != 0 || n != 1<<30 {
		t.Errorf("%d bytes, %+v, %v", n, exit, err)
	}
	var usage syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	if usage.Maxrss > 200<<10 { // agent, client and the test framework in one process, perhaps under -race
		t.Errorf("peak memory %d KiB", usage.Maxrss)
	}
}

type counter struct{ n *int64 }

func (c counter) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }

func TestSixtyFourStepsAtOnce(t *testing.T) {
	c, _ := start(t, agent.ServerOptions{})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			var out bytes.Buffer
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			exit, err := c.Run(ctx, sh(fmt.Sprintf("echo %d; exit %d", i, i)), &out, nil)
			if err != nil || out.String() != fmt.Sprintln(i) || exit.Code != i {
				t.Errorf("step %d: %q, %+v, %v", i, out.String(), exit, err)
			}
		})
	}
	wg.Wait()
}

func TestTheSocketComesBackAfterTheJobDeletedIt(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	must(t, os.Remove(filepath.Join(base, "job", agent.SharedDir, agent.SocketName)))
	if out, _ := run(t, c, sh("echo back")); out != "back\n" {
		t.Errorf("got %q", out)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	stranger := *c
	stranger.Token = "guess"
	if _, err := stranger.Hello(t.Context()); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("hello with a wrong token: %v", err)
	}
	if _, err := stranger.Claim(t.Context()); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("a second claim: %v", err)
	}
	if _, err := stranger.Run(t.Context(), sh("touch "+base+"/done"), io.Discard, nil); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("a step with a wrong token: %v", err)
	}
	if _, err := os.Stat(base + "/done"); err == nil {
		t.Error("the step of a stranger has run")
	}
	must(t, os.Chmod(filepath.Join(base, "job"), 0o755))
	if _, err := c.Hello(t.Context()); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("a folder that others can enter was used: %v", err)
	}
}

func TestAnAgentThatIsGoneIsReportedAsLost(t *testing.T) {
	c := &agent.Client{Dial: agent.SocketDialer(t.TempDir(), "job"), GiveUp: 50 * time.Millisecond}
	var lost *agent.LostError
	if _, err := c.Run(t.Context(), sh("true"), io.Discard, nil); !errors.As(err, &lost) {
		t.Errorf("got %v", err)
	}
}

func TestOnceEndsWithItsStep(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "job", agent.SharedDir), 0o700))
	socket := filepath.Join(base, "job", agent.SharedDir, agent.SocketName)
	ended := make(chan agent.Exit, 1)
	go func() {
		exit, err := agent.NewServer(agent.ServerOptions{Socket: socket, Once: true, Env: os.Environ()}).Serve(context.Background())
		if err != nil {
			t.Error(err)
		}
		ended <- exit
	}()
	c := &agent.Client{Dial: agent.SocketDialer(base, "job"), Token: "x", GiveUp: time.Second}
	if _, err := c.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, c, sh("exit 5"))
	select {
	case exit := <-ended:
		if exit.Code != 5 {
			t.Errorf("status %d", exit.Code)
		}
	case <-time.After(limit):
		t.Error("the agent has not ended")
	}
}

// alive counts processes with mark in their command line, zombies aside.
func alive(mark string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		argv := strings.Split(string(data), "\x00")
		if argv[0] == "sleep" && strings.HasSuffix(strings.Join(argv, " "), mark+" ") {
			n++
		}
	}
	return n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
