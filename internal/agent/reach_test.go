package agent_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

// certificates makes a job's, with the agent's part in a folder as it is mounted into the container.
func certificates(t testing.TB) (agent.Certificates, string) {
	t.Helper()
	certs, err := agent.NewCertificates(time.Now())
	must(t, err)
	dir := t.TempDir()
	for name, text := range certs.Files() {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	return certs, dir
}

// startTLS runs an agent that listens on an address, and gives that address with a client that has claimed it.
func startTLS(t *testing.T) (*agent.Client, agent.Address) {
	t.Helper()
	certs, dir := certificates(t)
	l, err := agent.ServeConfig{Listen: "127.0.0.1:0", TLS: dir}.Listener()
	must(t, err)
	t.Cleanup(func() { l.Close() })
	c, _ := start(t, agent.ServerOptions{Listener: l})
	address := certs.Client(l.Addr().String())
	c.Dial = tlsDialer(t, address)
	return c, address
}

func tlsDialer(t testing.TB, a agent.Address) agent.Dialer {
	t.Helper()
	dial, err := agent.TLSDialer(a)
	must(t, err)
	return dial
}

// pipeDialer reaches the agent below base by a program with a pipe, as an engine does that can start programs in a
// container. Closing the connection closes the program's standard input, no more.
func pipeDialer(base string) agent.Dialer {
	return func(context.Context) (net.Conn, error) {
		cmd := exec.Command("/proc/self/exe", "pipe", "--dir", filepath.Join(base, "job", agent.SharedDir))
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return agent.PipeConn(&streams{Reader: out, WriteCloser: in, cmd: cmd}), nil
	}
}

type streams struct {
	io.Reader
	io.WriteCloser
	cmd *exec.Cmd
}

func (s *streams) Close() error {
	err := s.WriteCloser.Close()
	go s.cmd.Wait() // it ends by itself: a test would hang on output that it holds open
	return err
}

// reaches are the ways to an agent in a container whose folders are out of the hook's reach.
func reaches(t *testing.T) map[string]func(t *testing.T) *agent.Client {
	t.Helper()
	return map[string]func(t *testing.T) *agent.Client{
		"tls": func(t *testing.T) *agent.Client { c, _ := startTLS(t); return c },
		"pipe": func(t *testing.T) *agent.Client {
			c, base := start(t, agent.ServerOptions{})
			c.Dial = pipeDialer(base)
			return c
		},
	}
}

func TestStepsRunByAnyReach(t *testing.T) {
	for name, reach := range reaches(t) {
		t.Run(name, func(t *testing.T) {
			c := reach(t)
			if _, err := c.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Heartbeat = 20 * time.Millisecond // so that some come, and connections that miss them are made again
			out, exit := run(t, c, sh("echo out; sleep 0.3; echo err >&2; exit 3"))
			if out != "out\nerr\n" || exit.Code != 3 {
				t.Errorf("%q, %+v", out, exit)
			}
		})
	}
}

func TestOnlyTheJobsHookGetsIn(t *testing.T) {
	_, address := startTLS(t)
	others, _ := certificates(t)
	job, dir := certificates(t) // stands for what a step reads in its container
	l, err := agent.ServeConfig{Listen: "127.0.0.1:0", TLS: dir}.Listener()
	must(t, err)
	defer l.Close()
	go agent.NewServer(agent.ServerOptions{Socket: filepath.Join(t.TempDir(), "a"), Listener: l}).Serve(t.Context())
	thief := job.Client(l.Addr().String())
	thief.Cert, thief.Key = job.ServerCert, job.ServerKey
	for name, a := range map[string]agent.Address{
		"another job's client":            others.Client(address.Address),
		"another job's agent":             job.Client(address.Address),
		"a client with the agent's key":   thief,
		"a client without certificate":    {Address: address.Address},
		"a client that trusts all agents": {Address: address.Address, CA: address.CA, Cert: others.ClientCert, Key: others.ClientKey},
	} {
		t.Run(name, func(t *testing.T) {
			dial, err := agent.TLSDialer(a)
			if a.Cert == nil {
				dial, err = func(context.Context) (net.Conn, error) {
					return tls.Dial("tcp", a.Address, &tls.Config{InsecureSkipVerify: true})
				}, nil
			}
			must(t, err)
			c := agent.Client{Dial: dial, Token: "secret"}
			if hello, err := c.Hello(t.Context()); err == nil {
				t.Errorf("it was let in: %+v", hello)
			}
		})
	}
}

func TestCertificatesThatAreNoneAreRefused(t *testing.T) {
	certs, dir := certificates(t)
	for name, text := range map[string]string{agent.ClientCAName: "x", agent.ServerCertName: "", agent.ServerKeyName: "x"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		if _, err := agent.ServerTLS(dir); err == nil {
			t.Errorf("%s of %q was taken", name, text)
		}
		must(t, os.WriteFile(filepath.Join(dir, name), certs.Files()[name], 0o600))
	}
	if _, err := agent.ServerTLS(dir); err != nil {
		t.Error(err)
	}
	if _, err := agent.TLSDialer(agent.Address{Address: "127.0.0.1:1"}); err == nil {
		t.Error("an address without certificates was taken")
	}
}

// mute lets a connection go on without a byte, from when it is told so.
type mute struct {
	net.Conn
	silent *atomic.Bool
	closed chan struct{}
}

func (m *mute) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.silent.Load() {
		<-m.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (m *mute) Close() error {
	if m.silent.Swap(false) {
		close(m.closed)
	}
	return m.Conn.Close()
}

func TestALinkThatFallsSilentIsMadeAgain(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	dial, dialled := c.Dial, 0
	c.Heartbeat = 20 * time.Millisecond
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if dialled++; err != nil || dialled > 1 {
			return conn, err
		}
		m := &mute{Conn: conn, silent: new(atomic.Bool), closed: make(chan struct{})}
		go func() {
			waitFor(t, "the step", func() bool { _, err := os.Stat(base + "/ready"); return err == nil })
			m.silent.Store(true)
			must(t, os.WriteFile(base+"/go", nil, 0o600))
		}()
		return m, nil
	}
	step := sh(`echo one; touch ` + base + `/ready; until [ -e ` + base + `/go ]; do sleep 0.01; done; echo two`)
	step.OrphanGrace = limit
	if out, exit := run(t, c, step); out != "one\ntwo\n" || exit.Code != 0 || dialled < 2 {
		t.Errorf("%q, %+v, dialled %d times", out, exit, dialled)
	}
}

func TestAClientThatFallsSilentIsGone(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	c.Heartbeat = 20 * time.Millisecond
	client, err := c.Dial(t.Context())
	must(t, err)
	defer client.Close()
	silent := *c
	silent.Dial = func(context.Context) (net.Conn, error) { return deaf{client}, nil }
	silent.GiveUp = time.Nanosecond
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go silent.Run(ctx, sh(`trap "touch `+base+`/ended; exit" TERM; touch `+base+`/ready; sleep 100 & wait`), io.Discard, nil)
	for _, file := range []string{"/ready", "/ended"} {
		waitFor(t, file, func() bool { _, err := os.Stat(base + file); return err == nil })
	}
}

// deaf sends the request, and nothing after it.
type deaf struct{ net.Conn }

func (d deaf) Write(p []byte) (int, error) {
	if p[0] != 'q' {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

func (d deaf) Close() error { return nil }

func TestAStepIsEndedForWhomNobodyWillCome(t *testing.T) {
	for name, leave := range map[string]bool{"with its client": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			c, base := start(t, agent.ServerOptions{})
			step := sh(`trap "touch ` + base + `/ended; exit" TERM; touch ` + base + `/ready; sleep 100 & wait`)
			step.OrphanGrace = limit * 10
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go c.Run(ctx, step, io.Discard, nil)
			waitFor(t, "the step", func() bool { _, err := os.Stat(base + "/ready"); return err == nil })
			if leave {
				stop()
			}
			must(t, c.End(t.Context(), step.ID))
			must(t, c.End(t.Context(), "unknown"))
			waitFor(t, "its end", func() bool { _, err := os.Stat(base + "/ended"); return err == nil })
		})
	}
}

func TestAStepThatIsForgottenIsNotRunAgain(t *testing.T) {
	c, base := start(t, agent.ServerOptions{})
	step := sh("echo ran >> " + base + "/ran")
	run(t, c, step)
	waitFor(t, "the agent to forget", func() bool {
		_, err := c.Resume(t.Context(), step, 0, io.Discard, nil)
		return errors.Is(err, agent.ErrForgotten)
	})
	if _, err := c.Run(t.Context(), step, io.Discard, nil); !errors.Is(err, agent.ErrForgotten) {
		t.Error(err)
	}
	if text := string(read(t, base+"/ran")); strings.Count(text, "ran") != 1 {
		t.Errorf("it ran like this: %q", text)
	}
}

// A folder in a volume of the runner's pod can lie deep.
func TestAnAgentServesAtAnyLengthOfPath(t *testing.T) {
	deep, err := os.MkdirTemp("", "")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(deep) })
	long := filepath.Join(deep, strings.Repeat("long/", 40))
	must(t, os.MkdirAll(long, 0o755))
	t.Setenv("TMPDIR", long)
	c, base := start(t, agent.ServerOptions{})
	if len(base) < 200 {
		t.Fatalf("%s is short", base)
	}
	if out, _ := run(t, c, sh("echo here")); out != "here\n" {
		t.Errorf("a step prints %q", out)
	}
}
