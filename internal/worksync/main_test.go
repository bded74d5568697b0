package worksync_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent/agenttest"
)

// TestMain makes the test binary the supervisor that its agents start.
func TestMain(m *testing.M) {
	agenttest.Supervise()
	if len(os.Args) > 2 && os.Args[1] == "keep" {
		thrifty()
		if err := keep(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		thrifty()
		fmt.Fprintln(os.Stderr, serve(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// thrifty is what the real programs set.
func thrifty() { debug.SetGCPercent(20) }
