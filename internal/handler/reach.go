package handler

import (
	"context"
	"net"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/printable"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// reachTime is how long the address of an agent is tried before its steps go through the engine. Its container runs by
// then, so that it listens in a moment or never.
const reachTime = 5 * time.Second

// chooseReach finds out whether the address of a job container's agent can be reached from here, and takes the engine's
// own way to it if not. That way costs more, and is the full program's.
func (h *Handler) chooseReach(ctx context.Context, rec *jobrecord.Record) {
	address := rec.Container.Agent
	if _, ok := h.Engine.(engine.Piper); !ok || address == nil || address.Network != agent.NetworkTCP {
		return
	}
	err := answers(ctx, scriptstep.Client(rec).Dial)
	if err == nil || ctx.Err() != nil {
		return
	}
	h.logf("gantry: the agent at %s cannot be reached from here (%v): steps go through the engine's API, which takes longer", address.Address, err)
	address.Network, rec.Full = agent.NetworkPipe, true
}

// reachAs is the way to the agent of a step's container in a job's pod: where that of the job container was only reached
// through the engine, this one is, too.
func reachAs(job *jobrecord.Record, address *agent.Address) *agent.Address {
	if address == nil || job.Container == nil || !byPipe(job) {
		return address
	}
	return &agent.Address{Network: agent.NetworkPipe}
}

// byPipe tells that the agent of the record's container is reached through the engine.
func byPipe(rec *jobrecord.Record) bool {
	return rec.Container.Agent != nil && rec.Container.Agent.Network == agent.NetworkPipe
}

// answers dials until that succeeds, for reachTime.
func answers(ctx context.Context, dial agent.Dialer) error {
	ctx, stop := context.WithTimeout(ctx, reachTime)
	defer stop()
	for {
		conn, err := dial(ctx)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reachTime / 50):
		}
	}
}

// agentClient is a client for a job container's agent, by the way that prepare_job has found.
func (h *Handler) agentClient(rec *jobrecord.Record) *agent.Client {
	c := scriptstep.Client(rec)
	if dial := h.pipe(rec); dial != nil {
		c.Dial = dial
	}
	return c
}

// pipe is the engine's own way to the agent of a job container; nil if steps do not go by it.
func (h *Handler) pipe(rec *jobrecord.Record) agent.Dialer {
	piper, ok := h.Engine.(engine.Piper)
	if !ok || !byPipe(rec) {
		return nil
	}
	return func(ctx context.Context) (net.Conn, error) {
		streams, err := piper.Pipe(ctx, rec.Container.ID, agent.MountPoint+"/"+agent.BinaryName, "pipe")
		if err != nil {
			return nil, err
		}
		return agent.PipeConn(streams), nil
	}
}

// sayUndone tells what the agent could not make in its container: the step that needs it would only say that a file or
// a host is not there.
func (h *Handler) sayUndone(hello agent.Hello) {
	for _, u := range hello.Undone {
		h.logf("gantry: the %s %s could not be made in the container: %s", printable.Text(u.What), printable.Text(u.Name), printable.Text(u.Why))
	}
}
