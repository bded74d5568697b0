package externals_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/agent/agenttest"
	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// TestMain makes the test binary the supervisor that its agents start.
func TestMain(m *testing.M) {
	agenttest.Supervise()
	os.Exit(m.Run())
}

// job is a runner with externals, and a container without.
type job struct {
	spec   externals.Spec
	work   string
	client *agent.Client
	sent   int // connections for sending
}

// newJob starts an agent that has its programs from the work folder, or over its connection.
func newJob(t *testing.T, shared bool) *job {
	t.Helper()
	base := t.TempDir()
	j := &job{work: filepath.Join(base, "work")}
	j.spec = externals.Spec{
		Source: filepath.Join(base, "externals"), Prefix: filepath.Join(base, "__e"),
		Root: filepath.Join(base, "container", externals.Dir), State: filepath.Join(base, "state"),
	}
	for _, name := range []string{"node20", "node24_alpine"} {
		script(t, filepath.Join(j.spec.Source, name, "bin/node"), name)
	}
	must(t, os.MkdirAll(filepath.Join(j.work, "_temp/.gantry/x/s"), 0o777))
	must(t, os.Chmod(filepath.Join(j.work, "_temp/.gantry/x/s"), 0o777|os.ModeSticky))
	if shared {
		j.spec.Shared = "_temp/.gantry/x/s/" + externals.Dir
		j.spec.Root = filepath.Join(j.work, j.spec.Shared)
	}
	j.start(t, filepath.Join(base, "socket"))
	return j
}

func (j *job) start(t *testing.T, socket string) {
	t.Helper()
	server := new(worksync.Server)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = agent.NewServer(agent.ServerOptions{ // the claim shows whether it serves
			Socket: socket, Env: os.Environ(), Externals: j.spec.Options(),
			Services: map[string]agent.Service{worksync.Operation: server.Serve},
		}).Serve(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	dial := func(ctx context.Context) (net.Conn, error) {
		j.sent++
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	j.client = &agent.Client{Dial: dial, Token: "t", GiveUp: time.Second}
	if _, err := j.client.Claim(ctx); err != nil {
		t.Fatal(err)
	}
}

// says runs a program that steps ask for.
func (j *job) says(t *testing.T, name string) string {
	t.Helper()
	program := j.spec.Prefix + "/" + name + "/bin/node"
	must(t, j.spec.Provide(t.Context(), j.work, j.client, program))
	var out strings.Builder
	exit, err := j.client.Run(t.Context(), &agent.Step{ID: fmt.Sprint(time.Now().UnixNano()), Argv: []string{program, "x"}}, &out, nil)
	must(t, err)
	if exit.Code != 0 {
		return fmt.Sprintf("status %d: %s", exit.Code, exit.Error)
	}
	return strings.TrimSpace(out.String())
}

func both(t *testing.T, test func(t *testing.T, shared bool)) {
	t.Run("by the work folder", func(t *testing.T) { test(t, true) })
	t.Run("by the agent", func(t *testing.T) { test(t, false) })
}

func TestAStepFindsTheRunnersNode(t *testing.T) {
	both(t, func(t *testing.T, shared bool) {
		j := newJob(t, shared)
		for range 2 {
			if a, b := j.says(t, "node20"), j.says(t, "node24_alpine"); a != "node20 x" || b != "node24_alpine x" {
				t.Errorf("%q, %q", a, b)
			}
		}
		if says := j.says(t, "node99"); !strings.Contains(says, "127") || !strings.Contains(says, "node99") {
			t.Errorf("one that the runner has not: %q", says)
		}
		must(t, j.spec.Provide(t.Context(), j.work, j.client, "sh"))
	})
}

func TestAProgramTravelsOnceForEachJob(t *testing.T) {
	both(t, func(t *testing.T, shared bool) {
		j := newJob(t, shared)
		provide := func() {
			t.Helper()
			must(t, j.spec.Provide(t.Context(), j.work, j.client, j.spec.Prefix+"/node20/bin/node"))
		}
		copied := filepath.Join(j.spec.Root, "node20/bin/node")
		provide()
		first := stat(t, copied)
		provide()
		if !os.SameFile(first, stat(t, copied)) {
			t.Error("it has travelled twice")
		}
		script(t, filepath.Join(j.spec.Source, "node20/bin/node"), "updated")
		provide()
		if says := j.says(t, "node20"); says != "updated x" {
			t.Errorf("after an update of the runner it says %q", says)
		}
		must(t, os.RemoveAll(j.spec.State)) // as with the job's record
		before := stat(t, copied)
		provide()
		if os.SameFile(before, stat(t, copied)) {
			t.Error("what an earlier job has left is used")
		}
	})
}

// What a step has changed in the folder that the host shares with the container is not what the next one runs.
func TestACopyThatWasChangedIsMadeAnew(t *testing.T) {
	j := newJob(t, true)
	j.says(t, "node20")
	script(t, filepath.Join(j.spec.Root, "node20/bin/node"), "forged")
	if says := j.says(t, "node20"); says != "node20 x" {
		t.Errorf("it says %q", says)
	}
}

func TestNothingIsWrittenThroughWhatAStepHasPutThere(t *testing.T) {
	for name, plant := range map[string]func(root, outside string) error{
		"a link": func(root, outside string) error { return os.Symlink(outside, root) },
		"a link further down": func(root, outside string) error {
			return errors.Join(os.Mkdir(root, 0o755), os.Symlink(outside, root+"/node20"))
		},
		"a folder open to all": func(root, _ string) error { return errors.Join(os.Mkdir(root, 0o777), os.Chmod(root, 0o777)) },
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t, true)
			outside := filepath.Join(j.work, "outside")
			must(t, errors.Join(os.Mkdir(outside, 0o755), plant(j.spec.Root, outside)))
			if err := j.spec.Provide(t.Context(), j.work, j.client, j.spec.Prefix+"/node20/bin/node"); err == nil {
				t.Error("nobody has noticed")
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside there is %v, %v", left, err)
			}
		})
	}
}

func script(t *testing.T, path, says string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("#!/bin/sh\necho "+says+" $*\n"), 0o755))
	must(t, os.Chmod(path, 0o755))
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
