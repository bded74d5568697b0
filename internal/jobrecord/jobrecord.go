// Package jobrecord keeps what prepare_job knows for the calls that follow, on the host, where no job can write.
//
// The state that travels through the runner only names the record: it has passed through a file that steps can
// write. A record lies in a private directory (mode 0700) under a random name, and is used only for the same
// _work folder. Standard library only: the step path reads it.
package jobrecord

import (
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// Record describes one job.
type Record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`     // random, 32 hex digits
	Runner  string    `json:"runner"` // value of the runner label
	Work    string    `json:"work"`   // the runner's _work folder, host path
	Created time.Time `json:"created"`
	// Owner tells whether the job can still be running.
	Owner   Owner  `json:"owner"`
	Engine  Engine `json:"engine"`
	Network string `json:"network"`
	// Container is nil for a job with services only.
	Container *Container `json:"container,omitempty"`
	Services  []Service  `json:"services,omitempty"`
	// Sync is how the job container's work folder is kept in step with this machine's; nil: they are the same.
	Sync *worksync.Spec `json:"sync,omitempty"`
	// Full says that steps need the full program (an override, a trace or a record directory is configured).
	Full bool `json:"full,omitempty"`
	// StepTimeout bounds a script step; 0: none. CancelGrace is how long a cancelled step may take to end.
	StepTimeout time.Duration `json:"stepTimeout,omitempty"`
	CancelGrace time.Duration `json:"cancelGrace"`
}

// Engine is the engine that runs the job.
type Engine struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Container is the job container.
type Container struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Image string `json:"image"`
	// Dir is the working directory of steps that name none, as the container sees it.
	Dir string `json:"dir,omitempty"`
	// AgentDir is the host folder of the agent's socket; Token is what the agent was claimed with.
	AgentDir string `json:"agentDir"`
	Token    string `json:"token"`
	// Agent is how the agent is reached where it shares no folder with the host; nil: by its socket in AgentDir.
	Agent *agent.Address `json:"agent,omitempty"`
	// Externals is how the container gets programs of the runner's; nil: it has them.
	Externals *externals.Spec `json:"externals,omitempty"`
	// HostUID is the host's uid of the container's user; Root says that the container knows it as root. OpenFiles says
	// that it is not the runner's, so that files a step must write have to be opened for it.
	HostUID   int  `json:"hostUid"`
	Root      bool `json:"root"`
	OpenFiles bool `json:"openFiles,omitempty"`
	// Mounts map container paths to host paths, for files that a step names by container path.
	Mounts []Mount `json:"mounts"`
}

// Mount is one bind mount of the job container.
type Mount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// Service is a service container.
type Service struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
}
