package ocicli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// imageInspected is what both programs say of an image.
type imageInspected struct {
	ID       string `json:"Id"`
	RepoTags []string
	Created  time.Time
	Config   struct {
		Entrypoint, Cmd []string
		Labels          map[string]string
	}
}

// inspectImages looks at images with one call; one that is not there makes it fail with engine.ErrImageNotFound.
func (d *Driver) inspectImages(ctx context.Context, names ...string) ([]imageInspected, error) {
	answer, err := d.output(ctx, slices.Concat([]string{"image", "inspect"}, names)...)
	if err != nil {
		return nil, wrap(err, "looking at image "+strings.Join(names, ", "))
	}
	found, err := jsonList[imageInspected](answer)
	if err != nil {
		return nil, err
	}
	if len(found) != len(names) {
		return nil, fmt.Errorf("looking at image %s: %d answers: %w", strings.Join(names, ", "), len(found), engine.ErrImageNotFound)
	}
	return found, nil
}

// HasImage is part of engine.Engine: it tells whether the engine's store has an image.
func (d *Driver) HasImage(ctx context.Context, name string) (bool, error) {
	_, err := d.inspectImages(ctx, name)
	if errors.Is(err, engine.ErrImageNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Build is part of engine.Engine.
func (d *Driver) Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) error {
	if has, err := d.HasImage(ctx, spec.Tag); has || err != nil {
		return err
	}
	file := spec.Dockerfile
	if d.diff.buildFileIsList {
		file = csvLine(file)
	}
	ctx, cancel := engine.Within(ctx, spec.Timeout, "timeouts.build")
	defer cancel()
	args := []string{"build", "--rm", "--force-rm", "-t", spec.Tag}
	for _, name := range sortedKeys(spec.Labels) {
		args = append(args, "--label", name+"="+spec.Labels[name])
	}
	if spec.Pull {
		args = append(args, "--pull")
	}
	args = append(args, "-f", file, spec.Context)
	failpoint.Hit("build-started")
	_, err := d.run(ctx, command{args: args, talk: log, mortal: true})
	failpoint.Hit("build-ended")
	return wrap(d.buildFailure(err), "building "+spec.Dockerfile)
}

// buildFailure is err of a build: what is no known trouble of the engine's is the Dockerfile's. What the build said is in
// the log already, just above.
func (d *Driver) buildFailure(err error) error {
	var v *verdict.Error
	var failed *CommandError
	if !errors.As(err, &v) || !errors.As(err, &failed) {
		return err
	}
	v.Output = ""
	if failed.ExitCode > 0 && d.meaningOf(err) == unknown {
		v.Whose, v.Hint = verdict.Workflow, "the output of the build above says which line of the Dockerfile it is"
	}
	return err
}

// Images is part of engine.Engine.
func (d *Driver) Images(ctx context.Context, labels map[string]string) ([]engine.Image, error) {
	answer, err := d.output(ctx, slices.Concat([]string{"image", "ls", "-q", "--no-trunc"}, labelFilters(labels))...)
	if err != nil {
		return nil, wrap(err, "listing images")
	}
	ids := strings.Fields(string(answer))
	slices.Sort(ids)
	ids = slices.Compact(ids) // one line a tag
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := d.inspectImages(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var images []engine.Image
	for _, i := range found {
		if !carries(i.Config.Labels, labels) {
			continue // Podman lists what carries any of them
		}
		images = append(images, engine.Image{ID: i.ID, Tags: i.RepoTags, Created: i.Created, Labels: i.Config.Labels})
	}
	return images, nil
}

func carries(has, wants map[string]string) bool {
	for name, value := range wants {
		if has[name] != value {
			return false
		}
	}
	return true
}

// RemoveImages is part of engine.Engine. It removes by tag: an image with two tags cannot be removed by its ID
// without force, and force would take away an image in use.
func (d *Driver) RemoveImages(ctx context.Context, ids []string) error {
	return errors.Join(engine.Each(ids, func(id string) error { return d.removeImage(ctx, id) })...)
}

func (d *Driver) removeImage(ctx context.Context, id string) error {
	found, err := d.inspectImages(ctx, id)
	if errors.Is(err, engine.ErrImageNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	names := found[0].RepoTags
	if len(names) == 0 {
		names = []string{id}
	}
	_, err = d.output(ctx, slices.Concat([]string{"rmi"}, names)...)
	if m := d.meaningOf(err); m == inUse || m == imageMissing {
		return nil
	}
	return wrap(err, "removing image "+names[0])
}
