// Package engine says what gantry needs of a container engine. Drivers live in packages below it; every driver
// and the fake pass the suite in enginetest.
//
// Labels are the state: whatever a driver makes carries ContainerSpec.Labels or JobSpec.Labels, so that Remove
// finds it after any crash.
package engine

import (
	"context"
	"io"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
)

// Engine starts and removes containers. Methods may be called concurrently.
type Engine interface {
	// Info asks the engine who it is. An engine that does not answer is an error that says why
	// (not running, permission denied on the socket).
	Info(ctx context.Context) (Info, error)

	// Local tells what can be known of the engine without asking it: Name, Path and Socket. It takes next to no time,
	// and does not find out whether the engine answers.
	Local(ctx context.Context) (Info, error)

	// StartJob makes the job's network, pulls images in parallel (each once), starts the containers in parallel,
	// and waits until every container that declares a health check is healthy. It fails as soon as one service
	// exits or turns unhealthy, with the last 100 lines of its log in the error. After an error what was made is
	// still there: call Remove; the Job then holds only Phases. Progress lines go to log, until it returns.
	StartJob(ctx context.Context, spec JobSpec, log io.Writer) (Job, error)

	// StartStep pulls spec.Image if the policy says so and starts a container that is removed, with its
	// anonymous volumes, when its first process ends, or when ctx ends. It returns once the container was asked
	// for and no image is to be pulled any more. network "" is the engine's default.
	StartStep(ctx context.Context, spec ContainerSpec, network string, log io.Writer) (*StepContainer, error)

	// Inspect tells the state of one container. A container that does not exist gives ErrNotFound.
	Inspect(ctx context.Context, id string) (Status, error)

	// Exec runs a program in a running container as user (a name or number) and waits for its end. A status other
	// than 0 is an error.
	Exec(ctx context.Context, id, user string, argv ...string) error

	// Logs writes the last n lines that the container printed (both streams) to w. A container that does not
	// exist gives ErrNotFound.
	Logs(ctx context.Context, id string, n int, w io.Writer) error

	// List returns the containers, networks and other objects that carry all the labels.
	List(ctx context.Context, labels map[string]string) (Inventory, error)

	// Remove kills and removes, in parallel, everything in the inventory: containers with their anonymous
	// volumes, then networks and what else there is. What is already gone is not an error.
	Remove(ctx context.Context, inv Inventory) error

	// Build builds an image unless one with that tag is there already.
	Build(ctx context.Context, spec BuildSpec, log io.Writer) error

	// HasImage tells whether the image that Build makes for a tag is there.
	HasImage(ctx context.Context, tag string) (bool, error)

	// Images returns images that carry all the labels; RemoveImages removes such images by ID (in use: skipped).
	Images(ctx context.Context, labels map[string]string) ([]Image, error)
	RemoveImages(ctx context.Context, ids []string) error
}

// Piper is an engine that can start a program in a running container with a stream to its input and output: the way to
// an agent whose address cannot be reached.
type Piper interface {
	// Pipe starts a program in a container. What is written goes to its standard input, what is read is its standard
	// output; its standard error is in the error that reading ends with. Close ends it. The stream may break at any
	// byte, and then says nothing of what became of the program.
	Pipe(ctx context.Context, id string, argv ...string) (io.ReadWriteCloser, error)
}

// Orphaner is an engine that many runners share, each with a machine of its own.
type Orphaner interface {
	// Orphans are what jobs have left whose runners are gone for good. Remove takes it.
	Orphans(ctx context.Context) (Inventory, error)
}

// Info describes an engine. What an engine does not have is "": Kubernetes has no program and no store of its own.
type Info struct {
	Name          string // "docker", "podman", "kubernetes"
	Path          string // absolute path of its command line program
	ClientVersion string
	ServerVersion string
	Rootless      bool
	CgroupVersion string // "1", "2"
	StorageDriver string
	StorageRoot   string
	SELinux       bool
	// Socket is the engine's API socket on the host, "" if there is none.
	Socket string
	// FoldersByPath: containers may see the work folder as a whole, and enter what they mount by its path in there. The
	// folders above have to let every user through.
	FoldersByPath bool
}

// PullPolicy says when an image is pulled. An image named by digest is never pulled again once present.
type PullPolicy string

// The pull policies.
const (
	PullAlways  PullPolicy = "always"
	PullMissing PullPolicy = "missing"
	PullNever   PullPolicy = "never"
)

// JobSpec is everything that a job needs from the engine.
type JobSpec struct {
	Network   NetworkSpec
	Container *ContainerSpec // nil: services only
	Services  []ContainerSpec
	Labels    map[string]string // for the network
	Timeouts  Timeouts
	// Before is called beside the making of the network and the fetching of images. Containers are made once it has
	// succeeded. nil: they need not wait.
	Before func(ctx context.Context) error
}

// NetworkSpec names the job's network.
type NetworkSpec struct {
	Name   string
	Create bool // false: it exists already, or is a mode such as "host"
}

// Timeouts bound the phases of StartJob. Zero means no bound.
type Timeouts struct {
	// Schedule is how long to wait for a place to run, where there are several machines.
	Schedule            time.Duration
	Pull, Start, Health time.Duration
}

// ContainerSpec is one container to create.
type ContainerSpec struct {
	Name        string
	Title       string // how the log calls it: "job container", "service redis"
	Labels      map[string]string
	Image       string
	Pull        PullPolicy
	PullTimeout time.Duration // for StartStep
	Credentials *Credentials  // nil: what the host is logged in to
	Entrypoint  string        // "": the image's
	Args        []string
	WorkingDir  string            // "": the image's
	Env         map[string]string // values never appear in argv
	Ports       []string          // "8080:80/tcp", "6379"
	Mounts      []Mount
	Aliases     []string // names on the job's network; ignored where the network has none
	// Built: Image is a tag that Build has made an image of.
	Built bool
	// ReadImage: StartStep is to find out the image's own Entrypoint and Cmd. An engine that needs to ask somebody else
	// for them leaves it undone otherwise.
	ReadImage bool
	// Alone: the job has no job container, whose copy of the work folder a step's container could share where the host's
	// is out of reach.
	Alone bool
	// Options are extra create flags in the engine's own words, already split. They stand after the flags that
	// a user may override (name, workdir, network, ports) and before those that gantry must keep (env, mounts,
	// entrypoint). A --network among them replaces the job's network for this container.
	// An option that is no flag, or a flag without its value, makes the rest of the command line mean something
	// else: check them before (createopts).
	Options []string
}

// Mount is a bind mount, a named volume or (Source "") an anonymous volume.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
	Options  []string // further options such as "z"
	// Cover: the mount only hides what lies there. An engine that cannot mount one thing over another leaves it out.
	Cover bool
}

// Credentials log in to a registry. Server is "" for Docker Hub.
type Credentials struct {
	Username, Password, Server string
}

// Job is what StartJob made.
type Job struct {
	// Network is what StartStep is to be given for a container that shall reach the job's: a network, or the pod.
	Network   string
	Container *Started
	Services  []Started // aligned with JobSpec.Services
	Phases    []Phase
	// Apart: the containers do not see the host's folders. What their mounts name are folders of their own, which
	// whoever needs them to be the same keeps in step. The container with the agent does not start in its working directory,
	// which is to be made like all others.
	Apart bool
}

// Started is a running container.
type Started struct {
	ID      string
	Name    string
	Network string // the network it is on
	// Ports maps the container's published ports to the host's, both by number alone: where they collide, TCP wins
	// over UDP, and IPv4 over IPv6.
	Ports map[string]string
	// Agent is where gantry's agent listens, if that is its first process; nil: at the socket in its folder.
	Agent *agent.Address
	// Env is what the engine could not set without showing it to everybody: the agent is to be told.
	Env map[string]string
	// Externals is where the agent looks for the programs of a mount that the engine could not make: the runner's node.
	// Whoever runs steps has to bring them there. Zero: the mount is there.
	Externals agent.Externals
}

// Phase is one line of the timing table.
type Phase struct {
	Title string // "network", "pull node:22", "start service redis", "health service redis"
	Start time.Time
	Took  time.Duration
}

// StepContainer is a container started by StartStep.
type StepContainer struct {
	ID   string // what Inspect, Logs and Exec know it by
	Name string
	// Entrypoint and Cmd are the image's own, if ContainerSpec.ReadImage asks for them.
	Entrypoint, Cmd []string
	// Agent, Env and Apart are those of Started and of Job.
	Agent *agent.Address
	Env   map[string]string
	Apart bool
	// Root is where a container that is apart and alone has its work folder, which is empty. Its agent stays after the step,
	// until the context of StartStep ends, so that the folder's files can be fetched.
	Root string
	// Over, unless it is nil, tells the engine that the step's result is known, so that the container ends by itself any moment:
	// an engine that is reached by a network is sure of that end earlier then. Whoever has no result does not call it.
	Over func()
	// Gone is closed when the container has been removed; Err waits for that. It is nil however the container's
	// process ended, or says why the engine could not run it, with the engine's command and output.
	Gone <-chan struct{}
	Err  func() error
}

// Status is the state of a container.
type Status struct {
	ID        string
	Running   bool
	ExitCode  int
	OOMKilled bool
	Error     string // the engine's own words
	Health    string // "", "starting", "healthy", "unhealthy"
	Labels    map[string]string
	Ports     map[string]string
}

// Inventory is what Remove removes.
type Inventory struct {
	Containers []Container
	Networks   []Network
	Others     []Object
}

// Len is how many things are in the inventory.
func (i Inventory) Len() int { return len(i.Containers) + len(i.Networks) + len(i.Others) }

// Object is a row of an Inventory: what an engine keeps for a job beside containers and networks.
type Object struct {
	Kind, ID, Name string // Kind as the engine's users know it: "secret"
	Labels         map[string]string
	Created        time.Time
}

// Container is a row of an Inventory.
type Container struct {
	ID, Name, Image string
	Running         bool
	Health          string // like Status.Health
	Labels          map[string]string
	Created         time.Time
}

// Network is a row of an Inventory.
type Network struct {
	ID, Name string
	Labels   map[string]string
	Created  time.Time
}

// Image is an image in the engine's store.
type Image struct {
	ID      string
	Tags    []string
	Created time.Time
	Labels  map[string]string
}

// BuildSpec is an image to build. Context is a directory; Dockerfile an absolute path.
type BuildSpec struct {
	Tag        string
	Dockerfile string
	Context    string
	Labels     map[string]string
	Pull       bool
	Timeout    time.Duration
}
