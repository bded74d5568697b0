package ocicli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
	"github.com/gantry-ci/gantry/internal/writers"
)

// StartJob is part of engine.Engine. Everything that can go side by side does: each container starts when its own
// image and the network are there.
func (d *Driver) StartJob(ctx context.Context, spec engine.JobSpec, log io.Writer) (engine.Job, error) {
	r, err := d.newJobRun(spec, log)
	if err != nil {
		return engine.Job{}, err
	}
	g, started := errgroup.WithContext(ctx)
	g.Go(func() error { return r.before(started) })
	g.Go(func() error { return r.makeNetwork(started) })
	g.Go(func() error { return r.fetchImages(started) })
	for _, m := range r.members {
		g.Go(func() error { return r.startMember(started, m) })
	}
	err = g.Wait()
	if err == nil {
		err = r.awaitHealth(ctx)
	}
	if err != nil {
		return engine.Job{Phases: r.phases}, err
	}
	return r.result(), nil
}

// jobRun is one StartJob under way.
type jobRun struct {
	d       *Driver
	spec    engine.JobSpec
	log     io.Writer
	members []*member // the job container, if there is one, then the services

	cleared      chan struct{}            // closed: spec.Before is through
	networkReady chan struct{}            // closed
	imageReady   map[wanted]chan struct{} // closed

	mu     sync.Mutex
	phases []engine.Phase
}

// member is a container of the job.
type member struct {
	spec engine.ContainerSpec
	plan *plan
	id   string
	seen inspected
	watch
}

func (d *Driver) newJobRun(spec engine.JobSpec, log io.Writer) (*jobRun, error) {
	r := &jobRun{
		d: d, spec: spec, log: writers.NewLocked(log),
		cleared: make(chan struct{}), networkReady: make(chan struct{}), imageReady: map[wanted]chan struct{}{},
	}
	containers := spec.Services
	if spec.Container != nil {
		containers = slices.Insert(slices.Clone(containers), 0, *spec.Container)
	}
	for _, c := range containers {
		p, err := d.diff.planContainer(c, spec.Network.Name)
		if err != nil {
			return nil, fmt.Errorf("planning %s: %w", c.Title, err)
		}
		r.members = append(r.members, &member{spec: c, plan: p})
		r.imageReady[wantedBy(c)] = make(chan struct{})
	}
	return r, nil
}

// phase notes how long something took.
func (r *jobRun) phase(title string, start time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phases = append(r.phases, engine.Phase{Title: title, Start: start, Took: time.Since(start)})
}

// before does what has to be done before containers are made, and then sees whether the host's ports are free.
func (r *jobRun) before(ctx context.Context) error {
	if r.spec.Before != nil {
		if err := r.spec.Before(ctx); err != nil {
			return err
		}
	}
	if err := r.d.checkHostPorts(r.spec); err != nil {
		return err
	}
	close(r.cleared)
	return nil
}

func (r *jobRun) makeNetwork(ctx context.Context) error {
	if r.spec.Network.Create {
		start := time.Now()
		args := []string{"network", "create"}
		for _, name := range sortedKeys(r.spec.Labels) {
			args = append(args, "--label", name+"="+r.spec.Labels[name])
		}
		failpoint.Hit("network-creating")
		args = append(args, r.spec.Network.Name)
		err := r.d.createNetwork(ctx, args)
		if err != nil && await(ctx, r.cleared) == nil { // what Before has removed may have used the addresses up
			err = r.d.createNetwork(ctx, args)
		}
		if err != nil {
			return wrap(err, "creating network "+r.spec.Network.Name)
		}
		failpoint.Hit("network-created")
		r.phase("network", start)
	}
	close(r.networkReady)
	return nil
}

// createNetwork tries again where Podman stumbles over an interface that another network is just losing.
func (d *Driver) createNetwork(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	const tries = 3
	for try := 1; ; try++ {
		_, err := d.run(ctx, command{args: args, whole: true})
		if err == nil || d.meaningOf(err) != passing || try == tries || !wait.For(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// fetchImages pulls what must be pulled, and tells those who wait for each image.
func (r *jobRun) fetchImages(ctx context.Context) error {
	var images []wanted
	for _, m := range r.members {
		if w := wantedBy(m.spec); !slices.Contains(images, w) {
			images = append(images, w)
		}
	}
	missing, err := r.d.missingFrom(ctx, images)
	if err != nil {
		return err
	}
	failpoint.Hit("images-checked")
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range images {
		if !slices.Contains(missing, w) {
			close(r.imageReady[w])
			continue
		}
		g.Go(func() error {
			ctx, cancel := engine.Within(ctx, r.spec.Timeouts.Pull, "timeouts.pull")
			defer cancel()
			start := time.Now()
			if err := r.d.fetch(ctx, w, r.log); err != nil {
				return err
			}
			r.phase("pull "+w.image, start)
			close(r.imageReady[w])
			return nil
		})
	}
	return g.Wait()
}

func (r *jobRun) startMember(ctx context.Context, m *member) error {
	if err := await(ctx, r.imageReady[wantedBy(m.spec)]); err != nil {
		return err
	}
	start := time.Now()
	ctx, cancel := engine.Within(ctx, r.spec.Timeouts.Start, "timeouts.start")
	defer cancel()
	file, remove, err := r.d.writeEnvFile(m.plan.env.file)
	if err != nil {
		return err
	}
	defer remove()
	if m.id, err = r.launch(ctx, m.plan, file); err != nil {
		return fmt.Errorf("starting %s (%s): %w", m.spec.Title, m.spec.Image, err)
	}
	failpoint.Hit("container-started")
	m.since(time.Now())
	r.phase("start "+m.spec.Title, start)
	return nil
}

// launch starts a container with one call, once the network is there. (Creating containers while the network is being
// made, and starting them then, needs a call more for each and is no faster.)
func (r *jobRun) launch(ctx context.Context, p *plan, envFile string) (id string, err error) {
	failpoint.Hit("container-creating")
	for _, ready := range []chan struct{}{r.cleared, r.networkReady} {
		if err := await(ctx, ready); err != nil {
			return "", err
		}
	}
	failpoint.Hit("container-starting")
	return r.d.makeContainer(ctx, p, []string{"run", "-d"}, envFile)
}

// makeContainer runs a command that ends by printing the ID of a container.
func (d *Driver) makeContainer(ctx context.Context, p *plan, verb []string, envFile string) (id string, err error) {
	args := p.args(verb, envFile)
	out, err := d.run(ctx, command{args: args, env: p.env.values, whole: true})
	if err != nil {
		return "", err
	}
	id = strings.TrimSpace(string(out))
	if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", &verdict.Error{
			Whose:   verdict.Workflow,
			Err:     fmt.Errorf("%w: no container came of them", engine.ErrOptions),
			Command: programs.Typed(d.path, args), Output: id, Hint: "correct the container's options in the workflow",
		}
	}
	return id, nil
}

// await waits until ready is closed.
func await(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *jobRun) result() engine.Job {
	job := engine.Job{Network: r.spec.Network.Name, Phases: r.phases, Services: []engine.Started{}}
	for i, m := range r.members {
		s := engine.Started{ID: m.id, Name: m.spec.Name, Network: m.seen.network(m.plan.network), Ports: m.seen.ports()}
		if i == 0 && r.spec.Container != nil {
			job.Container = &s
		} else {
			job.Services = append(job.Services, s)
		}
	}
	return job
}
