package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// private is a job whose container comes from the registry with a password.
func private(t *testing.T, e *testbed.Engine, image, password, policy string) (*fakerunner.Runner, *hook.Container) {
	t.Helper()
	registry := testbed.Registry(t)
	r := newRunner(t, e, "GANTRY_PULL="+policy)
	job := r.JobContainer(image)
	if password != "" {
		job.Registry = &hook.Registry{Username: registry.User, Password: password, ServerURL: registry.Addr}
	}
	return r, job
}

// forget removes an image from the engine's store, if it is there.
func forget(t *testing.T, e *testbed.Engine, image string) {
	t.Helper()
	if engineKnows(t, e, "image", image) {
		engineSays(t, e, "rmi", "-f", image)
	}
}

func TestImagesOfAPrivateRegistry(t *testing.T) {
	registry := testbed.Registry(t)
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		forget(t, e, registry.Image)
		t.Cleanup(func() { forget(t, e, registry.Image) })

		// Credentials belong to a container: that of another does not help, and nothing stays on the machine.
		r, job := private(t, e, testbed.Busybox, "", "missing")
		credentials := &hook.Registry{Username: registry.User, Password: registry.Password, ServerURL: registry.Addr}
		service := hook.Container{Image: registry.Image, Registry: credentials, EntryPoint: "tail", EntryPointArgs: pieces("-f /dev/null")}
		res := ok(t, r.Prepare(ctx(t), job, service))
		contains(t, res.Stdout, "pulling "+registry.Image)
		if strings.Contains(res.Output(), registry.Password) {
			t.Error("the log has the registry's password")
		}
		ok(t, r.Cleanup(ctx(t)))
		loggedOut(t, e, registry)

		// The image is there now. "always" asks the registry all the same, "missing" and a digest do not.
		r, job = private(t, e, registry.Image, registry.Password, "always")
		contains(t, ok(t, r.Prepare(ctx(t), job)).Stdout, "pulling "+registry.Image)
		ok(t, r.Cleanup(ctx(t)))
		digest := engineSays(t, e, "image", "inspect", "--format", "{{index .RepoDigests 0}}", registry.Image)
		for image, policy := range map[string]string{registry.Image: "missing", digest: "always"} {
			r, job = private(t, e, image, "wrong password", policy)
			if out := ok(t, r.Prepare(ctx(t), job)).Stdout; strings.Contains(out, "pulling") {
				t.Errorf("%s is pulled with policy %s:\n%s", image, policy, out)
			}
			ok(t, r.Cleanup(ctx(t)))
		}

		forget(t, e, registry.Image)
		r, job = private(t, e, registry.Image, registry.Password, "never")
		failsWith(t, r.Prepare(ctx(t), job), 1, "gantry: configuration:", registry.Image, "never")
	})
}

// loggedOut fails the test if the engine's user is logged in to the registry.
func loggedOut(t *testing.T, e *testbed.Engine, registry *testbed.RegistryServer) {
	t.Helper()
	if e.Name == "podman" {
		if out, err := e.Command(ctx(t), "login", "--get-login", registry.Addr).CombinedOutput(); err == nil {
			t.Errorf("podman is logged in as %s", out)
		}
		return
	}
	text, err := os.ReadFile(filepath.Join(e.Home, ".docker/config.json"))
	if err == nil && strings.Contains(string(text), registry.Addr) {
		t.Errorf("docker is logged in: %s", text)
	}
}

func TestAPullThatCannotSucceedIsNotRetried(t *testing.T) {
	registry := testbed.Registry(t)
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		forget(t, e, registry.Image)
		missing := registry.Addr + "/private/none:7"
		for _, c := range []struct{ name, image, password, words string }{
			{"the password is wrong", registry.Image, "wrong password", "logging in"},
			{"there is no password", registry.Image, "", "pulling image"},
			{"there is no such image", missing, registry.Password, "pulling image"},
			{"there is no such tag", registry.Addr + "/private/busybox:7", registry.Password, "pulling image"},
		} {
			t.Run(c.name, func(t *testing.T) {
				r, job := private(t, e, c.image, c.password, "missing")
				res := within(t, 10*time.Second, func() *fakerunner.Result { return r.Prepare(ctx(t), job) })
				failsWith(t, res, 1, "gantry: workflow:", c.image, c.words, "hint:")
				if strings.Contains(res.Output(), "again") {
					t.Errorf("it was tried again:\n%s", res.Output())
				}
				if c.password != "" && strings.Contains(res.Output(), c.password) {
					t.Error("the log has the password")
				}
			})
		}
	})
}
