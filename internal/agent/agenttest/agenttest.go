// Package agenttest is for tests that start an agent's server in their own process.
package agenttest

import (
	"fmt"
	"os"

	"github.com/gantry-ci/gantry/internal/agent"
)

// Supervise makes the test binary the supervisor that its agents start, if it was started as one, and does not return then.
// For the beginning of a TestMain.
func Supervise() {
	if len(os.Args) < 2 || os.Args[1] != "supervise" {
		return
	}
	if err := agent.Supervise(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
