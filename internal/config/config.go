// Package config is gantry's configuration: a gantry.yaml, overlaid by environment variables, as one validated
// struct.
package config

import "time"

// Config is the whole configuration. Every key of gantry.yaml has an environment variable: GANTRY_ and the key's
// path in capitals with underscores (timeouts.pull is GANTRY_TIMEOUTS_PULL). Lists in variables are separated by
// commas, maps are key=value pairs separated by commas; both may also be YAML in brackets or braces. Some keys also
// have the variable of GitHub's own hooks.
type Config struct {
	// Engine is "auto", "docker", "podman" or "kubernetes". EnginePath overrides the search for its program.
	Engine     string `yaml:"engine"`
	EnginePath string `yaml:"engine_path"`
	// Pull is "always" (as the runner does without hooks), "missing" or "never".
	Pull string `yaml:"pull"`
	// Network is an existing network (or mode such as "host") to use instead of one per job.
	Network string `yaml:"network"`
	// CreateArgs are extra engine flags; one string an argument.
	CreateArgs CreateArgs `yaml:"create_args"`
	// Env is added to job, service and step containers, below the workflow's own.
	Env map[string]string `yaml:"env"`
	// Mounts are added to job and step containers, as SOURCE:TARGET[:OPTIONS].
	Mounts []string `yaml:"mounts"`
	// ImageRewrite maps image name prefixes to mirrors; the longest prefix wins.
	ImageRewrite map[string]string `yaml:"image_rewrite"`
	Limits       Limits            `yaml:"limits"`
	// DockerSocket is "pass" or "deny".
	DockerSocket string `yaml:"docker_socket"`
	// MountOptions are added to every bind mount, e.g. "z" on SELinux hosts.
	MountOptions []string `yaml:"mount_options"`
	// RestoreOwnership gives files under _work that containers left to other users back to the runner's user.
	RestoreOwnership bool     `yaml:"restore_ownership"`
	Timeouts         Timeouts `yaml:"timeouts"`
	Policy           Policy   `yaml:"policy"`
	// Kubernetes is for runners in a cluster.
	Kubernetes Kubernetes `yaml:"kubernetes"`
	// Overrides maps a hook command (prepare_job …) to a program that is run in gantry's place for it.
	Overrides map[string]string `yaml:"overrides"`
	// TraceDir receives one log per hook call; RecordDir one session per job, for `gantry replay`.
	TraceDir  string `yaml:"trace_dir"`
	RecordDir string `yaml:"record_dir"`
	// StateDir is where job records are kept; RunnerDir is the runner's application directory.
	StateDir  string `yaml:"state_dir"`
	RunnerDir string `yaml:"runner_dir"`
}

// CreateArgs are extra create flags by kind of container.
type CreateArgs struct {
	Job     []string `yaml:"job"`
	Service []string `yaml:"service"`
	Step    []string `yaml:"step"`
}

// Limits bound each container. Zero values mean no limit. Memory is in the engine's notation ("2g").
type Limits struct {
	CPUs   string `yaml:"cpus"`
	Memory string `yaml:"memory"`
	Pids   int    `yaml:"pids"`
}

// Timeouts bound the phases of the hook's work. Zero means none.
type Timeouts struct {
	Pull time.Duration `yaml:"pull"`
	// Schedule is how long a pod may wait for a node, of Kubernetes only.
	Schedule time.Duration `yaml:"schedule"`
	Start    time.Duration `yaml:"start"`
	Health   time.Duration `yaml:"health"`
	Step     time.Duration `yaml:"step"`
	Build    time.Duration `yaml:"build"`
	Cleanup  time.Duration `yaml:"cleanup"`
	// Cancel is how long a cancelled step may take until it is killed.
	Cancel time.Duration `yaml:"cancel"`
}

// Policy is what the administrator allows workflows to ask for.
type Policy struct {
	// Images are globs of allowed images ("*" within, "**" across slashes); empty allows all.
	Images []string `yaml:"images"`
	// RequireDigest refuses images that are not named by digest.
	RequireDigest bool `yaml:"require_digest"`
	// DenyFlags are create flags that workflows may not use, as "--privileged", "--pid=host", "--volume".
	DenyFlags []string `yaml:"deny_flags"`
	// DenyMounts are globs of host paths and volume names that workflows may not mount.
	DenyMounts []string `yaml:"deny_mounts"`
	// RequireJobContainer refuses container actions in jobs without a job container.
	RequireJobContainer bool `yaml:"require_job_container"`
}
