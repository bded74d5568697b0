package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// prepared is a runner whose job runs in a container of that image.
func prepared(t *testing.T, e *testbed.Engine, image string, env ...string) *fakerunner.Runner {
	t.Helper()
	r := newRunner(t, e, env...)
	ok(t, r.Prepare(ctx(t), r.JobContainer(image)))
	return r
}

// script runs a script step; edit may change what the runner sends.
func script(t *testing.T, r *fakerunner.Runner, text string, edit func(*hook.ScriptStepArgs)) *fakerunner.Result {
	t.Helper()
	args, err := r.Script(text)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(args)
	}
	return r.Call(ctx(t), hook.RunScriptStep, args)
}

// program runs a program in the job container, without any shell.
func program(t *testing.T, r *fakerunner.Runner, edit func(*hook.ScriptStepArgs), argv ...string) *fakerunner.Result {
	t.Helper()
	return script(t, r, "", func(args *hook.ScriptStepArgs) {
		args.EntryPoint, args.EntryPointArgs = argv[0], argv[1:]
		if edit != nil {
			edit(args)
		}
	})
}

// stdout is what a script step that succeeds prints.
func stdout(t *testing.T, r *fakerunner.Runner, text string) string {
	t.Helper()
	return ok(t, r.RunScript(ctx(t), text)).Stdout
}

// failsWith fails the test unless a call failed with that status, and said all the words.
func failsWith(t *testing.T, res *fakerunner.Result, status int, words ...string) {
	t.Helper()
	if res.Err == nil || res.ExitCode != status {
		t.Errorf("status %d, error %v; want status %d\n%s", res.ExitCode, res.Err, status, res.Output())
	}
	contains(t, res.Output(), words...)
}

// pieces are arguments as the runner sends them: a command line, split at blanks.
func pieces(commandLine string) []string { return strings.Split(commandLine, " ") }

// engineSays runs the engine's own program and gives its output.
func engineSays(t *testing.T, e *testbed.Engine, args ...string) string {
	t.Helper()
	out, err := e.Command(ctx(t), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// engineKnows says whether the engine has something of a kind: container, network, volume, image.
func engineKnows(t *testing.T, e *testbed.Engine, kind, name string) bool {
	t.Helper()
	return e.Command(ctx(t), kind, "inspect", name).Run() == nil
}

// containers are the names of a runner's containers.
func containers(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) []string {
	t.Helper()
	return strings.Fields(engineSays(t, e, "ps", "-a", "--filter", "label=io.gantry.runner="+runnerID(r), "--format", "{{.Names}}"))
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Errorf("it never came true: %s", what)
}

// within fails the test if a call took longer.
func within(t *testing.T, limit time.Duration, call func() *fakerunner.Result) *fakerunner.Result {
	t.Helper()
	start := time.Now()
	res := call()
	if took := time.Since(start); took > limit {
		t.Errorf("it took %v, more than %v\n%s", took, limit, res.Output())
	}
	return res
}

// write makes a file, and the folders above it, and gives its path.
func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// image builds an image for a test; it goes when the test ends.
func image(t *testing.T, e *testbed.Engine, dockerfile string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), dockerfile, 0o644)
	name := "gantry.test/made-" + strings.ToLower(rand.Text()[:10]) + ":1"
	engineSays(t, e, "build", "-t", name, dir)
	t.Cleanup(func() {
		c, stop := context.WithTimeout(context.Background(), limit)
		defer stop()
		if out, err := e.Command(c, "rmi", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("removing the test's image: %v\n%s", err, out)
		}
	})
	return name
}

// freePort is a port that nobody has now. Nobody gets it by chance meanwhile either: it is not one that the kernel chooses
// (net.ipv4.ip_local_port_range), as it does for engines, and another one for each call.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(lastPort.Add(1))
		if l, err := net.Listen("tcp", "0.0.0.0:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

var lastPort = func() *atomic.Int32 {
	last := new(atomic.Int32)
	last.Store(15000 + int32(os.Getpid()%10)*1000)
	return last
}()

// ask sends one line to a port of this machine and gives the first line of the answer.
func ask(t *testing.T, network, port, line string) string {
	t.Helper()
	conn, err := net.DialTimeout(network, "127.0.0.1:"+port, 5*time.Second)
	if err != nil {
		t.Errorf("reaching port %s of the host: %v", port, err)
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, line); err != nil {
		t.Errorf("asking port %s of the host: %v", port, err)
	}
	answer := make([]byte, 1024)
	n, err := conn.Read(answer)
	if err != nil {
		t.Errorf("no answer from port %s of the host: %v", port, err)
	}
	first, _, _ := strings.Cut(string(answer[:n]), "\r\n")
	return first
}

// alone makes a call that may run beside others of the same job: it leaves the runner's state alone.
func alone(c context.Context, r *fakerunner.Runner, command hook.Command, args any) *fakerunner.Result {
	var out, err bytes.Buffer
	client := r.Client
	client.Stdout, client.Stderr = &out, &err
	result, failure := client.Call(c, command, args, slices.Clone(r.State))
	return &fakerunner.Result{CallResult: result, Stdout: out.String(), Stderr: err.String(), Err: failure}
}

// state decodes what prepare_job answered as state.
func state(t *testing.T, r *fakerunner.Runner) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(r.State, &s); err != nil {
		t.Fatalf("the state is no object: %v: %s", err, r.State)
	}
	return s
}

// ownerOf is the user of a file; -1 if it cannot be told.
func ownerOf(path string) int {
	info, err := os.Lstat(path)
	if err != nil {
		return -1
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(sys.Uid)
}
