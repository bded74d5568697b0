package enginefake_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/enginefake"
	"github.com/gantry-ci/gantry/internal/engine/enginetest"
)

func TestContract(t *testing.T) {
	fx := enginetest.Fixture{
		Shell: "shell:1", Entry: "entry:1", Healthy: "healthy:1", Sick: "sick:1", Crash: "crash:1",
		Registry: enginetest.Registry{Addr: "registry.invalid", User: "user", Password: "secret", Image: "registry.invalid/shell:1"},
	}
	stays := []string{"sleep", "600"}
	open := func(*testing.T) engine.Engine {
		return enginefake.New(
			enginefake.Image{Name: fx.Shell, Cmd: []string{"sh"}},
			enginefake.Image{Name: fx.Entry, Entrypoint: []string{"/bin/echo", "entry"}, Cmd: []string{"cmd"}},
			enginefake.Image{Name: fx.Healthy, Cmd: stays, Health: "healthy"},
			enginefake.Image{Name: fx.Sick, Cmd: stays, Health: "unhealthy"},
			enginefake.Image{Name: fx.Crash, Cmd: []string{"sh", "-c", "echo starting; exit 3"}},
			enginefake.Image{Name: fx.Registry.Image, Cmd: stays, Remote: true, Username: "user", Password: "secret"},
		)
	}
	enginetest.Run(t, open, fx)
}
