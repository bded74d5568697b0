// Package hook is the protocol between the GitHub Actions runner and a container hook, from both sides.
//
// The runner starts the hook program once per command, writes one JSON object to its standard input, and
// afterwards reads an optional JSON object from a response file. The wire types below carry the wire's names;
// their comments say what runner 2.336.0 sends and what it does with an answer. "" stands for null in them: Client
// sends null, the decoding functions read null as "", and encoding/json on its own would write "".
//
// Serve is the hook's side, Client the runner's.
// The package imports the standard library only.
package hook

import "encoding/json"

// Command names one of the four calls that the runner makes.
type Command string

// The commands of the protocol.
const (
	PrepareJob       Command = "prepare_job"
	CleanupJob       Command = "cleanup_job"
	RunScriptStep    Command = "run_script_step"
	RunContainerStep Command = "run_container_step"
)

// Input is the JSON object on the hook's standard input.
type Input struct {
	Command Command `json:"command"`
	// ResponseFile is a host path below _work/_temp/_runner_hook_responses, created empty by the runner.
	// GitHub's documented examples carry null, read as "".
	ResponseFile string `json:"responseFile"`
	// Args depends on Command: PrepareJobArgs, ScriptStepArgs, Container, or {} for cleanup_job.
	Args json.RawMessage `json:"args"`
	// State is the object the last successful call answered with, or null. It has passed through a file that
	// the job can write: never trust it.
	State json.RawMessage `json:"state"`
}

// PrepareJobArgs are the args of prepare_job.
type PrepareJobArgs struct {
	// Container is the job container; nil for a job that has services only.
	Container *Container `json:"container"`
	// Services are the service containers in the order of the workflow file. Their names are not sent.
	Services []Container `json:"services"`
}

// Container describes a job container, a service container or a container step.
type Container struct {
	// Image is "" when Dockerfile is set.
	Image string `json:"image"`
	// Dockerfile is an absolute host path, for container actions that are built.
	Dockerfile string `json:"dockerfile"`
	// EntryPointArgs are pieces of one command line that was split at blanks: see Argv.
	EntryPointArgs []string `json:"entryPointArgs"`
	// EntryPoint is "" for the image's own (and always for a job container).
	EntryPoint string `json:"entryPoint"`
	// WorkingDirectory is a container path; "" for services.
	WorkingDirectory string `json:"workingDirectory"`
	// CreateOptions is the raw text of `options:`; split it with SplitCommandLine.
	CreateOptions string `json:"createOptions"`
	// Registry is nil without credentials, and always for container steps.
	Registry             *Registry         `json:"registry"`
	EnvironmentVariables map[string]string `json:"environmentVariables"`
	// EnvironmentOrder is the order in which Client sends the variables; those that it does not name come last, by
	// their names. The runner's order is that in which it has found them, and means nothing.
	EnvironmentOrder []string `json:"-"`
	// PortMappings are raw entries of `ports:`, like "8080:80/tcp" or "6379".
	PortMappings       []string      `json:"portMappings"`
	SystemMountVolumes []MountVolume `json:"systemMountVolumes"`
	UserMountVolumes   []MountVolume `json:"userMountVolumes"`
	// ContextName is the name of a service in the workflow. The runner never sends it; GitHub's documentation does.
	ContextName string `json:"contextName,omitempty"`
	// PortsFromObject says that PortMappings came as an object, the form of GitHub's documentation page.
	PortsFromObject bool `json:"-"`
}

// MountVolume is a bind mount, a named volume or (SourceVolumePath "") an anonymous volume.
type MountVolume struct {
	// UserProvidedValue is the raw entry of `volumes:`; "" for system mounts.
	UserProvidedValue string `json:"userProvidedValue"`
	SourceVolumePath  string `json:"sourceVolumePath"`
	TargetVolumePath  string `json:"targetVolumePath"`
	ReadOnly          bool   `json:"readOnly"`
}

// Registry holds credentials for pulling an image. ServerURL is "" for Docker Hub.
type Registry struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	ServerURL string `json:"serverUrl"`
}

// ScriptStepArgs are the args of run_script_step.
type ScriptStepArgs struct {
	// EntryPointArgs are pieces of one command line that was split at blanks: see Argv.
	EntryPointArgs []string `json:"entryPointArgs"`
	EntryPoint     string   `json:"entryPoint"`
	// EnvironmentVariables have container paths already.
	EnvironmentVariables map[string]string `json:"environmentVariables"`
	// EnvironmentOrder is as that of Container.
	EnvironmentOrder []string `json:"-"`
	// PrependPath holds $GITHUB_PATH entries, latest first.
	PrependPath      []string `json:"prependPath"`
	WorkingDirectory string   `json:"workingDirectory"`
}

// Response is what the hook writes to the response file.
type Response struct {
	// State, if not null, replaces the job's state; it must be a JSON object.
	State any `json:"state,omitempty"`
	// IsAlpine is required exactly when prepare_job had a job container.
	IsAlpine *bool `json:"isAlpine,omitempty"`
	// Context fills job.container and job.services of the workflow's expressions.
	Context *JobContext `json:"context,omitempty"`
}

// JobContext is the context part of a prepare_job response.
type JobContext struct {
	// Container must be nil without a job container, or the runner fails.
	Container *ContainerContext `json:"container,omitempty"`
	// Services is aligned by index with PrepareJobArgs.Services.
	Services []ServiceContext `json:"services"`
}

// ContainerContext is job.container.
type ContainerContext struct {
	ID      string `json:"id"`
	Network string `json:"network"`
}

// ServiceContext is job.services.<name>. Ports maps container port to host port, without protocol; never null.
type ServiceContext struct {
	ID      string            `json:"id"`
	Network string            `json:"network"`
	Ports   map[string]string `json:"ports"`
}
