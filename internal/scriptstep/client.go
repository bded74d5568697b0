package scriptstep

import (
	"context"
	"errors"
	"net"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/jobrecord"
)

// errNoPipe: only whoever can start programs in the container has this way to its agent.
var errNoPipe = errors.New("the agent is reached by a pipe, which nobody has opened")

// Client makes a client for the job container's agent, by the way that prepare_job has found. An agent of
// agent.NetworkPipe cannot be dialled without more: see Runner.Dial.
func Client(rec *jobrecord.Record) *agent.Client {
	c := &agent.Client{Token: rec.Container.Token, GiveUp: GiveUp}
	address := rec.Container.Agent
	if address == nil {
		c.Dial = agent.SocketDialer(rec.Work, rec.Container.AgentDir)
		return c
	}
	c.GiveUp, c.Heartbeat = RemoteGiveUp, agent.Heartbeat
	c.Dial = dialer(*address)
	return c
}

func dialer(address agent.Address) agent.Dialer {
	if address.Network != agent.NetworkTCP {
		return never(errNoPipe)
	}
	dial, err := agent.TLSDialer(address)
	if err != nil {
		return never(err)
	}
	return dial
}

// never is a way that leads nowhere.
func never(err error) agent.Dialer {
	return func(context.Context) (net.Conn, error) { return nil, err }
}

// client is the runner's own: by a pipe, if it has been given one.
func (r *Runner) client() *agent.Client {
	c := Client(r.Record)
	if address := r.Record.Container.Agent; r.Dial != nil && address != nil && address.Network == agent.NetworkPipe {
		c.Dial = r.Dial
	}
	return c
}
