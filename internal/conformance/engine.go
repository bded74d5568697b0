package conformance

import (
	"context"
	"errors"

	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// Engine is where a hook's containers run. The suite supplies it with images, looks at it from outside, and does to
// containers what the world does to them. It is all that the suite knows of an engine: cases do not name one, and say
// by their needs what not every engine has.
//
// All methods may be called by several goroutines at once. None takes what a hook says for true.
type Engine interface {
	// Meets says whether the engine has what a need stands for: one of those that engineNeeds lists.
	Meets(need string) bool
	Supplier
	Observer
	World
}

// Publisher is an engine that cannot pull from the suite's own registry.
type Publisher interface {
	// Publish copies an image of the suite's registry to where the engine can pull it, and gives its name there.
	Publish(ctx context.Context, image string) (string, error)
	// Registry is what the names that Publish gives begin with.
	Registry() string
}

// Supplier brings images to an engine.
type Supplier interface {
	// Listen is the address of this machine, without a port, on which the engine reaches a registry of the suite.
	Listen() string
	// Image reads an image out of the engine, which pulls it if it has to.
	Image(ctx context.Context, name string) (*images.Image, error)
	// Open lets the engine pull from registries, which have no TLS, and gives what has to be added to the environment
	// of a hook for that. It may keep files in dir. It is called once, before Pull.
	Open(dir string, registries []string) (environ []string, err error)
	// Pull pulls an image.
	Pull(ctx context.Context, image string) error
	// Close removes the images of registries, as far as nothing stands on them.
	Close(ctx context.Context, registries []string) error
}

// Observer looks at an engine.
type Observer interface {
	// Containers are all containers, also those that do not run, and those of others. One that goes meanwhile may be
	// left out.
	Containers(ctx context.Context) ([]*Container, error)
	// Networks are all networks; nil if the engine has none.
	Networks(ctx context.Context) ([]Network, error)
	// Exists says whether there is a container, network or volume, which kind says, of that name or id.
	Exists(ctx context.Context, kind, name string) (bool, error)
	// Inspect is what the engine says of a container, which is named by its id or by what a hook calls its id.
	Inspect(ctx context.Context, id string) (*Facts, error)
}

// ErrImpossible says that there is no way to do something to a container, as with those of the runner's own pod, which
// nobody can end. A case that wants it is skipped.
var ErrImpossible = errors.New("containers that can be ended from outside")

// World does what happens to containers without a hook.
type World interface {
	// Start starts a container of somebody else, that sleeps.
	Start(ctx context.Context, name, image string) error
	// Enter runs a program in a container, and gives its exit status.
	Enter(ctx context.Context, container string, program ...string) (int, error)
	// Kill ends containers at once. The error says that one does not run, or is ErrImpossible.
	Kill(ctx context.Context, containers ...string) error
	// Remove removes what is in an inventory, as far as it goes. What is gone already is no error. It is ErrImpossible when
	// all is gone but for what cannot be removed.
	Remove(ctx context.Context, what Inventory) error
	// Empty empties a folder of this machine in which containers have left files of their own users. The image has a
	// shell.
	Empty(ctx context.Context, folder, image string) error
}

// Container is what is known of a container. What it was started with does not change; its networks may.
type Container struct {
	ID     string
	Labels map[string]string
	Env    []string // as NAME=value
	// Sources are the paths on this machine that it has mounted, Volumes the names of its volumes.
	Sources, Volumes []string
	// Networks are the names of its networks, without those that are the engine's own.
	Networks []string
}

// Network is a network with its labels.
type Network struct {
	Name   string
	Labels map[string]string
}

// Inventory is what a runner has on an engine: ids of containers, names of networks and volumes.
type Inventory struct {
	Containers, Networks, Volumes []string
}

// Facts are what an engine says of a container, in words that are the same for every engine. Cases name them as their
// JSON does, like running and labels.a.
type Facts struct {
	Running  bool              `json:"running"`
	Image    string            `json:"image"`
	Health   string            `json:"health"` // starting, healthy, unhealthy; "" without a health check
	Labels   map[string]string `json:"labels"`
	Env      []string          `json:"env"`
	Networks []string          `json:"networks"`
	// Ports are those that are published: 8080/tcp 127.0.0.1:32768.
	Ports  []string `json:"ports"`
	Memory int64    `json:"memory"` // its limit, in bytes; 0 for none
	Mounts []Mount  `json:"mounts"`
	// All is everything that the engine says, as text.
	All string `json:"-"`
}

// Mount is one mount of a container: of a path of this machine, or of a volume.
type Mount struct {
	Source   string `json:"source"`
	Volume   string `json:"volume"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
}
