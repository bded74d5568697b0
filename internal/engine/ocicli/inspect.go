package ocicli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
)

// inspected is what both programs say of a container.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Running   bool
		ExitCode  int
		OOMKilled bool
		Error     string
		StartedAt time.Time
		Health    *struct {
			Status string
			Log    []struct{ Output string }
		}
	}
	Config struct {
		Labels      map[string]string
		Healthcheck *healthcheck
		// What Podman does with a container that turns unhealthy.
		HealthcheckOnFailureAction string
	}
	NetworkSettings struct {
		Ports    map[string][]binding
		Networks map[string]any
	}
}

// binding is a port of the host; json matches HostIp too.
type binding struct{ HostIP, HostPort string }

// healthcheck is a container's declared check; a zero means the engine's default.
type healthcheck struct {
	Test        []string
	Interval    time.Duration
	StartPeriod time.Duration
	Retries     int
}

// declared tells whether there is a check: an image's can be switched off by NONE.
func (h *healthcheck) declared() bool {
	return h != nil && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// Inspect is part of engine.Engine.
func (d *Driver) Inspect(ctx context.Context, id string) (engine.Status, error) {
	found, err := d.inspect(ctx, id)
	if err != nil {
		return engine.Status{}, err
	}
	return found[0].status(), nil
}

// inspect looks at containers with one call, and gives them in the order of ids. One that does not exist makes it
// fail with engine.ErrNotFound.
func (d *Driver) inspect(ctx context.Context, ids ...string) ([]inspected, error) {
	answer, err := d.output(ctx, slices.Concat([]string{"inspect", "--type", "container"}, ids)...)
	if err != nil {
		return nil, wrap(err, "inspecting "+strings.Join(ids, ", "))
	}
	found, err := jsonList[inspected](answer)
	if err != nil {
		return nil, err
	}
	if len(found) != len(ids) {
		return nil, fmt.Errorf("inspecting %s: %d answers: %w", strings.Join(ids, ", "), len(found), engine.ErrNotFound)
	}
	return found, nil
}

func (i *inspected) status() engine.Status {
	s := engine.Status{
		ID:        i.ID,
		Running:   i.State.Running,
		ExitCode:  i.State.ExitCode,
		OOMKilled: i.State.OOMKilled,
		Error:     i.State.Error,
		Labels:    i.Config.Labels,
		Ports:     i.ports(),
	}
	if i.Config.Healthcheck.declared() && i.State.Health != nil {
		s.Health = i.State.Health.Status
	}
	return s
}

// ports maps container ports to host ports by their numbers alone, as workflows ask for them
// (job.services.x.ports['53']): where they collide, TCP wins over UDP and IPv4 over IPv6.
func (i *inspected) ports() map[string]string {
	ports := map[string]string{}
	for _, protocol := range []string{"sctp", "udp", "tcp"} {
		for port, bindings := range i.NetworkSettings.Ports {
			number, ok := strings.CutSuffix(port, "/"+protocol)
			if !ok {
				continue
			}
			if host := hostPort(bindings); host != "" {
				ports[number] = host
			}
		}
	}
	return ports
}

func hostPort(bindings []binding) string {
	for _, b := range bindings {
		if !strings.Contains(b.HostIP, ":") {
			return b.HostPort
		}
	}
	if len(bindings) > 0 {
		return bindings[0].HostPort
	}
	return ""
}

// network picks the network that a container is on: the one asked for, if it is really there.
func (i *inspected) network(asked string) string {
	names := sortedKeys(i.NetworkSettings.Networks)
	if len(names) == 0 || slices.Contains(names, asked) {
		return asked
	}
	return names[0]
}
