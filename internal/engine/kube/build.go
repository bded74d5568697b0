package kube

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Builder builds images of Dockerfile actions and keeps them in a registry, as imagebuild.Builder does.
type Builder interface {
	// Build builds and pushes an image unless it is there, and gives the name that nodes pull it by.
	Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) (ref string, err error)
	// Has tells whether it is there.
	Has(ctx context.Context, tag string) (bool, error)
	// Ref is the name that nodes pull it by, without asking anybody.
	Ref(tag string) (string, error)
	// Config is what the image says of itself.
	Config(ctx context.Context, tag string) (*v1.ConfigFile, error)
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

// HasImage is part of engine.Engine.
func (d *Driver) HasImage(ctx context.Context, tag string) (bool, error) {
	if d.opts.Builder == nil {
		return false, nil
	}
	return d.opts.Builder.Has(ctx, tag)
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

// readConfig reads what a step's image says of itself.
func (d *Driver) readConfig(ctx context.Context, spec engine.ContainerSpec) (*imageConfig, error) {
	if !spec.Built || d.opts.Builder == nil {
		return d.images.config(ctx, spec.Image, spec.Credentials)
	}
	file, err := d.opts.Builder.Config(ctx, spec.Image)
	if err != nil {
		return nil, err
	}
	return configOf(file), nil
}

// pulled makes a step's specification name the image as nodes know it, if it was built.
func (d *Driver) pulled(ctx context.Context, spec engine.ContainerSpec) (engine.ContainerSpec, error) {
	if !spec.Built || d.opts.Builder == nil {
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

// actionCredentials notes those for images that steps of a job will build: their containers come into the job's pod, whose
// pull secrets cannot be changed then.
func (d *Driver) actionCredentials(ctx context.Context, s *secrets) error {
	if d.opts.Builder == nil {
		return nil
	}
	spec, err := d.pulled(ctx, engine.ContainerSpec{Image: "gantry-action:any", Built: true})
	if err != nil {
		return err
	}
	s.credentials(&member{spec: spec})
	return nil
}
