package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// get asks one of the test's redis services for a key.
func get(t *testing.T, r *fakerunner.Runner, host, key string) string {
	t.Helper()
	out := stdout(t, r, fmt.Sprintf(`printf 'GET %s\r\n' | nc %s 6379`, key, host))
	if lines := strings.Split(out, "\r\n"); len(lines) > 1 {
		return lines[1]
	}
	return out
}

// Nobody but the user knows what a service is called in the workflow, so it goes by its image, its place, and what
// the user calls it.
func TestServicesAreReachedByName(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		redis := hook.Container{Image: testbed.Redis, PortMappings: []string{"6379"}}
		named := redis
		named.CreateOptions = "--network-alias db --network-alias=store"
		res := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Alpine), redis, redis, named))
		for i, service := range res.Response.Context.Services {
			ask(t, "tcp", service.Ports["6379"], fmt.Sprintf("SET who service%d\r\n", i+1))
		}
		for name, want := range map[string]string{
			"redis": "service1", "redis-1": "service2", "redis-2": "service3", "db": "service3", "store": "service3",
		} {
			if got := get(t, r, name, "who"); got != want {
				t.Errorf("%s is %q, want %s", name, got, want)
			}
			contains(t, res.Stdout, name)
		}
		for _, service := range res.Response.Context.Services {
			contains(t, res.Stdout, "port "+service.Ports["6379"]+" of the host")
		}
	})
}

// GitHub's documentation has names of services; the runner does not send them yet.
func TestAServiceIsReachedByTheNameInItsRequest(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		res := ok(t, r.CallWithState(ctx(t), hook.PrepareJob, map[string]any{
			"container": map[string]any{"image": testbed.Busybox, "workingDirectory": "/__w/repo/repo", "systemMountVolumes": r.JobContainer("").SystemMountVolumes},
			"services":  []any{map[string]any{"image": testbed.Redis, "contextName": "my-cache"}},
		}, nil))
		contains(t, res.Stdout, "redis, my-cache")
		for _, name := range []string{"redis", "my-cache"} {
			if got := stdout(t, r, `printf 'PING\r\n' | nc `+name+` 6379`); got != "+PONG\r\n" {
				t.Errorf("%s says %q", name, got)
			}
		}
	})
}

func TestContainersWithAHealthCheckAreWaitedFor(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		service := hook.Container{
			Image: testbed.Busybox, EntryPoint: "/bin/sh",
			EntryPointArgs: pieces(`-c "sleep 1; touch /tmp/ready; exec tail -f /dev/null"`),
			CreateOptions:  `--health-cmd "test -f /tmp/ready" --health-interval 250ms --health-timeout=2s --health-retries 40`,
		}
		job := r.JobContainer(testbed.Busybox)
		job.CreateOptions = `--health-cmd "test -f /__w/repo/repo/ready" --health-interval 250ms --health-retries 40`
		time.AfterFunc(1500*time.Millisecond, func() { write(t, filepath.Join(r.Workspace, "ready"), "", 0o644) })
		plain := hook.Container{Image: testbed.Busybox, EntryPoint: "tail", EntryPointArgs: pieces("-f /dev/null")}
		res := ok(t, within(t, 20*time.Second, func() *fakerunner.Result { return r.Prepare(ctx(t), job, service, plain) }))
		read(t, filepath.Join(r.Workspace, "ready")) // is there
		engineSays(t, e, "exec", res.Response.Context.Services[0].ID, "test", "-f", "/tmp/ready")
	})
}

func TestAServiceThatCannotRunFailsTheJobAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		chatty := hook.Container{
			Image: testbed.Busybox, EntryPoint: "/bin/sh",
			EntryPointArgs: pieces(`-c "i=0; while [ $i -lt 300 ]; do echo line $i.; i=$((i+1)); done; exit 9"`),
		}
		for _, c := range []struct {
			name    string
			service hook.Container
			words   []string
			silent  string
		}{
			{"it crashes", hook.Container{Image: testbed.Crash}, []string{"status 3", "starting", "cannot go on", "service crash"}, ""},
			{"only the end of its log is shown", chatty, []string{"status 9", "line 299.", "line 200."}, "line 199."},
			{"it is unhealthy", hook.Container{Image: testbed.Sick}, []string{"not healthy", "feeling sick", "service sick"}, ""},
			{"it has no such program", hook.Container{Image: testbed.Busybox, EntryPoint: "/no/such"}, []string{"/no/such"}, ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := newRunner(t, e)
				// A service that would take ever so long to become healthy does not hold the failure up.
				slow := hook.Container{Image: testbed.Redis, CreateOptions: `--health-cmd "false" --health-interval 100s`}
				res := within(t, 20*time.Second, func() *fakerunner.Result {
					return r.Prepare(ctx(t), r.JobContainer(testbed.Alpine), slow, c.service)
				})
				failsWith(t, res, 1, append(c.words, "gantry: workflow:", "hint:")...)
				if c.silent != "" && strings.Contains(res.Output(), c.silent) {
					t.Errorf("the output has %q:\n%s", c.silent, res.Output())
				}
				failsWith(t, r.RunScript(ctx(t), "true"), 1, "prepare_job did not succeed")
				ok(t, r.Cleanup(ctx(t)))
				noLeftovers(t, e, r)
			})
		}
	})
}

func TestAServiceTakesEntryPointCommandEnvironmentAndVolumes(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		res := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Alpine), hook.Container{
			Image: testbed.Busybox, EntryPoint: "/bin/sh", EnvironmentVariables: map[string]string{"GREETING": "it's \"x\"\nand y"},
			EntryPointArgs:   pieces(`-c "echo \"$GREETING\" > /data/greeting; nc -ll -p 8000 -e /bin/cat /data/greeting"`),
			UserMountVolumes: []hook.MountVolume{{UserProvidedValue: "/data", TargetVolumePath: "/data"}},
		}))
		if len(res.Response.Context.Services) != 1 || res.Response.Context.Services[0].Ports == nil {
			t.Errorf("services: %+v", res.Response.Context.Services)
		}
		got := ""
		eventually(t, "the service listens", func() bool {
			got = r.RunScript(ctx(t), "nc busybox 8000").Stdout
			return got != ""
		})
		if got != "it's \"x\"\nand y\n" {
			t.Errorf("the service says %q", got)
		}
	})
}

func TestAJobWithServicesOnly(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		res := ok(t, r.Prepare(ctx(t), nil, hook.Container{Image: testbed.Redis, PortMappings: []string{"6379"}}, hook.Container{Image: testbed.Redis}))
		if res.Response.IsAlpine != nil || res.Response.Context.Container != nil {
			t.Errorf("the response speaks of a job container: %s", res.ResponseText)
		}
		services := res.Response.Context.Services
		if len(services) != 2 || services[0].Ports["6379"] == "" || services[1].Ports == nil || len(services[1].Ports) > 0 {
			t.Errorf("services: %+v", services)
		}
		if answer := ask(t, "tcp", services[0].Ports["6379"], "PING\r\n"); answer != "+PONG" {
			t.Errorf("the host gets %q from the service", answer)
		}
		if state(t, r)["job"] == nil {
			t.Errorf("the state is %s", r.State)
		}
		step := r.ContainerStep(testbed.Busybox)
		step.EntryPoint, step.EntryPointArgs = "/bin/sh", pieces(`-c "printf 'PING\r\n' | nc redis-1 6379"`)
		if res := ok(t, r.Call(ctx(t), hook.RunContainerStep, step)); res.Stdout != "+PONG\r\n" {
			t.Errorf("a container step gets %q from the service", res.Stdout)
		}
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}
