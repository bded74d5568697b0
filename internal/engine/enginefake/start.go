package enginefake

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// settle is how long a container's health takes to show.
const settle = 10 * time.Millisecond

// StartJob is part of engine.Engine.
func (e *Engine) StartJob(ctx context.Context, spec engine.JobSpec, log io.Writer) (engine.Job, error) {
	if err := e.called(ctx, "StartJob"); err != nil {
		return engine.Job{}, err
	}
	job := engine.Job{Network: spec.Network.Name, Services: []engine.Started{}}
	if spec.Network.Create {
		e.addNetwork(spec)
		job.Phases = append(job.Phases, phase("network"))
	} else if !e.hasNetwork(spec.Network.Name) {
		return job, verdict.New(verdict.Configuration, "make it", "network %s not found", spec.Network.Name)
	}
	if spec.Before != nil {
		if err := spec.Before(ctx); err != nil {
			return engine.Job{Phases: job.Phases}, err
		}
	}
	var made []*container
	if spec.Container != nil {
		c, err := e.join(ctx, *spec.Container, &job, log)
		if err != nil {
			return engine.Job{Phases: job.Phases}, err
		}
		job.Container = c.started()
		made = append(made, c)
	}
	for _, service := range spec.Services {
		c, err := e.join(ctx, service, &job, log)
		if err != nil {
			return engine.Job{Phases: job.Phases}, err
		}
		job.Services = append(job.Services, *c.started())
		made = append(made, c)
	}
	if err := awaitHealth(ctx, spec.Timeouts.Health, made, &job, log); err != nil {
		return engine.Job{Phases: job.Phases}, err
	}
	return job, nil
}

func phase(title string) engine.Phase { return engine.Phase{Title: title, Start: time.Now()} }

func (e *Engine) addNetwork(spec engine.JobSpec) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.networks[spec.Network.Name] = engine.Network{ID: newID(), Name: spec.Network.Name, Labels: spec.Labels, Created: time.Now()}
}

func (e *Engine) hasNetwork(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, made := e.networks[name]
	return made || slices.Contains([]string{"host", "none", "bridge"}, name)
}

// join fetches a container's image and starts the container on the job's network.
func (e *Engine) join(ctx context.Context, spec engine.ContainerSpec, job *engine.Job, log io.Writer) (*container, error) {
	image, err := e.fetch(spec, job, log)
	if err != nil {
		return nil, err
	}
	c, err := e.launch(ctx, spec, image, job.Network)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Title, err)
	}
	job.Phases = append(job.Phases, phase("start "+spec.Title))
	return c, nil
}

// fetch finds an image in the store, or pulls it.
func (e *Engine) fetch(spec engine.ContainerSpec, job *engine.Job, log io.Writer) (*Image, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	image := e.images[spec.Image]
	pull := "fake pull " + spec.Image
	switch {
	case image == nil && spec.Pull == engine.PullNever:
		return nil, refusal(engine.ErrImageNotFound, verdict.Configuration, pull, "no "+spec.Image)
	case image == nil:
		return nil, refusal(engine.ErrImageNotFound, verdict.Workflow, pull, "no "+spec.Image)
	case !image.Remote || job == nil || slices.ContainsFunc(job.Phases, func(p engine.Phase) bool { return p.Title == "pull "+spec.Image }):
		return image, nil
	case spec.Credentials == nil || spec.Credentials.Username != image.Username || spec.Credentials.Password != image.Password:
		return nil, refusal(engine.ErrDenied, verdict.Workflow, pull, "unauthorized")
	}
	fmt.Fprintf(log, "pulled %s\n", spec.Image)
	job.Phases = append(job.Phases, phase("pull "+spec.Image))
	return image, nil
}

// launch starts a container and its process.
func (e *Engine) launch(ctx context.Context, spec engine.ContainerSpec, image *Image, network string) (*container, error) {
	command := "fake run " + strings.Join(spec.Options, " ") + " " + spec.Image
	health, err := options(spec, image.Health, command)
	if err != nil {
		return nil, err
	}
	argv := argvOf(spec, image)
	if e.Run == nil && !knows(argv) {
		return nil, refusal(engine.ErrCommand, verdict.Workflow, command, fmt.Sprintf("exec: %q: not found", argv))
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &container{
		id: newID(), spec: spec, network: network, created: time.Now(), end: end, ended: make(chan struct{}),
		ports: map[string]string{},
	}
	if health != "" {
		c.health = "starting"
		time.AfterFunc(settle, func() { c.setHealth(health) })
	}
	if err := e.add(c, command); err != nil {
		end()
		return nil, err
	}
	run := e.Run
	if run == nil {
		run = Shell
	}
	go func() { c.setExit(run(life, Process{Spec: spec, Argv: argv, Stdout: c, Stderr: c})) }()
	return c, nil
}

// add makes a container known, with its ports.
func (e *Engine) add(c *container, command string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range c.spec.Ports {
		parts := strings.Split(p, ":")
		number, _, _ := strings.Cut(parts[len(parts)-1], "/")
		host := ""
		if len(parts) > 1 {
			host = parts[len(parts)-2]
		}
		if host == "" {
			e.lastPort++
			host = strconv.Itoa(e.lastPort)
		}
		for _, other := range e.containers {
			for _, taken := range other.ports {
				if taken == host {
					return refusal(engine.ErrPortTaken, verdict.Workflow, command, "port "+host+" is taken")
				}
			}
		}
		c.ports[number] = host
	}
	e.containers[c.id] = c
	return nil
}

// options judges the create flags, and gives the health that they lead to.
func options(spec engine.ContainerSpec, health, command string) (string, error) {
	for i := 0; i < len(spec.Options); i += 2 {
		name, value, joined := strings.Cut(spec.Options[i], "=")
		if joined {
			i--
		} else if i+1 < len(spec.Options) {
			value = spec.Options[i+1]
		}
		switch name {
		case "--health-cmd":
			if health = "starting"; value == "true" {
				health = "healthy"
			}
		case "--health-interval", "--health-retries", "--health-timeout", "--network", "--network-alias", "--label", "--cpus",
			"--memory", "--pids-limit", "--hostname", "--user", "--add-host", "--ulimit", "--cap-add":
		default:
			return "", refusal(engine.ErrOptions, verdict.Workflow, command, "unknown flag: "+name)
		}
	}
	return health, nil
}

func argvOf(spec engine.ContainerSpec, image *Image) []string {
	switch {
	case spec.Entrypoint != "":
		return append([]string{spec.Entrypoint}, spec.Args...)
	case len(spec.Args) > 0:
		return slices.Concat(image.Entrypoint, spec.Args)
	}
	return slices.Concat(image.Entrypoint, image.Cmd)
}

func (c *container) started() *engine.Started {
	return &engine.Started{ID: c.id, Name: c.spec.Name, Network: c.network, Ports: c.status().Ports}
}

// awaitHealth waits until all are healthy or one has failed.
func awaitHealth(ctx context.Context, limit time.Duration, made []*container, job *engine.Job, log io.Writer) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("not healthy after %s: %w", limit, engine.ErrUnhealthy))
		defer cancel()
	}
	time.Sleep(settle)
	healthy := map[string]bool{}
	for {
		waiting := false
		for _, c := range made {
			s := c.status()
			switch {
			case !s.Running:
				return unhealthy(c, fmt.Sprintf("%s exited with status %d", c.spec.Title, s.ExitCode), engine.ErrUnhealthy)
			case s.Health == "unhealthy":
				return unhealthy(c, c.spec.Title+" is unhealthy", engine.ErrUnhealthy)
			case s.Health == "starting":
				waiting = true
			case s.Health == "healthy" && !healthy[c.id]:
				healthy[c.id] = true
				fmt.Fprintf(log, "%s is healthy\n", c.spec.Title)
				job.Phases = append(job.Phases, phase("health "+c.spec.Title))
			}
		}
		if !waiting {
			return nil
		}
		select {
		case <-ctx.Done():
			return unhealthy(made[0], "waiting for health", context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

func unhealthy(c *container, how string, cause error) error {
	return &verdict.Error{
		Whose: verdict.Workflow, Err: fmt.Errorf("%s: %w", how, cause), Command: "fake logs " + c.spec.Name, Output: c.lastLines(100), Hint: "look",
	}
}

// StartStep is part of engine.Engine.
func (e *Engine) StartStep(ctx context.Context, spec engine.ContainerSpec, network string, log io.Writer) (*engine.StepContainer, error) {
	if err := e.called(ctx, "StartStep"); err != nil {
		return nil, err
	}
	image, err := e.fetch(spec, new(engine.Job), log)
	if err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	step := &engine.StepContainer{ID: spec.Name, Name: spec.Name, Entrypoint: image.Entrypoint, Cmd: image.Cmd, Gone: gone}
	c, err := e.launch(ctx, spec, image, network)
	step.Err = func() error { <-gone; return err }
	if err != nil {
		close(gone)
		return step, nil
	}
	go func() {
		defer close(gone)
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
		e.remove(c.id)
	}()
	return step, nil
}
