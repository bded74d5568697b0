// Package imagebuild builds the images of Dockerfile actions where there is no container engine that could: with buildah
// in the runner's pod, or with BuildKit, and a registry as the way to the nodes. It knows nothing of Kubernetes.
//
// An image is named by its content, so one that the registry has is not built again, by whichever runner it came there.
package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/registryauth"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Config says with what images are built, and where they go.
type Config struct {
	// Tool is "buildctl" for BuildKit, "buildah", or "": BuildKit if its address is known, else buildah.
	Tool string
	// Path is the absolute path of buildctl or buildah; "": it is looked for in the system's usual directories.
	Path string
	// Address is where BuildKit listens, in the words of buildctl; "": what BUILDKIT_HOST in Env says.
	Address string
	// Certificates is a folder with ca.pem, cert.pem and key.pem (or ca.crt, tls.crt and tls.key) for Address; "": none.
	Certificates string
	// Registry is where images are pushed to, "registry.example.com/ci". Without one nothing is built.
	Registry string
	// PullRegistry is what the nodes call Registry; "": the same.
	PullRegistry string
	// Insecure: Registry speaks plain HTTP, or shows a certificate that nobody knows.
	Insecure bool
	// Credentials is the path of a config.json in Docker's format with the accounts for Registry and for base images;
	// what the runner's user is logged in to counts too, behind it. "": that alone.
	Credentials string

	// Env is the environment of the hook: where the user's accounts are, and proxies.
	Env []string
	// Dir is a folder for private files, made if there is none (0700), on a disk with room for the images.
	Dir string
	// Guard is the command line of a process that runs buildguard.Run on its standard streams.
	Guard []string
}

// Builder builds images. Its methods may be called concurrently.
type Builder struct {
	cfg      Config
	accounts *registryauth.Accounts
	path     string // where programs are looked for
}

// New makes a Builder. It looks at nothing: what is wrong with the configuration is an error of Build.
func New(cfg Config) *Builder {
	if cfg.Address == "" {
		cfg.Address = environment(cfg.Env).get("BUILDKIT_HOST")
	}
	return &Builder{cfg: cfg, accounts: registryauth.New(cfg.Credentials, cfg.Env), path: programs.Path}
}

// Build builds an image and pushes it, unless the registry has it, and returns the reference by which a pod pulls it,
// with its digest. It says on log what it does and what the builder prints; nothing if there is nothing to do.
//
// When ctx ends or spec.Timeout is over, what runs for the build is ended and its files are removed; that goes on for
// a moment after Build has returned, and also if this process is killed. Errors are verdicts.
func (b *Builder) Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) (ref string, err error) {
	ctx, cancel := engine.Within(ctx, spec.Timeout, "timeouts.build")
	defer cancel()
	image, err := b.image(spec.Tag)
	if err != nil {
		return "", err
	}
	switch digest, err := b.find(ctx, image); {
	case err == nil:
		return image.pulled(digest), nil
	case errors.Is(err, engine.ErrImageNotFound):
	case errors.Is(err, engine.ErrDenied):
		// Some registries answer so when there is no such repository. If it is the account, the push will say it.
		fmt.Fprintf(log, "%s does not tell whether it has the image\n", image.pushed.RegistryStr())
	default:
		return "", fmt.Errorf("looking for %s: %w", image.pushed, err)
	}
	began := time.Now()
	if err := b.make(ctx, spec, image, log); err != nil {
		return "", fmt.Errorf("building %s: %w", spec.Dockerfile, err)
	}
	digest, err := b.find(ctx, image)
	if err != nil {
		return "", fmt.Errorf("looking for %s, which was just pushed: %w", image.pushed, err)
	}
	fmt.Fprintf(log, "built and pushed %s in %s\n", image.pushed, time.Since(began).Round(100*time.Millisecond))
	return image.pulled(digest), nil
}

// Has tells whether the registry has the image that Build makes of a tag.
func (b *Builder) Has(ctx context.Context, tag string) (bool, error) {
	image, err := b.image(tag)
	if err != nil {
		return false, err
	}
	switch _, err := b.find(ctx, image); {
	case errors.Is(err, engine.ErrImageNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for %s: %w", image.pushed, err)
	}
	return true, nil
}

// Ref is the reference by which a pod pulls the image that Build makes of a tag, without a digest. It asks nobody.
func (b *Builder) Ref(tag string) (string, error) {
	image, err := b.image(tag)
	if err != nil {
		return "", err
	}
	return image.pulled(""), nil
}

// PullCredentials is the account for what Ref names, to give to the nodes; nil if none is configured, or none with a
// password.
func (b *Builder) PullCredentials(ctx context.Context) (*engine.Credentials, error) {
	repository, err := b.repository()
	if err != nil {
		return nil, err
	}
	account, err := b.accounts.Of(ctx, repository.Name())
	if err != nil || account.Password == "" {
		return nil, err
	}
	pulled, err := b.pullRepository()
	if err != nil {
		return nil, err
	}
	return &engine.Credentials{Username: account.Username, Password: account.Password, Server: pulled.RegistryStr()}, nil
}

// ended is the verdict for a ctx that has ended.
func ended(ctx context.Context) error {
	v := &verdict.Error{Whose: verdict.Infrastructure, Err: context.Cause(ctx)}
	if over := new(engine.LimitError); errors.As(v.Err, &over) {
		v.Hint = "the output of the build above says what it was at; make the build shorter, or raise timeouts.build in gantry.yaml"
	}
	return v
}
