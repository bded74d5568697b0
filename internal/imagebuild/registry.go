package imagebuild

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

const (
	// askLimit bounds a question to the registry, tries included.
	askLimit = 30 * time.Second
	// askedAtOnce is how many questions are put side by side.
	askedAtOnce = 4
	// repositoryName is what stands behind Config.Registry.
	repositoryName = "gantry-action"
)

// image is where an image lies: under which name it is pushed, and under which it is pulled.
type image struct {
	pushed name.Tag
	puller name.Repository
}

// pulled is the reference for a pod.
func (i image) pulled(digest string) string {
	if digest == "" {
		return i.puller.Tag(i.pushed.TagStr()).Name()
	}
	return i.puller.Name() + "@" + digest
}

// image says where the image with a tag ("gantry-action:HASH") lies. Runners of several architectures may share a
// registry, so its name has the architecture in it.
func (b *Builder) image(tag string) (image, error) {
	repository, err := b.repository()
	if err != nil {
		return image{}, err
	}
	puller, err := b.pullRepository()
	if err != nil {
		return image{}, err
	}
	_, hash, ok := strings.Cut(tag, ":")
	if !ok {
		return image{}, verdict.New(verdict.Bug, "", "the tag %q has no version", tag)
	}
	return image{pushed: repository.Tag(hash + "-" + runtime.GOARCH), puller: puller}, nil
}

func (b *Builder) repository() (name.Repository, error) {
	if b.cfg.Registry == "" {
		return name.Repository{}, verdict.New(verdict.Configuration,
			"set kubernetes.build.registry in gantry.yaml to a registry that the runner can push to and the nodes can pull from, "+
				"or let the action name an image (docker://IMAGE) that was built before",
			"actions with a Dockerfile need a registry here: the image is built in the runner's pod and has to come to the node")
	}
	return b.repositoryAt("kubernetes.build.registry", b.cfg.Registry)
}

func (b *Builder) pullRepository() (name.Repository, error) {
	if b.cfg.PullRegistry == "" {
		return b.repository()
	}
	return b.repositoryAt("kubernetes.build.pull_registry", b.cfg.PullRegistry)
}

func (b *Builder) repositoryAt(key, registry string) (name.Repository, error) {
	var options []name.Option
	if b.cfg.Insecure {
		options = append(options, name.Insecure)
	}
	const hint = "write it as HOST[:PORT][/PATH], in lower case: registry.example.com/ci"
	// Without a host it would be an account at Docker Hub, and so would be a host without a dot.
	if host, _, _ := strings.Cut(registry, "/"); host != "localhost" && !strings.ContainsAny(host, ".:") {
		return name.Repository{}, verdict.New(verdict.Configuration, hint+"; Docker Hub is docker.io", "%s: %q does not begin with the name of a registry", key, registry)
	}
	repository, err := name.NewRepository(strings.TrimSuffix(registry, "/")+"/"+repositoryName, options...)
	if err != nil {
		return name.Repository{}, verdict.New(verdict.Configuration, hint, "%s: %w", key, err)
	}
	return repository, nil
}

// find asks the registry for the digest of an image. One that is not there is engine.ErrImageNotFound.
func (b *Builder) find(ctx context.Context, image image) (digest string, err error) {
	err = b.ask(ctx, image.pushed.Repository, func(options ...remote.Option) error {
		found, err := remote.Head(image.pushed, options...)
		if err == nil {
			digest = found.Digest.String()
		}
		return err
	})
	return digest, err
}

// ask puts a question to the registry of a repository. Its errors are verdicts.
func (b *Builder) ask(ctx context.Context, repository name.Repository, question func(...remote.Option) error) error {
	account, err := b.accounts.Of(ctx, repository.Name())
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("no answer after %s: %w", askLimit, context.DeadlineExceeded))
	defer cancel()
	options := []remote.Option{remote.WithContext(limited), remote.WithTransport(b.transport()), remote.WithUserAgent("gantry")}
	if account != (authn.AuthConfig{}) {
		options = append(options, remote.WithAuth(authn.FromConfig(account)))
	}
	err = question(options...)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx)
	case limited.Err() != nil:
		err = context.Cause(limited)
	}
	return b.refused(repository, err)
}

func (b *Builder) transport() http.RoundTripper {
	standard, ok := remote.DefaultTransport.(*http.Transport)
	if !ok || !b.cfg.Insecure {
		return remote.DefaultTransport
	}
	own := standard.Clone()
	own.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // what "insecure" asks for
	return own
}

// refused says what a registry's answer means.
func (b *Builder) refused(repository name.Repository, err error) error {
	registry := repository.RegistryStr()
	var answer *transport.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return verdict.New(verdict.Configuration, distrustedHint(registry), "%w", err)
	case !errors.As(err, &answer):
		return verdict.New(verdict.Infrastructure,
			"is "+registry+" running, and can this pod reach it? check kubernetes.build.registry, the network policies and the proxy settings", "%w", err)
	case answer.StatusCode == http.StatusNotFound:
		return verdict.New(verdict.Infrastructure, "check the registry's log", "%w: %w", engine.ErrImageNotFound, err)
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return verdict.New(verdict.Configuration, accountHint(registry), "%w: %w", engine.ErrDenied, err)
	}
	return verdict.New(verdict.Infrastructure, "check the state of "+registry, "%w", err)
}

func distrustedHint(registry string) string {
	return "let the runner trust the certificate of " + registry + " (SSL_CERT_FILE in the runner's environment), or set kubernetes.build.insecure: true"
}

func accountHint(registry string) string {
	return "give the runner an account for " + registry + " that may pull and push: kubernetes.build.credentials names a config.json with it, " +
		"for example that of a mounted Secret"
}

// Config reads what the image with a tag says of itself, as Kubernetes does not tell it. An image that is not there is
// engine.ErrImageNotFound.
func (b *Builder) Config(ctx context.Context, tag string) (*v1.ConfigFile, error) {
	image, err := b.image(tag)
	if err != nil {
		return nil, err
	}
	var config *v1.ConfigFile
	err = b.ask(ctx, image.pushed.Repository, func(options ...remote.Option) error {
		found, err := remote.Image(image.pushed, options...)
		if err == nil {
			config, err = found.ConfigFile()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", image.pushed, err)
	}
	return config, nil
}

// Images are the images in the registry that this package has made, for whichever runner. It asks for each of them. Without
// a registry there are none.
func (b *Builder) Images(ctx context.Context) ([]engine.Image, error) {
	if b.cfg.Registry == "" {
		return nil, nil
	}
	repository, err := b.repository()
	if err != nil {
		return nil, err
	}
	var tags []string
	err = b.ask(ctx, repository, func(options ...remote.Option) error {
		tags, err = remote.List(repository, options...)
		return err
	})
	if errors.Is(err, engine.ErrImageNotFound) {
		return nil, nil // nothing was ever pushed
	}
	if err != nil {
		return nil, fmt.Errorf("listing the images in %s: %w", repository, err)
	}
	images := make([]*engine.Image, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askedAtOnce)
	for i, tag := range tags {
		group.Go(func() (err error) {
			images[i], err = b.describe(ctx, repository.Tag(tag))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("listing the images in %s: %w", repository, err)
	}
	var found []engine.Image
	for _, image := range images {
		if image != nil {
			found = append(found, *image)
		}
	}
	return found, nil
}

// describe is nil for an image that has just gone, and for what is no image for one platform.
func (b *Builder) describe(ctx context.Context, tag name.Tag) (*engine.Image, error) {
	var described *engine.Image
	err := b.ask(ctx, tag.Repository, func(options ...remote.Option) error {
		found, err := remote.Get(tag, options...)
		if err != nil || !found.MediaType.IsImage() {
			return err
		}
		image, err := found.Image()
		if err != nil {
			return err
		}
		config, err := image.ConfigFile()
		if err == nil {
			described = &engine.Image{ID: found.Digest.String(), Tags: []string{tag.Name()}, Created: config.Created.Time, Labels: config.Config.Labels}
		}
		return err
	})
	if errors.Is(err, engine.ErrImageNotFound) {
		return nil, nil
	}
	return described, err
}

// RemoveImages deletes images by their ID, which is a digest, from the registry. Those that are gone are no error. Nodes
// that have pulled an image keep it. Many registries do not let themselves be told: then the verdict says so.
func (b *Builder) RemoveImages(ctx context.Context, ids []string) error {
	repository, err := b.repository()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := v1.NewHash(id); err != nil {
			return verdict.New(verdict.Bug, "", "removing image %q: %w", id, err)
		}
		err := b.ask(ctx, repository, func(options ...remote.Option) error {
			return remote.Delete(repository.Digest(id), options...)
		})
		if err != nil && !errors.Is(err, engine.ErrImageNotFound) {
			return fmt.Errorf("removing image %s from %s: %w", id, repository, deletion(repository, err))
		}
	}
	return nil
}

// deletion is the verdict for a registry that does not delete.
func deletion(repository name.Repository, err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err
	}
	unsupported := answer.StatusCode == http.StatusMethodNotAllowed
	for _, d := range answer.Errors {
		unsupported = unsupported || d.Code == transport.UnsupportedErrorCode
	}
	if !unsupported {
		return err
	}
	return verdict.New(verdict.Configuration,
		"let "+repository.RegistryStr()+" expire the images of "+repository.RepositoryStr()+" by a rule of its own, or switch deletion on "+
			"(docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true, and run its garbage-collect)",
		"the registry does not delete images: %w", answer)
}
