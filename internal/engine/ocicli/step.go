package ocicli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/writers"
)

// StartStep is part of engine.Engine. The engine's program stays in the foreground as long as the container runs;
// it does not carry the step's output, and reads nothing.
func (d *Driver) StartStep(ctx context.Context, spec engine.ContainerSpec, network string, log io.Writer) (*engine.StepContainer, error) {
	p, err := d.diff.planContainer(spec, network)
	if err != nil {
		return nil, fmt.Errorf("planning %s: %w", spec.Title, err)
	}
	file, removeFile, err := d.writeEnvFile(p.env.file)
	if err != nil {
		return nil, err
	}
	s, image, err := d.startStep(ctx, spec, writers.NewLocked(log), func() (*stepRun, error) {
		s := &stepRun{d: d, name: spec.Name, args: p.args([]string{"run", "--rm"}, file), said: &writers.Tail{Max: keptOutput}, gone: make(chan struct{})}
		if err := s.start(ctx, p.env.values); err != nil {
			return nil, fmt.Errorf("starting %s (%s): %w", spec.Title, spec.Image, err)
		}
		return s, nil
	})
	if err != nil {
		removeFile()
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer removeFile()
		<-s.gone
	}()
	return &engine.StepContainer{
		ID:         spec.Name,
		Name:       spec.Name,
		Entrypoint: image.Config.Entrypoint,
		Cmd:        image.Config.Cmd,
		Gone:       gone,
		Err: func() error {
			<-gone
			return wrap(s.err, fmt.Sprintf("running %s (%s)", spec.Title, spec.Image))
		},
	}, nil
}

// startStep starts a step's container and looks at its image. An image that is most likely there is looked at while the
// container starts; if it is not, the engine has started nothing, and it is fetched.
func (d *Driver) startStep(ctx context.Context, spec engine.ContainerSpec, log io.Writer, start func() (*stepRun, error)) (*stepRun, imageInspected, error) {
	w := wantedBy(spec)
	if w.checksStore() {
		s, err := start()
		if err != nil {
			return nil, imageInspected{}, err
		}
		found, err := d.inspectImages(ctx, w.image)
		if err == nil {
			return s, found[0], nil
		}
		s.stop()
		if d.meaningOf(err) != imageMissing {
			return nil, imageInspected{}, err
		}
	}
	pulling, cancel := engine.Within(ctx, spec.PullTimeout, "timeouts.pull")
	defer cancel()
	if err := d.fetch(pulling, w, log); err != nil {
		return nil, imageInspected{}, err
	}
	found, err := d.inspectImages(ctx, w.image)
	if err != nil {
		return nil, imageInspected{}, err
	}
	s, err := start()
	return s, found[0], err
}

// stepRun is a step's container under way.
type stepRun struct {
	d    *Driver
	name string
	args []string
	said *writers.Tail
	cmd  *exec.Cmd
	stop func()        // ends it, and waits for that
	gone chan struct{} // closed; then err is valid
	err  error
}

// start asks for the container. The engine's program is not bound to ctx: what ends with ctx is the container.
func (s *stepRun) start(ctx context.Context, env []string) error {
	s.cmd = s.d.prepare(context.WithoutCancel(ctx), command{args: s.args, env: env, whole: true})
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	s.d.log.DebugContext(ctx, "engine, in the foreground", "command", programs.Typed(s.d.path, s.args))
	failpoint.Hit("step-run-starting")
	if err := s.cmd.Start(); err != nil {
		return s.d.failure(ctx, s.args, err, "")
	}
	failpoint.Hit("step-run-started")
	ctx, cancel := context.WithCancel(ctx)
	s.stop = func() { cancel(); <-s.gone }
	go func() {
		defer close(s.gone)
		defer cancel()
		s.err = s.follow(ctx)
	}()
	return nil
}

// follow waits for the container to end, or ends it with ctx, and makes sure that it is gone.
func (s *stepRun) follow(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		return s.verdict(ctx, err)
	case <-ctx.Done():
		return s.end(ctx, ended)
	}
}

// end removes the container until the engine's program has ended too: it may have been about to create it.
func (s *stepRun) end(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
	defer cancel()
	giveUp := time.After(5 * time.Second)
	for {
		err := s.d.removeContainers(ctx, []string{s.name})
		select {
		case <-ended:
			return s.d.removeContainers(ctx, []string{s.name})
		case <-giveUp:
			_ = s.cmd.Process.Kill() // it has ended if this fails
			<-ended
			return s.d.removeContainers(ctx, []string{s.name})
		case <-time.After(100 * time.Millisecond):
			if err != nil && ctx.Err() != nil {
				return err
			}
		}
	}
}

// verdict tells the engine's own failure from the end of the container's process, whose status the engine's program
// makes its own. Only after a failure there can be something left to remove.
func (s *stepRun) verdict(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	said := s.said.String()
	code := exitCode(err)
	if code >= 0 && (code < 125 || code > 127) {
		return nil
	}
	var failure error
	if code < 0 || s.d.diff.complains(said) {
		failure = s.d.failure(context.WithoutCancel(ctx), s.args, err, said)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
	defer cancel()
	if left := s.d.removeContainers(ctx, []string{s.name}); left != nil {
		return errors.Join(failure, left)
	}
	return failure
}

// complains tells whether a program's talk has a line about its own failure.
func (d *differences) complains(said string) bool {
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, d.speaks) {
			return true
		}
	}
	return false
}
