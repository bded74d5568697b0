package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// without is an environment without some variables.
func without(env []string, names ...string) []string {
	var rest []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		keep := true
		for _, n := range names {
			keep = keep && n != name
		}
		if keep {
			rest = append(rest, entry)
		}
	}
	return rest
}

// needsEngine are the calls that cannot do without an engine.
func needsEngine(t *testing.T, r *fakerunner.Runner) map[string]*fakerunner.Result {
	t.Helper()
	return map[string]*fakerunner.Result{
		"prepare_job":        r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)),
		"run_container_step": r.Call(ctx(t), hook.RunContainerStep, r.ContainerStep(testbed.Busybox)),
		"cleanup_job":        r.Cleanup(ctx(t)),
	}
}

// engineless is a runner whose hook finds no engine that works.
func engineless(t *testing.T, env ...string) *fakerunner.Runner {
	t.Helper()
	dir := t.TempDir()
	r, err := fakerunner.New(filepath.Join(dir, "runner"), filepath.Join(os.Getenv(envBin), "hook.sh"), append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + dir, "GANTRY_STATE_DIR=" + filepath.Join(dir, "state"),
	}, env...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnEngineThatIsNotThereIsExplained(t *testing.T) {
	dir := t.TempDir()
	none := "DOCKER_HOST=unix://" + dir + "/none.sock"
	text := write(t, filepath.Join(dir, "text"), "no program\n", 0o644)
	for _, c := range []struct {
		name, whose string
		env, words  []string
	}{
		{"its program is missing", "configuration",
			[]string{"GANTRY_ENGINE=docker", "GANTRY_ENGINE_PATH=" + dir + "/docker"}, []string{dir + "/docker"}},
		{"its program is a text", "configuration",
			[]string{"GANTRY_ENGINE=docker", "GANTRY_ENGINE_PATH=" + text}, []string{text}},
		{"its program is a folder", "configuration",
			[]string{"GANTRY_ENGINE=podman", "GANTRY_ENGINE_PATH=" + dir}, []string{dir}},
		{"its daemon is down", "infrastructure",
			[]string{"GANTRY_ENGINE=docker", none}, []string{"command: ", "none.sock", "DOCKER_HOST"}},
		{"its daemon refuses connections", "infrastructure",
			[]string{"GANTRY_ENGINE=docker", "DOCKER_HOST=tcp://127.0.0.1:" + freePort(t)}, []string{"command: ", "127.0.0.1"}},
		{"podman's service is down", "infrastructure",
			[]string{"GANTRY_ENGINE=podman", "CONTAINER_HOST=unix://" + dir + "/none.sock"}, []string{"command: ", "none.sock"}},
		{"podman cannot read its configuration", "infrastructure",
			[]string{"GANTRY_ENGINE=podman", "CONTAINERS_CONF=" + dir + "/none.conf"}, []string{"command: ", "none.conf"}},
		{"none of them works", "infrastructure",
			[]string{none, "CONTAINERS_CONF=" + dir + "/none.conf"}, []string{"docker: ", "podman: ", "command: "}},
		{"its name is none", "configuration", []string{"GANTRY_ENGINE=dcoker"}, []string{"dcoker", "docker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := engineless(t, c.env...)
			for command, res := range needsEngine(t, r) {
				t.Run(command, func(t *testing.T) { explains(t, res, c.whose, c.words...) })
			}
			if left, _ := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry/*")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// The daemon's socket belongs to root, and the runner is an ordinary user.
func TestASocketThatMayNotBeUsedIsExplained(t *testing.T) {
	docker := testbed.Docker(t)
	ordinary := testbed.PodmanRootless(t)
	if os.Geteuid() == 0 {
		socket := filepath.Join(ordinary.Home, "closed-"+fmt.Sprint(os.Getpid())+".sock")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := os.Chmod(socket, 0o600); err != nil {
			t.Fatal(err)
		}
		testbed.RunAs(t, ordinary, envBin+"="+os.Getenv(envBin), "CLOSED_SOCKET="+socket)
		return
	}
	r := engineless(t, "GANTRY_ENGINE="+docker.Name, "DOCKER_HOST=unix://"+os.Getenv("CLOSED_SOCKET"))
	for command, res := range needsEngine(t, r) {
		t.Run(command, func(t *testing.T) {
			explains(t, res, "infrastructure", "permission denied", "command: ", "usermod -aG docker")
		})
	}
}

// The author of a workflow sees the place of the mistake, and nothing has been made.
func TestMistakesInOptionsAndPortsAreShown(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		for _, c := range []struct {
			name, options, port, source string
			words                       []string
		}{
			{name: "an unknown flag", options: "--cpus 1 --hea-cmd x",
				words: []string{"  | --cpus 1 --hea-cmd x\n", "  |          ^^^^^^^^^", "--health-cmd"}},
			{name: "a quote without end", options: `--cpus 1 --health-cmd "redis-cli ping`,
				words: []string{"container.options", "^", "quote"}},
			{name: "a flag without its value", options: "--cpus", words: []string{"^^^^^^", "--cpus"}},
			{name: "a word that is no flag", options: "--cpus 1 alpine", words: []string{"^^^^^^", "alpine"}},
			{name: "a port that is a word", port: "http", words: []string{"container.ports", `"http"`}},
			{name: "a port that is too large", port: "70000:80", words: []string{"container.ports", "70000"}},
			{name: "a port of no protocol", port: "80/http", words: []string{"container.ports", "80/http"}},
			{name: "a value that the engine refuses", options: "--memory 1x", words: []string{"--memory", "1x"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				job := r.JobContainer(testbed.Busybox)
				job.CreateOptions = c.options
				if c.port != "" {
					job.PortMappings = []string{c.port}
				}
				explains(t, r.Prepare(ctx(t), job), "workflow", c.words...)
			})
			if c.name == "a port of no protocol" {
				nothingMade(t, e, r) // by all those before; the engine's own opinion comes last
			}
		}
	})
}

// trusting makes Podman speak to a registry without TLS. Docker does so on loopback anyway.
func trusting(t *testing.T, addr string) string {
	t.Helper()
	return "CONTAINERS_REGISTRIES_CONF=" + write(t, filepath.Join(t.TempDir(), "registries.conf"),
		fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", addr), 0o644)
}

// countingRegistry answers every request alike, and counts those for a manifest.
func countingRegistry(t *testing.T, status int, body string) (addr string, tries *atomic.Int32) {
	t.Helper()
	tries = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			tries.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprint(w, body)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), tries
}

// retries is how often the log tells of another try.
func retries(res *fakerunner.Result) int { return strings.Count(res.Output(), "trying again in") }

// pullOf tries to prepare a job with an image, and to run it as a step.
func pullOf(t *testing.T, r *fakerunner.Runner, edit func(c *hook.Container)) map[string]func() *fakerunner.Result {
	t.Helper()
	job, step := r.JobContainer(""), r.ContainerStep("")
	edit(job)
	edit(step)
	return map[string]func() *fakerunner.Result{
		"prepare_job":        func() *fakerunner.Result { return r.Prepare(ctx(t), job) },
		"run_container_step": func() *fakerunner.Result { return r.Call(ctx(t), hook.RunContainerStep, step) },
	}
}

func TestAnImageThatDoesNotExistIsAskedForOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		addr, tries := countingRegistry(t, http.StatusNotFound,
			`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"missing"}}]}`)
		r := newRunner(t, e, trusting(t, addr))
		image := addr + "/some/image:missing"
		for name, call := range pullOf(t, r, func(c *hook.Container) { c.Image = image }) {
			t.Run(name, func(t *testing.T) {
				tries.Store(0)
				res := within(t, 10*time.Second, call)
				explains(t, res, "workflow", image, "command: ", "check the image's name and tag")
				if n := retries(res); n > 0 {
					t.Errorf("it was tried again %d times:\n%s", n, res.Output())
				}
				if n := tries.Load(); n < 1 || n > 3 { // one pull may ask by HEAD and by GET
					t.Errorf("the registry was asked %d times", n)
				}
			})
		}
	})
}

func TestAWrongPasswordIsTriedOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		reg := testbed.Registry(t)
		r := newRunner(t, e, "GANTRY_PULL=always")
		for _, c := range []struct {
			name  string
			login *hook.Registry
		}{
			{"wrong", &hook.Registry{Username: reg.User, Password: "wr0ng-pass", ServerURL: reg.Addr}},
			{"none", nil},
		} {
			if c.login == nil && e.Label != "docker" {
				continue
			}
			for name, call := range pullOf(t, r, func(c2 *hook.Container) { c2.Image, c2.Registry = reg.Image, c.login }) {
				t.Run(c.name+"/"+name, func(t *testing.T) {
					res := within(t, 10*time.Second, call)
					explains(t, res, "workflow", reg.Addr, "command: ", "credentials")
					if n := retries(res); n > 0 {
						t.Errorf("it was tried again %d times:\n%s", n, res.Output())
					}
					if strings.Contains(res.Output(), "wr0ng-pass") {
						t.Errorf("the password is in the log:\n%s", res.Output())
					}
				})
			}
		}
	})
}

// A registry that is busy or away may be back in a moment.
func TestATroubleOfTheNetworkIsTriedThreeTimes(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		busy, tries := countingRegistry(t, http.StatusServiceUnavailable, "busy")
		for name, addr := range map[string]string{"closed port": "127.0.0.1:" + freePort(t), "busy registry": busy} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRunner(t, e, trusting(t, addr))
				start := time.Now()
				job := r.JobContainer(addr + "/some/image:1")
				res := r.Prepare(ctx(t), job)
				explains(t, res, "infrastructure", addr, "command: ", "check the network")
				if n := retries(res); n != 2 {
					t.Errorf("it was tried again %d times, not 2:\n%s", n, res.Output())
				}
				if took := time.Since(start); took < 2*time.Second || took > 40*time.Second {
					t.Errorf("three tries took %v", took)
				}
				if n := tries.Load(); name == "busy registry" && n < 3 {
					t.Errorf("the registry was asked %d times", n)
				}
			})
		}
	})
}
