package scriptstep_test

import (
	"os"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent/agenttest"
)

// TestMain makes the test binary the supervisor that its agents start.
func TestMain(m *testing.M) {
	agenttest.Supervise()
	os.Exit(m.Run())
}
