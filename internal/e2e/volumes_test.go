package e2e

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// user is an entry of `volumes:` as the runner sends it: its own reading of it beside the text.
func user(text string) hook.MountVolume {
	m := hook.MountVolume{UserProvidedValue: text, TargetVolumePath: text}
	if parts := strings.Split(text, ":"); len(parts) > 1 {
		m.SourceVolumePath, m.TargetVolumePath = parts[0], parts[1]
		m.ReadOnly = len(parts) > 2 && parts[2] == "ro"
	}
	return m
}

// volumesOf are the names of the volumes that a container has.
func volumesOf(t *testing.T, e *testbed.Engine, container string) []string {
	t.Helper()
	return strings.Fields(engineSays(t, e, "inspect", "--format", `{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}`, container))
}

func TestVolumesInEveryForm(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		host := filepath.Join(t.TempDir(), `it's a "host" $folder`)
		write(t, filepath.Join(host, "file"), "from the host", 0o644)
		named := "gantry-test-" + rand.Text()[:8]
		t.Cleanup(func() {
			if out, err := e.Command(context.Background(), "volume", "rm", "-f", named).CombinedOutput(); err != nil {
				t.Errorf("removing the named volume: %v\n%s", err, out)
			}
		})
		r := newRunner(t, e)
		job := r.JobContainer(testbed.Entry) // the image has a volume of its own, /data
		job.UserMountVolumes = []hook.MountVolume{
			user(named + ":/named"), user("/anonymous"), user(host + ":/host"), user(host + ":/read-only:ro"),
			user(host + ":/shared:z"), user(host + ":/both:ro,z"), user(host + "/file:/one file"),
		}
		res := ok(t, r.Prepare(ctx(t), job))
		volumes := volumesOf(t, e, res.Response.Context.Container.ID)
		if len(volumes) != 3 {
			t.Errorf("volumes of the container: %q", volumes)
		}
		ok(t, r.RunScript(ctx(t), `
			echo kept > /named/file; echo gone > /anonymous/file; cat /data/seed
			test "$(cat /host/file /read-only/file /shared/file "/one file")" = "from the hostfrom the hostfrom the hostfrom the host"
			echo new > /host/new; test "$(cat /shared/new)" = new
			for dir in /read-only /both /__e; do ! touch $dir/x; done`))
		if got := read(t, filepath.Join(host, "new")); got != "new\n" {
			t.Errorf("the host sees %q", got)
		}
		ok(t, r.Cleanup(ctx(t)))
		for _, name := range volumes {
			if kept := engineKnows(t, e, "volume", name); kept != (name == named) {
				t.Errorf("volume %s is there: %v", name, kept)
			}
		}
		ok(t, r.Prepare(ctx(t), job))
		if out := stdout(t, r, "cat /named/file; ls /anonymous"); out != "kept\n" {
			t.Errorf("the next job finds %q", out)
		}
	})
}

// Without SELinux z changes nothing that a container could see.
func TestMountOptionsOfTheConfigurationAreOnEveryBindMount(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		option, see := "noexec", func(r *fakerunner.Runner) string {
			return stdout(t, r, "grep -E ' /(__w|__w/_tool|github/home) ' /proc/self/mountinfo | grep -c noexec")
		}
		if e.Name == "docker" {
			option, see = "z", func(r *fakerunner.Runner) string {
				binds := engineSays(t, e, "inspect", "--format", "{{json .HostConfig.Binds}}", state(t, r)["container"].(string))
				return strconv.Itoa(strings.Count(binds, ":/__w:z\"")+strings.Count(binds, ":/__w/_tool:z\"")+strings.Count(binds, ":/github/home:z\"")) + "\n"
			}
		}
		r := newRunner(t, e, "GANTRY_MOUNT_OPTIONS="+option)
		res := r.Prepare(ctx(t), r.JobContainer(testbed.Busybox))
		if option == "noexec" && res.Err != nil {
			t.Fatal(res.Output())
		}
		if got := see(r); got != "3\n" {
			t.Errorf("%s mounts have the option %s", got, option)
		}
	})
}

func TestAMistakeInVolumesIsNamed(t *testing.T) {
	e := testbed.Engines(t)[0]
	for _, volume := range []string{"a:b", ":/x", "a:/b:ro:z", "/", "relative"} {
		r := newRunner(t, e)
		job := r.JobContainer(testbed.Busybox)
		job.UserMountVolumes = []hook.MountVolume{user(volume)}
		failsWith(t, r.Prepare(ctx(t), job), 1, "gantry: workflow:", "container.volumes", volume, "hint:")
		noLeftovers(t, e, r)
	}
}

// The engines differ: Docker makes the folder, Podman refuses. Either is what their users know.
func TestAMissingFolderOfTheUsersIsTheEnginesBusiness(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		missing := filepath.Join(t.TempDir(), "missing")
		job := r.JobContainer(testbed.Busybox)
		job.UserMountVolumes = []hook.MountVolume{user(missing + ":/m")}
		res := r.Prepare(ctx(t), job)
		if e.Name == "docker" {
			ok(t, res)
			return
		}
		failsWith(t, res, 1, missing, "no such file or directory", "gantry: workflow:")
	})
}

func TestTheEnginesSocketIsPassedOnlyIfItIsThereAndAllowed(t *testing.T) {
	const look = `[ -S /var/run/docker.sock ] && echo socket; ls -A /var/run/docker.sock 2>/dev/null || echo nothing`
	t.Run("docker's", func(t *testing.T) {
		e := testbed.Docker(t)
		r := prepared(t, e, testbed.Busybox)
		if out := stdout(t, r, look); !strings.HasPrefix(out, "socket\n") {
			t.Errorf("in the job container: %q", out)
		}
		step := r.ContainerStep(testbed.Busybox)
		step.EntryPoint, step.EntryPointArgs = "test", pieces("-S /var/run/docker.sock")
		ok(t, r.Call(ctx(t), hook.RunContainerStep, step))
	})
	t.Run("podman's own", func(t *testing.T) {
		e := testbed.Podman(t)
		path := strings.TrimPrefix(engineSays(t, e, "info", "--format", "{{.Host.RemoteSocket.Path}}"), "unix://")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatalf("standing in for `podman system service`: %v", err)
		}
		defer l.Close()
		if out := stdout(t, prepared(t, e, testbed.Busybox), look); !strings.HasPrefix(out, "socket\n") {
			t.Errorf("in the job container: %q", out)
		}
	})
	t.Run("none", func(t *testing.T) {
		if _, err := os.Stat("/var/run/docker.sock"); err == nil {
			t.Skip("this machine has a Docker of its own")
		}
		if out := stdout(t, prepared(t, testbed.Podman(t), testbed.Busybox), look); out != "nothing\n" {
			t.Errorf("in the job container: %q", out)
		}
	})
	t.Run("denied", func(t *testing.T) {
		onEngines(t, func(t *testing.T, e *testbed.Engine) {
			r := prepared(t, e, testbed.Busybox, "GANTRY_DOCKER_SOCKET=deny")
			if out := stdout(t, r, look); out != "nothing\n" {
				t.Errorf("in the job container: %q", out)
			}
			step := r.ContainerStep(testbed.Busybox)
			step.EntryPoint, step.EntryPointArgs = "test", pieces("-e /var/run/docker.sock")
			failsWith(t, r.Call(ctx(t), hook.RunContainerStep, step), 1)
			r = newRunner(t, e, "GANTRY_DOCKER_SOCKET=deny")
			job := r.JobContainer(testbed.Busybox)
			job.UserMountVolumes = []hook.MountVolume{user("/var/run/docker.sock:/x.sock")}
			failsWith(t, r.Prepare(ctx(t), job), 1, "gantry: workflow:", "docker_socket")
		})
	})
}
