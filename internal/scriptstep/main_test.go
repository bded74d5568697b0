package scriptstep_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// TestMain makes the test binary the supervisor that its agents start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		if err := agent.Supervise(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
