package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// registryLimit bounds what it may take to ask a registry about an image. The node pulls the image meanwhile.
const registryLimit = 5 * time.Second

// imageConfig is what an image says of itself. Kubernetes does not tell it, so the registry is asked.
type imageConfig struct {
	Entrypoint, Cmd []string
	Health          *options.Health // nil: the image has no check
	Ports           []string        // "6379/tcp"
}

// images reads configurations, each once.
type images struct {
	keychain authn.Keychain
	// read asks the registry; tests put another in its place.
	read func(ctx context.Context, ref name.Reference, auth remote.Option) (*v1.ConfigFile, error)

	mu    sync.Mutex
	known map[wantedImage]func() (*imageConfig, error)
}

type wantedImage struct {
	name  string
	creds engine.Credentials
}

func newImages(keychain authn.Keychain) *images {
	return &images{keychain: keychain, read: askConfig, known: map[wantedImage]func() (*imageConfig, error){}}
}

// config is an image's configuration. creds nil: those of the machine, if any.
func (i *images) config(ctx context.Context, image string, creds *engine.Credentials) (*imageConfig, error) {
	want := wantedImage{name: image}
	if creds != nil {
		want.creds = *creds
	}
	i.mu.Lock()
	get := i.known[want]
	if get == nil {
		get = sync.OnceValues(func() (*imageConfig, error) { return i.ask(ctx, want) })
		i.known[want] = get
	}
	i.mu.Unlock()
	return get()
}

func (i *images) ask(ctx context.Context, want wantedImage) (*imageConfig, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, registryLimit, fmt.Errorf("the registry has not answered within %s", registryLimit))
	defer cancel()
	ref, err := name.ParseReference(want.name)
	if err != nil {
		return nil, verdict.New(verdict.Workflow, "check the image's name", "reading the name of the image %q: %w", want.name, err)
	}
	auth := remote.WithAuthFromKeychain(i.keychain)
	if want.creds.Username != "" {
		auth = remote.WithAuth(&authn.Basic{Username: want.creds.Username, Password: want.creds.Password})
	}
	file, err := i.read(ctx, ref, auth)
	if err != nil {
		return nil, unreadable(ctx, want.name, err)
	}
	return configOf(file), nil
}

func askConfig(ctx context.Context, ref name.Reference, auth remote.Option) (*v1.ConfigFile, error) {
	image, err := remote.Image(ref, auth, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, err
	}
	return image.ConfigFile()
}

func configOf(file *v1.ConfigFile) *imageConfig {
	c := file.Config
	found := &imageConfig{Entrypoint: c.Entrypoint, Cmd: c.Cmd}
	if h := c.Healthcheck; h != nil {
		found.Health = options.ImageHealth(h.Test, options.Health{
			Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
		})
	}
	for port := range c.ExposedPorts {
		found.Ports = append(found.Ports, port)
	}
	return found
}

// unreadable explains that the registry did not tell an image's configuration.
func unreadable(ctx context.Context, image string, err error) error {
	v := &verdict.Error{
		Whose: verdict.Infrastructure,
		Err:   fmt.Errorf("reading the configuration of the image %s from its registry: %w", image, err),
		Hint: "the runner must be able to reach the registry, because Kubernetes does not tell an image's entry point; " +
			"or give the entry point in the workflow (`entrypoint:` of the action, --entrypoint in the service's options)",
	}
	if ctx.Err() != nil {
		v.Err = fmt.Errorf("%w (%w)", v.Err, context.Cause(ctx))
	}
	var refused *transport.Error
	if errors.As(err, &refused) {
		switch refused.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			v.Whose, v.Err = verdict.Workflow, fmt.Errorf("%w: %w", engine.ErrDenied, v.Err)
			v.Hint = "check the image's name and its credentials (username and password) in the workflow"
		case http.StatusNotFound:
			v.Whose, v.Err = verdict.Workflow, fmt.Errorf("%w: %w", engine.ErrImageNotFound, v.Err)
			v.Hint = "check the image's name and tag"
		}
	}
	return v
}

// argv is what a container runs: the given entry point with the given arguments, or the image's own. Another entry point
// than the image's makes its CMD meaningless.
func (c *imageConfig) argv(entrypoint string, args []string) []string {
	switch {
	case entrypoint != "":
		return append([]string{entrypoint}, args...)
	case len(args) > 0:
		return append(append([]string{}, c.Entrypoint...), args...)
	}
	return append(append([]string{}, c.Entrypoint...), c.Cmd...)
}
