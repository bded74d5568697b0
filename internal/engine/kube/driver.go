// Package kube runs jobs in Kubernetes.
//
// The runner is a pod. A job's containers live in one of three places, see Mode: as ephemeral containers of the runner's
// own pod, which share its volumes and its network and need no scheduling; in a pod of the job's own that mounts the
// runner's volume; or in a pod that shares nothing, whose agent is reached by mutual TLS. What a mode rests on is collected
// as Facts, and Choose says why one was taken. How a container looks is worked out by pure functions (member, sight,
// planPod); what talks to the API server is apart from them.
//
// The API server is the state: pods and secrets carry labels, and a pod carries the tags of its containers, from which
// everything is found again after a crash. An ephemeral container can be neither removed nor restarted: it is ended through
// its agent's folder, and one that has ended so is gone, for this package.
package kube

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/template"
)

// Name is what this engine is called.
const Name = "kubernetes"

// Settings are what the administrator wants.
type Settings struct {
	Mode   string // "auto", "in-pod" or "pod"
	Volume string // of pods: "auto", "shared" or "none"
	// Runner is the name of the runner's container in its pod; "" finds it.
	Runner string
	// LinkVolume is the name of the runner pod's second volume; "" is "github".
	LinkVolume string
	// Claim is the persistent volume claim that has the work folder, where the runner's pod does not tell.
	Claim string
	// AgentImage has gantry-agent at AgentPath, for pods without a shared volume; "" is the runner's own image, if the
	// program comes from it. AgentPath "" is where this machine has the program.
	AgentImage, AgentPath string
	// UseScheduler lets a pod with a shared volume run on another node than the runner's.
	UseScheduler bool
	// Template is merged into what is made; nil: none.
	Template *template.Template
	// Labels are added to pods.
	Labels map[string]string
	// Step bounds the phases in which a step's container comes up, but for the pull, which it says itself, as jobs say all.
	Step engine.Timeouts
	// Limits bound each container; Unsupported says what becomes of options that cannot be honoured: "" or "warn", "fail".
	Limits      config.Limits
	Unsupported string
}

// Options say which cluster to use, and how.
type Options struct {
	Settings
	Place *kubeapi.Place
	// Work is the runner's work folder; "" if it is not known.
	Work string
	// AgentProgram is gantry-agent on this machine.
	AgentProgram string
	// Registries knows the runner's accounts at registries; nil: it has none.
	Registries authn.Keychain
	// Builder builds images of Dockerfile actions; nil: they are refused.
	Builder Builder
	// Log gets what the API server is asked, at debug level; nil: nobody.
	Log *slog.Logger
}

// Driver is an engine.Engine. What it keeps is what it has read or seen.
type Driver struct {
	opts   Options
	api    *kubeapi.Client
	images *images
	home   func(ctx context.Context) (*home, error)

	mu     sync.Mutex
	done   map[string]bool   // steps' containers whose end this process has seen, which the API learns a moment later
	health map[string]string // of containers that this process checks
}

var (
	_ engine.Engine = (*Driver)(nil)
	_ engine.Piper  = (*Driver)(nil)

	_ engine.Orphaner = (*Driver)(nil)
)

// New makes a driver. It asks nobody.
func New(opts Options) (*Driver, error) {
	api, err := kubeapi.New(opts.Place, opts.Log)
	if err != nil {
		return nil, err
	}
	if opts.LinkVolume == "" {
		opts.LinkVolume = "github"
	}
	if opts.Registries == nil {
		opts.Registries = authn.NewMultiKeychain()
	}
	d := &Driver{opts: opts, api: api, images: newImages(opts.Registries), health: map[string]string{}}
	d.home = remember(d.readHome)
	return d, nil
}

// remember keeps the first success of a question.
func remember[T any](ask func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var known T
	done := false
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return known, nil
		}
		answer, err := ask(ctx)
		if err == nil {
			known, done = answer, true
		}
		return answer, err
	}
}

// readHome looks at the runner's own pod. nil: the runner is in none.
func (d *Driver) readHome(ctx context.Context) (*home, error) {
	name := d.opts.Place.Pod
	if name == "" {
		return nil, nil
	}
	pod, err := d.api.Pod(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading the runner's own pod: %w", err)
	}
	return newHome(pod, d.opts.Runner, d.opts.Work, d.opts.LinkVolume)
}

// Local is part of engine.Engine.
func (d *Driver) Local(context.Context) (engine.Info, error) {
	return engine.Info{Name: Name, FoldersByPath: true}, nil
}

// Info is part of engine.Engine.
func (d *Driver) Info(ctx context.Context) (engine.Info, error) {
	version, err := d.api.Version(ctx)
	return engine.Info{Name: Name, ClientVersion: clientVersion(), ServerVersion: version, FoldersByPath: true}, err
}

// clientVersion is that of the module that reaches the API server.
func clientVersion() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == "k8s.io/client-go" {
				return m.Version
			}
		}
	}
	return "unknown"
}

// Pipe is part of engine.Piper.
func (d *Driver) Pipe(ctx context.Context, id string, argv ...string) (io.ReadWriteCloser, error) {
	pod, container, err := d.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return &pipe{d.api.Pipe(ctx, pod.Name, container, d.argvIn(pod, container, argv)...)}, nil
}

// pipe is a way to an agent through the API server. That the server does not allow it is no accident of the way.
type pipe struct{ io.ReadWriteCloser }

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	return n, noWay(err)
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Write(b)
	return n, noWay(err)
}

func noWay(err error) error {
	if errors.Is(err, kubeapi.ErrForbidden) {
		return fmt.Errorf("%w: %w", agent.ErrRefused, err)
	}
	return err
}

// nonce is unique.
func nonce() string {
	b := make([]byte, 8)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
