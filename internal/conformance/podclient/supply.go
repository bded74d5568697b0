package podclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// Listen is loopback: the suite's registry is for the suite alone, because nodes pull from none without TLS.
func (c *Client) Listen() string { return "127.0.0.1" }

// Registry is where Publish puts images.
func (c *Client) Registry() string { return c.opts.Publish }

// Image reads an image from its registry.
func (c *Client) Image(ctx context.Context, image string) (*images.Image, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, fmt.Errorf("reading the name of an image: %w", err)
	}
	found, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, fmt.Errorf("pulling %s: %w", image, err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(ref, found, &archive); err != nil {
		return nil, fmt.Errorf("pulling %s: %w", image, err)
	}
	return images.Read(&archive)
}

// Publish copies an image of the suite's own registry to where nodes can pull it, and gives its name there.
func (c *Client) Publish(ctx context.Context, image string) (string, error) {
	if c.opts.Publish == "" {
		return "", errors.New("nodes cannot pull from the suite's own registry: name one that they can, and that takes images (--publish HOST/PREFIX)")
	}
	_, repository, _ := strings.Cut(image, "/")
	to := c.opts.Publish + "/" + repository
	tagged, digest, byDigest := strings.Cut(repository, "@")
	if byDigest { // it has been copied by its tag
		return c.opts.Publish + "/" + tagged + "@" + digest, nil
	}
	from, err := name.ParseReference(image)
	if err != nil {
		return "", fmt.Errorf("reading the name of an image: %w", err)
	}
	target, err := name.ParseReference(to)
	if err != nil {
		return "", fmt.Errorf("reading the name of an image: %w", err)
	}
	found, err := remote.Image(from, remote.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("reading %s of the suite's registry: %w", repository, err)
	}
	if err := remote.Write(target, found, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("publishing %s: %w", to, err)
	}
	return to, nil
}

// Open gives the hook the variables with which a runner's pod tells it where it is.
func (c *Client) Open(string, []string) ([]string, error) {
	var kept []string
	for _, name := range []string{
		"ACTIONS_RUNNER_POD_NAME", "ACTIONS_RUNNER_CLAIM_NAME", "ACTIONS_RUNNER_KUBERNETES_NAMESPACE",
		"ACTIONS_RUNNER_USE_KUBE_SCHEDULER", "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE",
	} {
		if value := lookup(c.opts.Environ, name); value != "" {
			kept = append(kept, name+"="+value)
		}
	}
	return kept, nil
}

// pullTrial is a pod that is there only to see that an image can be pulled.
const pullTrial = "conformance-pull"

// Pull has a node pull an image, for a pod that is removed again.
func (c *Client) Pull(ctx context.Context, image string) error {
	trial := conformance.Inventory{Containers: []string{pullTrial}}
	if err := c.Remove(ctx, trial); err != nil {
		return err
	}
	started := c.Start(ctx, pullTrial, image)
	return errors.Join(started, c.Remove(context.WithoutCancel(ctx), trial))
}

// Close leaves images where they were published: few registries let one remove them.
func (c *Client) Close(context.Context, []string) error { return nil }
