package handler

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// An agent runs in the job's image, and may say anything.
func TestWhatTheAgentSaysIsOneLineInTheLog(t *testing.T) {
	var log strings.Builder
	h := &Handler{Log: &log}
	h.sayUndone(agent.Hello{Undone: []agent.Undone{{What: "link\n::error::x", Name: "\x1b[2J", Why: "it is\rread-only"}}})
	if got := log.String(); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\x1b\r") {
		t.Errorf("the log has %q", got)
	}
}
