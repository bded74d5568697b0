package handler

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// A step whose agent is reached by a network is given up when its container is gone, and not because the network is.
func TestAnAgentBehindANetworkIsSoughtWhileItsContainerIsThere(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancelCause(t.Context())
	gone := time.AfterFunc(2*scriptstep.RemoteGiveUp, func() { end(errStepGone) })
	defer gone.Stop()
	rec := &jobrecord.Record{Container: &jobrecord.Container{Agent: &agent.Address{Network: agent.NetworkPipe}}}
	s := &containerStep{h: &Handler{}}
	_, err := s.seek(ctx, &scriptstep.Runner{Record: rec, Out: io.Discard}, &agent.Step{ID: "1", Argv: []string{"true"}})
	if !errors.Is(err, errStepGone) {
		t.Error(err)
	}
}
