package kube

import (
	"context"
	"errors"
	"io"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Builder builds images of Dockerfile actions and keeps them in a registry, as imagebuild.Builder does.
type Builder interface {
	// Build builds and pushes an image unless it is there, and gives the name that nodes pull it by.
	Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) (ref string, err error)
	// Ref is that name, without asking anybody.
	Ref(tag string) (string, error)
	// PullCredentials are for the nodes; nil: they need none.
	PullCredentials(ctx context.Context) (*engine.Credentials, error)
	// Images lists what was built, RemoveImages removes it by ID.
	Images(ctx context.Context) ([]engine.Image, error)
	RemoveImages(ctx context.Context, ids []string) error
}

// Build is part of engine.Engine.
func (d *Driver) Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) error {
	if d.opts.Builder == nil {
		return noBuilder()
	}
	_, err := d.opts.Builder.Build(ctx, spec, log)
	return err
}

func noBuilder() error {
	return verdict.New(verdict.Configuration, "set kubernetes.build in gantry.yaml (BuildKit or buildah, and a registry), or let the action name an image",
		"a Dockerfile action: nothing is configured here that could build its image")
}

// Images is part of engine.Engine. All images of the registry's repository are ours; labels are not asked for.
func (d *Driver) Images(ctx context.Context, _ map[string]string) ([]engine.Image, error) {
	if d.opts.Builder == nil {
		return nil, nil
	}
	return d.opts.Builder.Images(ctx)
}

// RemoveImages is part of engine.Engine.
func (d *Driver) RemoveImages(ctx context.Context, ids []string) error {
	if d.opts.Builder == nil {
		if len(ids) == 0 {
			return nil
		}
		return errors.New("removing images: nothing is configured here that keeps any")
	}
	return d.opts.Builder.RemoveImages(ctx, ids)
}

// built makes a step's specification name the image as nodes know it, if the driver has built it.
func (d *Driver) built(ctx context.Context, spec engine.ContainerSpec) (engine.ContainerSpec, error) {
	if d.opts.Builder == nil || !spec.Built {
		return spec, nil
	}
	ref, err := d.opts.Builder.Ref(spec.Image)
	if err != nil {
		return spec, err
	}
	spec.Image, spec.Pull = ref, engine.PullMissing
	if spec.Credentials == nil {
		spec.Credentials, err = d.opts.Builder.PullCredentials(ctx)
	}
	return spec, err
}
