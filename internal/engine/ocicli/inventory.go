package ocicli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/writers"
)

// List is part of engine.Engine.
func (d *Driver) List(ctx context.Context, labels map[string]string) (engine.Inventory, error) {
	d.settle(ctx)
	var inv engine.Inventory
	filters := labelFilters(labels)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		inv.Containers, err = list(ctx, d, d.diff.listContainers, filters)
		return wrap(err, "listing containers")
	})
	g.Go(func() (err error) {
		inv.Networks, err = list(ctx, d, d.diff.listNetworks, filters)
		return wrap(err, "listing networks")
	})
	if err := g.Wait(); err != nil {
		return engine.Inventory{}, err
	}
	return inv, nil
}

func list[T any](ctx context.Context, d *Driver, l listing[T], filters []string) ([]T, error) {
	answer, err := d.output(ctx, slices.Concat(l.args, filters)...)
	if err != nil {
		return nil, err
	}
	return l.read(answer)
}

func labelFilters(labels map[string]string) []string {
	var args []string
	for _, name := range sortedKeys(labels) {
		args = append(args, "--filter", "label="+name+"="+labels[name])
	}
	return args
}

// wrap is fmt.Errorf("doing: %w", err), and nil for nil.
func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// dockerTime is how docker prints times in lists.
const dockerTime = "2006-01-02 15:04:05.999999999 -0700 MST"

func readDockerContainers(answer []byte) ([]engine.Container, error) {
	type row struct{ ID, Names, Image, State, Status, Labels, CreatedAt string }
	rows, err := jsonLines[row](answer)
	if err != nil {
		return nil, err
	}
	var list []engine.Container
	for _, r := range rows {
		created, err := time.Parse(dockerTime, r.CreatedAt)
		if err != nil {
			return nil, fmt.Errorf("reading when container %s was created: %w", r.ID, err)
		}
		list = append(list, engine.Container{
			ID: r.ID, Name: r.Names, Image: r.Image, Running: r.State == "running", Health: healthIn(r.Status),
			Labels: splitLabels(r.Labels), Created: created,
		})
	}
	return list, nil
}

func readDockerNetworks(answer []byte) ([]engine.Network, error) {
	type row struct{ ID, Name, Labels, CreatedAt string }
	rows, err := jsonLines[row](answer)
	if err != nil {
		return nil, err
	}
	var list []engine.Network
	for _, r := range rows {
		created, err := time.Parse(dockerTime, r.CreatedAt)
		if err != nil {
			return nil, fmt.Errorf("reading when network %s was created: %w", r.Name, err)
		}
		list = append(list, engine.Network{ID: r.ID, Name: r.Name, Labels: splitLabels(r.Labels), Created: created})
	}
	return list, nil
}

// healthIn reads health from a status like "Up 2 minutes (healthy)" or "Up 1 second (health: starting)".
func healthIn(status string) string {
	_, note, _ := strings.Cut(status, "(")
	note = strings.TrimPrefix(strings.TrimSuffix(note, ")"), "health: ")
	switch note {
	case "healthy", "unhealthy", "starting":
		return note
	}
	return ""
}

// splitLabels reads docker's "a=1,b=2". A comma within a value cannot be told from one between two labels, unless no
// "=" follows; gantry's own labels have none.
func splitLabels(text string) map[string]string {
	labels := map[string]string{}
	last := ""
	for entry := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(entry, "=")
		switch {
		case ok:
			labels[name], last = value, name
		case last != "":
			labels[last] += "," + entry
		case entry != "":
			labels[entry] = ""
		}
	}
	return labels
}

func readPodmanContainers(answer []byte) ([]engine.Container, error) {
	type row struct {
		ID      string `json:"Id"`
		Names   []string
		Image   string
		State   string
		Status  string
		Labels  map[string]string
		Created int64
	}
	rows, err := jsonList[row](answer)
	if err != nil {
		return nil, err
	}
	var list []engine.Container
	for _, r := range rows {
		c := engine.Container{
			ID: r.ID, Image: r.Image, Running: r.State == "running", Health: healthIn(r.Status), Labels: r.Labels,
			Created: time.Unix(r.Created, 0),
		}
		if len(r.Names) > 0 {
			c.Name = r.Names[0]
		}
		list = append(list, c)
	}
	return list, nil
}

func readPodmanNetworks(answer []byte) ([]engine.Network, error) {
	type row struct {
		ID, Name string
		Labels   map[string]string
		Created  time.Time
	}
	rows, err := jsonList[row](answer)
	if err != nil {
		return nil, err
	}
	var list []engine.Network
	for _, r := range rows {
		list = append(list, engine.Network{ID: r.ID, Name: r.Name, Labels: r.Labels, Created: r.Created})
	}
	return list, nil
}

// Logs is part of engine.Engine.
func (d *Driver) Logs(ctx context.Context, id string, n int, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	_, err := d.run(ctx, command{args: []string{"logs", "--tail", strconv.Itoa(n), id}, talk: w})
	return wrap(err, "reading the log of container "+id)
}

// lastLog is the end of a container's log, or why there is none.
func (d *Driver) lastLog(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	log := &writers.Tail{Max: keptOutput}
	if err := d.Logs(ctx, id, 100, log); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err.Error()
	}
	return log.String()
}
