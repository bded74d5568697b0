package cli

import (
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
)

// The pod of a container action waits as long as the configuration says, as that of a job does.
func TestTimeoutsOfStepsReachTheCluster(t *testing.T) {
	cfg := config.Default()
	cfg.Timeouts.Schedule, cfg.Timeouts.Start = time.Hour, time.Minute
	got := (&Process{}).kubeSettings(cfg, nil).Step
	if want := (engine.Timeouts{Schedule: time.Hour, Start: time.Minute}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
