package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// configured is a runner with a gantry.yaml.
func configured(t *testing.T, e *testbed.Engine, yaml string, env ...string) *fakerunner.Runner {
	t.Helper()
	return newRunner(t, e, append(env, "GANTRY_CONFIG="+write(t, filepath.Join(t.TempDir(), "gantry.yaml"), yaml, 0o644))...)
}

func TestWhatTheConfigurationAddsToContainers(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		cache := t.TempDir()
		write(t, filepath.Join(cache, "file"), "cached", 0o644)
		r := configured(t, e, `
create_args:
  job: ["--hostname=the-job", "--label", "who=job container"]
  service: ["--hostname=the-service"]
  step: ["--hostname", "the-step"]
env: {FROM_ADMIN: "a=b, c", BOTH: admin, CI: "no"}
mounts: ["`+cache+`:/cache:ro"]
image_rewrite: {mirror.invalid/hub: gantry.test, redis: "`+testbed.Redis+`"}
`)
		job := r.JobContainer("mirror.invalid/hub/busybox:1")
		job.EnvironmentVariables["BOTH"] = "workflow"
		service := hook.Container{
			Image: "mirror.invalid/hub/busybox:1", EntryPoint: "/bin/sh", EnvironmentVariables: map[string]string{"BOTH": "workflow"},
			EntryPointArgs: pieces(`-c "echo $(hostname) $FROM_ADMIN $BOTH > /said; nc -ll -p 80 -e /bin/cat /said"`),
		}
		res := ok(t, r.Prepare(ctx(t), job, service, hook.Container{Image: "redis"}))
		const look = `echo "$(hostname)|$FROM_ADMIN|$BOTH|$CI|$GITHUB_ACTIONS|$(cat /cache/file)"; ! touch /cache/x`
		if got := stdout(t, r, look+" 2>/dev/null"); got != "the-job|a=b, c|workflow|no|true|cached\n" {
			t.Errorf("in the job container: %q", got)
		}
		said := ""
		eventually(t, "the service listens", func() bool { said = r.RunScript(ctx(t), "nc busybox 80").Stdout; return said != "" })
		if said != "the-service a=b, c workflow\n" {
			t.Errorf("in the service: %q", said)
		}
		step := actionStep(r, "mirror.invalid/hub/busybox:1", "/bin/sh", `-c "echo $(hostname) $FROM_ADMIN $BOTH $(cat /cache/file)"`)
		step.EnvironmentVariables["BOTH"] = "workflow"
		if res := ok(t, r.Call(ctx(t), hook.RunContainerStep, step)); res.Stdout != "the-step a=b, c workflow cached\n" {
			t.Errorf("in the step's container: %q", res.Stdout)
		}
		if got := engineSays(t, e, "inspect", "--format", `{{index .Config.Labels "who"}}`, res.Response.Context.Container.ID); got != "job container" {
			t.Errorf("the label is %q", got)
		}
	})
}

// Rootless engines have no limits on machines with old cgroups.
func TestLimitsHoldForEveryContainer(t *testing.T) {
	for _, e := range []*testbed.Engine{testbed.Docker(t), testbed.Podman(t)} {
		t.Run(e.Label, func(t *testing.T) {
			r := configured(t, e, "limits: {cpus: 0.5, memory: 64m, pids: 200}")
			job := r.JobContainer(testbed.Busybox)
			job.CreateOptions = "--memory 1g --cpus=2"
			res := ok(t, r.Prepare(ctx(t), job, hook.Container{Image: testbed.Redis}))
			for _, id := range []string{res.Response.Context.Container.ID, res.Response.Context.Services[0].ID} {
				got := engineSays(t, e, "inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.PidsLimit}}", id)
				if got != "67108864 500000000 0 0 200" && got != "67108864 500000000 50000 100000 200" {
					t.Errorf("limits: %s", got)
				}
			}
			out := stdout(t, r, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || :")
			if !strings.HasPrefix(out, "67108864\n") {
				t.Errorf("in the container: %q", out)
			}
			res = action(t, r, testbed.Busybox, "/bin/sh", `-c "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"`)
			if !strings.HasPrefix(res.Stdout, "67108864\n") {
				t.Errorf("in the step's container: %q", res.Output())
			}
		})
	}
}

func TestANetworkThatIsThereIsUsedAndKept(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		name := "gantry-test-" + strings.ToLower(rand.Text()[:8])
		engineSays(t, e, "network", "create", name)
		t.Cleanup(func() {
			if out, err := e.Command(context.Background(), "network", "rm", name).CombinedOutput(); err != nil {
				t.Errorf("removing the network: %v\n%s", err, out)
			}
		})
		r := configured(t, e, "network: "+name)
		res := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), hook.Container{Image: testbed.Redis}))
		if got := res.Response.Context; got.Container.Network != name || got.Services[0].Network != name {
			t.Errorf("networks: %+v", got)
		}
		const ping = `printf 'PING\r\n' | nc redis 6379`
		if got := stdout(t, r, ping); got != "+PONG\r\n" {
			t.Errorf("the service says %q", got)
		}
		if got := ok(t, action(t, r, testbed.Busybox, "/bin/sh", `-c "`+ping+`"`)).Stdout; got != "+PONG\r\n" {
			t.Errorf("the service says %q to a container step", got)
		}
		ok(t, r.Cleanup(ctx(t)))
		if !engineKnows(t, e, "network", name) {
			t.Error("clean-up has removed a network that is not gantry's")
		}
	})
}

func TestTheOfficialHooksNetworkVariableWorks(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e, "ACTIONS_RUNNER_NETWORK_DRIVER=host")
		res := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), hook.Container{Image: testbed.Redis}))
		if got := res.Response.Context.Container.Network; got != "host" {
			t.Errorf("the network is %q", got)
		}
		if got := stdout(t, r, `printf 'PING\r\n' | nc 127.0.0.1 6379`); got != "+PONG\r\n" {
			t.Errorf("the service says %q", got)
		}
		ok(t, r.Cleanup(ctx(t)))
		r = newRunner(t, e, "ACTIONS_RUNNER_NETWORK_DRIVER=none")
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		if got := stdout(t, r, "grep -vc -e Inter -e face -e ' lo:' -e tunl -e sit -e gre -e ip6 -e ip_vti /proc/net/dev || :"); got != "0\n" {
			t.Errorf("there are %s interfaces in a container without a network", got)
		}
	})
}

func TestTimeouts(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		t.Run("a step that takes too long is stopped", func(t *testing.T) {
			r := configured(t, e, "timeouts: {step: 1s, cancel: 1s}")
			ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
			res := within(t, 10*time.Second, func() *fakerunner.Result {
				return r.RunScript(ctx(t), "trap '' TERM; setsid sleep 4321 & echo before; while :; do sleep 1; done")
			})
			if res.Stdout != "before\n" {
				t.Errorf("it printed %q", res.Stdout)
			}
			contains(t, res.Stderr, "gantry: configuration:", "1s", "timeouts.step")
			if res.ExitCode == 0 {
				t.Error("it succeeded")
			}
			if left := stdout(t, r, "grep -al 'sleep.432[1]' /proc/[0-9]*/cmdline 2>/dev/null || echo none"); left != "none\n" {
				t.Errorf("there are still processes of it: %s", left)
			}
			res = within(t, 15*time.Second, func() *fakerunner.Result { return action(t, r, testbed.Busybox, "sleep", "100") })
			contains(t, res.Stderr, "gantry: configuration:", "timeouts.step")
		})
		t.Run("containers that do not become healthy are not waited for longer", func(t *testing.T) {
			r := configured(t, e, "timeouts: {health: 2s}")
			slow := hook.Container{Image: testbed.Redis, CreateOptions: `--health-cmd "false" --health-interval 100s`}
			res := within(t, 15*time.Second, func() *fakerunner.Result { return r.Prepare(ctx(t), nil, slow) })
			failsWith(t, res, 1, "service redis", "2s", "timeouts.health", "Ready to accept connections")
		})
	})
}

// Rules are tested one by one where they are written; here, that they are in force, for all that a job can ask for.
func TestAPolicyIsInForceAndNamesItsRules(t *testing.T) {
	e := testbed.Engines(t)[0]
	const policy = `
docker_socket: deny
policy:
  images: ["gantry.test/*"]
  deny_flags: ["--privileged", "--pid=host", "--cap-add"]
  deny_mounts: [/etc, "prod-*"]
  require_job_container: true
`
	for name, c := range map[string]struct {
		edit func(job, service *hook.Container)
		rule string
	}{
		"an image":           {func(job, _ *hook.Container) { job.Image = "evil.invalid/x" }, "policy.images"},
		"a service's image":  {func(_, service *hook.Container) { service.Image = "evil.invalid/x" }, "policy.images"},
		"a flag":             {func(job, _ *hook.Container) { job.CreateOptions = "--privileged" }, "policy.deny_flags"},
		"a flag's value":     {func(job, _ *hook.Container) { job.CreateOptions = "--pid host" }, "policy.deny_flags"},
		"a service's flag":   {func(_, service *hook.Container) { service.CreateOptions = "--cap-add=ALL" }, "policy.deny_flags"},
		"a host path":        {func(job, _ *hook.Container) { job.UserMountVolumes = []hook.MountVolume{user("/etc/ssl:/x")} }, "policy.deny_mounts"},
		"a service's volume": {func(_, service *hook.Container) { service.UserMountVolumes = []hook.MountVolume{user("prod-db:/x")} }, "policy.deny_mounts"},
		"a mount by a flag":  {func(job, _ *hook.Container) { job.CreateOptions = "-v /etc:/x" }, "policy.deny_mounts"},
	} {
		t.Run(name, func(t *testing.T) {
			r := configured(t, e, policy)
			job, service := r.JobContainer(testbed.Busybox), hook.Container{Image: testbed.Redis}
			c.edit(job, &service)
			failsWith(t, r.Prepare(ctx(t), job, service), 1, "gantry: workflow:", c.rule, "administrator")
			noLeftovers(t, e, r)
		})
	}
	t.Run("what is allowed", func(t *testing.T) {
		r := configured(t, e, policy)
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		ok(t, action(t, r, testbed.Busybox, "true", ""))
		failsWith(t, action(t, r, "evil.invalid/x", "", ""), 1, "gantry: workflow:", "policy.images")
	})
	t.Run("a container action without a job container", func(t *testing.T) {
		r := configured(t, e, policy)
		failsWith(t, action(t, r, testbed.Busybox, "true", ""), 1, "gantry: workflow:", "policy.require_job_container")
	})
}

// The administrator's own program gets everything that gantry would get: standard input, response file, environment.
func TestAnOverrideTakesTheCallOver(t *testing.T) {
	e := testbed.Engines(t)[0]
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "own"), `#!/bin/sh
cat > `+dir+`/input; env > `+dir+`/environ
file=$(sed 's/.*"responseFile":"\([^"]*\)".*/\1/' `+dir+`/input)
echo '{"state":{"mine":1}}' > "$file"
echo from my program; exit 0
`, 0o755)
	for _, command := range []hook.Command{hook.RunContainerStep, hook.RunScriptStep} {
		r := configured(t, e, fmt.Sprintf("overrides: {%s: %s}", command, program), "MINE=here")
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		call := func() *fakerunner.Result { return r.RunScript(ctx(t), "echo from gantry") }
		if command == hook.RunContainerStep {
			call = func() *fakerunner.Result { return action(t, r, testbed.Busybox, "echo", "secret-argument") }
		}
		old := string(r.State)
		res := ok(t, call())
		if res.Stdout != "from my program\n" || string(r.State) != `{"mine":1}` {
			t.Errorf("%s: printed %q, state %s", command, res.Stdout, r.State)
		}
		contains(t, read(t, filepath.Join(dir, "input")), `"command":"`+string(command)+`"`, old)
		contains(t, read(t, filepath.Join(dir, "environ")), "MINE=here\n", "GITHUB_WORKSPACE="+r.Workspace+"\n")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	}
}
