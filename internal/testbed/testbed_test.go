package testbed_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// call runs the engine's program and returns what it printed and its exit status. It works in clean-ups too.
func call(t *testing.T, e *testbed.Engine, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	cmd := e.Command(ctx, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	if status = cmd.ProcessState.ExitCode(); status >= 125 {
		t.Fatalf("%s: status %d: %s", strings.Join(cmd.Args, " "), status, stderr.String())
	}
	return string(text), status
}

func eachEngine(t *testing.T, test func(*testing.T, *testbed.Engine)) {
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) { test(t, e) })
	}
}

func TestImagesKeepTheirPromises(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		for _, c := range []struct {
			name   string
			args   []string
			want   string
			status int
		}{
			{"busybox has applets on the usual path", []string{testbed.Busybox, "which", "nc"}, "/usr/bin/nc\n", 0},
			{"busybox has no bash", []string{testbed.Busybox, "which", "bash"}, "", 1},
			{"bash is bash", []string{testbed.Bash, "bash", "-c", "echo ${BASH_VERSION:+yes}"}, "yes\n", 0},
			{"alpine says so", []string{testbed.Alpine, "grep", "^ID=", "/etc/os-release"}, "ID=alpine\n", 0},
			{"scratch prints its arguments", []string{"--env", "EXIT=7", testbed.Scratch, "a b", "c"}, "a b\nc\n", 7},
			{"nonroot is user 1234", []string{testbed.NonRoot, "sh", "-c", "id -u; id -g; id -un"}, "1234\n1234\napp\n", 0},
			{"crash ends with 3", []string{testbed.Crash}, "starting\n", 3},
			{"entry has an entry point and a command", []string{testbed.Entry}, "entry cmd\n", 0},
			{"entry has a volume", []string{"--entrypoint", "/bin/cat", testbed.Entry, "/data/seed"}, "from the image\n", 0},
		} {
			t.Run(c.name, func(t *testing.T) {
				out, status := call(t, e, append([]string{"run", "--rm"}, c.args...)...)
				if out != c.want || status != c.status {
					t.Errorf("printed %q with status %d, want %q with %d", out, status, c.want, c.status)
				}
			})
		}
	})
}

func TestImagesAreTheSameEverywhere(t *testing.T) {
	ids := map[string]string{}
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		for _, image := range []string{testbed.Busybox, testbed.Bash, testbed.Redis, testbed.Entry} {
			out, _ := call(t, e, "image", "inspect", "--format", "{{.ID}}", image)
			id := strings.TrimPrefix(strings.TrimSpace(out), "sha256:")
			if ids[image] == "" {
				ids[image] = id
			}
			if id != ids[image] {
				t.Errorf("%s is %s here and %s elsewhere", image, id, ids[image])
			}
		}
	})
}

func TestServiceIsReachedByName(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		name := "testbed-" + e.Label
		call(t, e, "network", "create", name)
		t.Cleanup(func() { call(t, e, "network", "rm", name) })
		call(t, e, "run", "--detach", "--name", name, "--network", name, "--network-alias", "redis", testbed.Redis)
		t.Cleanup(func() { call(t, e, "rm", "--force", name) })
		out, _ := call(t, e, "run", "--rm", "--network", name, testbed.Busybox,
			"sh", "-c", `until printf 'SET n 41\r\nINCR n\r\n' | nc -w 2 redis 6379; do usleep 20000; done`)
		if want := "+OK\r\n:42\r\n"; out != want {
			t.Errorf("redis answers %q, want %q", out, want)
		}
	})
}

func TestHealthChecksAreInTheImages(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		for image, want := range map[string]string{testbed.Redis: "ping", testbed.Sick: "/bin/false"} {
			name := "testbed-health-" + e.Label
			call(t, e, "create", "--name", name, image)
			out, _ := call(t, e, "inspect", "--format", "{{.Config.Healthcheck.Test}}", name)
			call(t, e, "rm", "--force", name)
			if !strings.Contains(out, want) {
				t.Errorf("the health check of %s is %q, want one with %q", image, out, want)
			}
		}
	})
}

func TestPublishedPortIsReached(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		name := "testbed-port-" + e.Label
		call(t, e, "run", "--detach", "--name", name, "--publish", "127.0.0.1::6379", testbed.Redis)
		t.Cleanup(func() { call(t, e, "rm", "--force", name) })
		out, _ := call(t, e, "port", name, "6379")
		conn, err := net.Dial("tcp", strings.TrimSpace(out))
		for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
			conn, err = net.Dial("tcp", strings.TrimSpace(out))
		}
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

func TestRegistryAsksForThePassword(t *testing.T) {
	registry := testbed.Registry(t)
	eachEngine(t, func(t *testing.T, e *testbed.Engine) {
		pull := func() error { return e.Command(t.Context(), "pull", registry.Image).Run() }
		if pull() == nil {
			t.Fatal("a pull without a password succeeds")
		}
		login := e.Command(t.Context(), "login", "--username", registry.User, "--password-stdin", registry.Addr)
		login.Stdin = strings.NewReader(registry.Password)
		if out, err := login.CombinedOutput(); err != nil {
			t.Fatalf("login: %v: %s", err, out)
		}
		t.Cleanup(func() {
			call(t, e, "logout", registry.Addr)
			call(t, e, "rmi", registry.Image)
		})
		if err := pull(); err != nil {
			t.Errorf("a pull with the password: %v", err)
		}
	})
}

func TestRunAsIsTheUser(t *testing.T) {
	e := testbed.PodmanRootless(t)
	if testbed.RunAs(t, e, "EXTRA=carried") {
		return
	}
	if os.Getuid() != e.UID || os.Getenv("HOME") != e.Home || os.Getenv("EXTRA") != "carried" {
		t.Errorf("runs as %d at home in %q with EXTRA=%q", os.Getuid(), os.Getenv("HOME"), os.Getenv("EXTRA"))
	}
	if out, _ := call(t, e, "run", "--rm", testbed.Busybox, "echo", "hi"); out != "hi\n" {
		t.Errorf("podman run prints %q", out)
	}
	if err := os.WriteFile("mark", nil, 0o600); err != nil {
		t.Errorf("the user cannot write where the test runs: %v", err)
	}
}

func TestRunAsRunsTheSubtestThatCalls(t *testing.T) {
	e := testbed.PodmanRootless(t)
	t.Run("a sub.test", func(t *testing.T) {
		if testbed.RunAs(t, e) {
			return
		}
		if os.Getuid() != e.UID {
			t.Errorf("runs as %d", os.Getuid())
		}
	})
}

// TestRunAsCarriesTheVerdict runs the test below, in this test binary, where it fails or is skipped as asked.
func TestRunAsCarriesTheVerdict(t *testing.T) {
	testbed.PodmanRootless(t)
	for _, c := range []struct{ verdict, mark string }{
		{"fail", "--- FAIL: TestVerdict"}, {"skip", "--- SKIP: TestVerdict"}, {"pass", "--- PASS: TestVerdict"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVerdict$", "-test.v")
		cmd.Env = append(os.Environ(), "GANTRY_TEST_VERDICT="+c.verdict)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (c.verdict == "fail") || !hasLine(string(out), c.mark) {
			t.Errorf("the child's %s gives %v and\n%s", c.verdict, err, out)
		}
	}
}

func hasLine(text, prefix string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, prefix) })
}

// TestVerdict is only run by the test above.
func TestVerdict(t *testing.T) {
	verdict := os.Getenv("GANTRY_TEST_VERDICT")
	if verdict == "" {
		t.Skip("part of TestRunAsCarriesTheVerdict")
	}
	if testbed.RunAs(t, testbed.PodmanRootless(t), "GANTRY_TEST_VERDICT="+verdict) {
		return
	}
	switch verdict {
	case "fail":
		t.Error("as asked")
	case "skip":
		t.Skip("as asked")
	}
}

// verdicts records what a test would have done.
type verdicts struct {
	testing.TB
	skipped, failed bool
}

func (v *verdicts) Helper()               {}
func (v *verdicts) Skipf(string, ...any)  { v.skipped = true; panic(v) }
func (v *verdicts) Fatalf(string, ...any) { v.failed = true; panic(v) }

func TestMissingEngineSkipsAtTheDeskAndFailsInCI(t *testing.T) {
	t.Setenv(testbed.EnvDocker, "")
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		v := &verdicts{TB: t}
		func() {
			defer func() { _ = recover() }()
			testbed.Docker(v)
		}()
		if inCI := ci == "true"; v.failed != inCI || v.skipped == inCI {
			t.Errorf("with CI=%q: failed %v, skipped %v", ci, v.failed, v.skipped)
		}
	}
}
