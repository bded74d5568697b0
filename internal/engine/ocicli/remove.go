package ocicli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/wait"
)

// Remove is part of engine.Engine. All containers go in one call, which works on them side by side. What cannot be
// removed does not keep the rest from being removed.
func (d *Driver) Remove(ctx context.Context, inv engine.Inventory) error {
	var ids []string
	for _, c := range inv.Containers {
		ids = append(ids, firstOf(c.ID, c.Name))
	}
	removeContainers := func() error {
		err := d.removeContainers(ctx, ids)
		failpoint.Hit("containers-removed")
		return err
	}
	removeNetworks := func() error {
		return errors.Join(engine.Each(inv.Networks, func(n engine.Network) error {
			return d.removeNetwork(ctx, firstOf(n.Name, n.ID))
		})...)
	}
	if !d.diff.cutOffFirst || len(ids) == 0 || len(inv.Networks) != 1 {
		return errors.Join(removeContainers(), removeNetworks())
	}
	d.disconnect(ctx, firstOf(inv.Networks[0].Name, inv.Networks[0].ID), ids)
	return errors.Join(engine.Each([]func() error{removeContainers, removeNetworks}, func(remove func() error) error { return remove() })...)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// removeContainers removes containers. Somebody else may be at it already (the engine's own --rm), then it waits.
func (d *Driver) removeContainers(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	args := slices.Concat(d.diff.removeArgs, ids)
	for {
		_, err := d.output(ctx, args...)
		if err == nil {
			return nil
		}
		open := d.openProblems(err)
		if len(open) == 0 {
			return nil
		}
		busy := func(line string) bool { return d.diff.means(line) == removing }
		if !slices.ContainsFunc(open, busy) || !wait.For(ctx, 100*time.Millisecond) {
			return wrap(err, "removing containers")
		}
	}
}

// openProblems are the lines of a removal's complaint that do not just say that something is gone already.
func (d *Driver) openProblems(err error) []string {
	var failed *CommandError
	if !errors.As(err, &failed) || failed.ExitCode < 0 {
		return []string{err.Error()}
	}
	var open []string
	for line := range strings.SplitSeq(failed.Output, "\n") {
		line = strings.TrimSpace(line)
		harmless := line == "" || strings.HasPrefix(line, "exit status ") || strings.Contains(line, "level=warning")
		if m := d.diff.means(line); !harmless && m != gone && m != networkMissing {
			open = append(open, line)
		}
	}
	return open
}

// removeNetwork removes a network. A container that a step put on it, and that is not the job's, is cut off.
func (d *Driver) removeNetwork(ctx context.Context, name string) error {
	const tries = 5
	for try := 1; ; try++ {
		_, err := d.output(ctx, "network", "rm", name)
		if err == nil || len(d.openProblems(err)) == 0 {
			return d.forgetNetwork(name)
		}
		if d.meaningOf(err) != inUse || try == tries {
			return wrap(err, "removing network "+name)
		}
		d.disconnectAll(ctx, name)
		if !wait.For(ctx, 100*time.Millisecond) {
			return wrap(err, "removing network "+name)
		}
	}
}

// disconnectAll cuts every container off a network. What fails shows in the next try to remove it.
func (d *Driver) disconnectAll(ctx context.Context, network string) {
	answer, err := d.output(ctx, "ps", "-a", "--no-trunc", "--filter", "network="+network, "--format", "{{.ID}}")
	if err == nil {
		d.disconnect(ctx, network, strings.Fields(string(answer)))
	}
}

// disconnect cuts containers off a network, if they are on it.
func (d *Driver) disconnect(ctx context.Context, network string, ids []string) {
	engine.Each(ids, func(id string) error {
		_, err := d.output(ctx, "network", "disconnect", "-f", network, id)
		return err
	})
}
