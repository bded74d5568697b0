package ocicli_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/enginetest"
	"github.com/gantry-ci/gantry/internal/engine/ocicli"
	"github.com/gantry-ci/gantry/internal/testbed"
)

func TestDocker(t *testing.T) { runSuite(t, testbed.Docker(t)) }

func TestPodman(t *testing.T) { runSuite(t, testbed.Podman(t)) }

func TestPodmanRootless(t *testing.T) { runSuite(t, testbed.PodmanRootless(t)) }

// runSuite runs the contract and what only real engines can show, as the engine's user.
func runSuite(t *testing.T, e *testbed.Engine) {
	if testbed.RunAs(t, e) {
		return
	}
	r := testbed.Registry(t)
	fx := enginetest.Fixture{
		Shell: testbed.Busybox, Entry: testbed.Entry, Healthy: testbed.Redis, Sick: testbed.Sick, Crash: testbed.Crash,
		Registry: enginetest.Registry{Addr: r.Addr, User: r.User, Password: r.Password, Image: r.Image},
	}
	t.Run("contract", func(t *testing.T) {
		enginetest.Run(t, func(t *testing.T) engine.Engine { return open(t, e) }, fx)
	})
}

func open(t *testing.T, e *testbed.Engine) *ocicli.Driver {
	t.Helper()
	d, err := ocicli.New(ocicli.Options{Name: e.Name, Path: e.Path, Env: e.Env, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
