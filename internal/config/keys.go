package config

import (
	"slices"
	"strings"
)

// Key describes one key of gantry.yaml.
type Key struct {
	Path    string // "timeouts.pull"
	Default string // as written in the file; "" for none
	Doc     string // what it does, for the administrator of a runner
	Example string // a value as written in the file

	// official is a variable of GitHub's own hooks that means the same, and form what makes its value one of gantry's.
	official string
	form     func(string) string

	field func(*Config) any // the address of the field
	value check             // of the scalar, each item, or each entry's value; nil: anything
	name  check             // of each entry's name in a map
}

// Env is the environment variable that overrides the key: GANTRY_TIMEOUTS_PULL.
func (k Key) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.Path, ".", "_"))
}

// Official is the variable of GitHub's own hooks that sets the key where Env is not set; "" if there is none.
func (k Key) Official() string { return k.official }

// Type says in plain words what the key holds.
func (k Key) Type() string {
	switch k.field(&Config{}).(type) {
	case *bool:
		return "true or false"
	case *int:
		return "number"
	case *[]string:
		return "list"
	case *map[string]string:
		return "map"
	case *string:
		return "text"
	case *Document:
		return "file or map"
	}
	return "duration"
}

// Keys returns every key in the order of the documentation.
func Keys() []Key {
	return slices.Concat(engineKeys(), containerKeys(), timeoutKeys(), policyKeys(), kubernetesKeys())
}

func engineKeys() []Key {
	return []Key{
		{
			Path: "engine", Default: "auto", Example: "podman",
			Doc: "The container engine: auto (Docker if its daemon answers, else Podman, else Kubernetes in a pod with a " +
				"service account), docker, podman or kubernetes.",
			field: func(c *Config) any { return &c.Engine }, value: oneOf("auto", "docker", "podman", "kubernetes"),
		}, {
			Path: "engine_path", Example: "/usr/bin/podman",
			Doc:   "The engine's program, if it is not in one of the system's usual directories.",
			field: func(c *Config) any { return &c.EnginePath }, value: unlessEmpty(absolutePath),
		}, {
			Path: "pull", Default: "always", Example: "missing",
			Doc: "When images are pulled: always (as the runner does by itself), missing (only those that are not " +
				"there) or never. An image named by digest is not pulled again once it is there.",
			field: func(c *Config) any { return &c.Pull }, value: oneOf("always", "missing", "never"),
		}, {
			Path: "network", Example: "ci", official: "ACTIONS_RUNNER_NETWORK_DRIVER",
			Doc: "An existing network, or a mode such as host, for all containers. Without it every job gets a " +
				"network of its own.",
			field: func(c *Config) any { return &c.Network }, value: unlessEmpty(oneWord),
		}, {
			Path: "docker_socket", Default: "pass", Example: "deny",
			Doc: "pass mounts the engine's socket into job and step containers as the runner does, if it exists; " +
				"deny does not, and refuses workflows that mount it themselves. Who can reach that socket controls " +
				"the host.",
			field: func(c *Config) any { return &c.DockerSocket }, value: oneOf("pass", "deny"),
		}, {
			Path: "image_rewrite", Example: "{docker.io: mirror.example.com/hub}",
			Doc: "Pulls images from a mirror: each entry is the start of an image's name and what to put in its " +
				"place. The longest match wins. Policy sees the name that the workflow wrote.",
			field: func(c *Config) any { return &c.ImageRewrite }, value: imagePrefix, name: imagePrefix,
		}, {
			Path: "state_dir", Example: "/var/lib/gantry",
			Doc: "Where gantry remembers its jobs. Without it: $XDG_STATE_HOME/gantry, else " +
				"$HOME/.local/state/gantry, else /var/lib/gantry.",
			field: func(c *Config) any { return &c.StateDir }, value: unlessEmpty(absolutePath),
		}, {
			Path: "runner_dir", Example: "/home/runner/actions-runner",
			Doc:   "The runner's application directory, if gantry does not find it.",
			field: func(c *Config) any { return &c.RunnerDir }, value: unlessEmpty(absolutePath),
		}, {
			Path: "trace_dir", Example: "/var/log/gantry",
			Doc:   "A directory for one log file per call of the hook.",
			field: func(c *Config) any { return &c.TraceDir }, value: unlessEmpty(absolutePath),
		}, {
			Path: "record_dir", Example: "/var/lib/gantry/sessions",
			Doc:   "A directory for recordings of jobs, which `gantry replay` plays again. Recordings hold secrets.",
			field: func(c *Config) any { return &c.RecordDir }, value: unlessEmpty(absolutePath),
		}, {
			Path: "overrides", Example: "{run_container_step: /opt/ci/container-step}",
			Doc: "Programs of yours that are run in gantry's place, by command: prepare_job, run_script_step, " +
				"run_container_step, cleanup_job. They get the same input and environment.",
			field: func(c *Config) any { return &c.Overrides }, value: absolutePath, name: oneOf(commands...),
		},
	}
}

func containerKeys() []Key {
	return []Key{
		{
			Path: "create_args.job", Example: `["--shm-size=1g"]`,
			Doc:   "Flags for the engine when it creates the job container, one item an argument.",
			field: func(c *Config) any { return &c.CreateArgs.Job }, value: createArg,
		}, {
			Path: "create_args.service", Example: `["--ulimit", "nofile=4096"]`,
			Doc:   "The same for service containers.",
			field: func(c *Config) any { return &c.CreateArgs.Service }, value: createArg,
		}, {
			Path: "create_args.step", Example: `["--cap-drop=NET_RAW"]`,
			Doc:   "The same for the containers of container actions.",
			field: func(c *Config) any { return &c.CreateArgs.Step }, value: createArg,
		}, {
			Path: "env", Example: "{GOPROXY: https://proxy.example.com}",
			Doc:   "Environment variables for all containers. What the workflow sets has precedence.",
			field: func(c *Config) any { return &c.Env }, value: noNUL, name: envName,
		}, {
			Path: "mounts", Example: "[/srv/cache:/cache, certs:/etc/ssl/certs:ro]",
			Doc:   "Mounts for job and step containers, as SOURCE:TARGET or SOURCE:TARGET:OPTIONS.",
			field: func(c *Config) any { return &c.Mounts }, value: mount,
		}, {
			Path: "mount_options", Example: "[z]",
			Doc:   "Options that are added to every bind mount; z on hosts with SELinux.",
			field: func(c *Config) any { return &c.MountOptions }, value: mountOption,
		}, {
			Path: "limits.cpus", Example: "1.5",
			Doc:   "Processors that each container may use.",
			field: func(c *Config) any { return &c.Limits.CPUs }, value: unlessEmpty(cpus),
		}, {
			Path: "limits.memory", Example: "2g",
			Doc:   "Memory that each container may use.",
			field: func(c *Config) any { return &c.Limits.Memory }, value: unlessEmpty(memory),
		}, {
			Path: "limits.pids", Default: "0", Example: "1024",
			Doc:   "Processes that each container may have; 0 for no limit.",
			field: func(c *Config) any { return &c.Limits.Pids }, value: notNegative,
		}, {
			Path: "restore_ownership", Default: "true", Example: "false",
			Doc: "After a job, give files that containers left to other users in the runner's work directory back to " +
				"the runner's user, so that the next checkout can remove them.",
			field: func(c *Config) any { return &c.RestoreOwnership },
		},
	}
}

func timeoutKeys() []Key {
	key := func(path, def, example, doc string, field func(*Config) any) Key {
		return Key{Path: path, Default: def, Example: example, Doc: doc, field: field, value: notNegative}
	}
	schedule := key("timeouts.schedule", "10m", "20m",
		"How long a pod may wait for a node of the cluster, which may first have to be made, or for room in the "+
			"namespace's quota.",
		func(c *Config) any { return &c.Timeouts.Schedule })
	schedule.official, schedule.form = "ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", secondsForm
	return []Key{
		schedule,
		key("timeouts.pull", "15m", "30m", "How long pulling one image may take; 0 for no limit, as in all timeouts.",
			func(c *Config) any { return &c.Timeouts.Pull }),
		key("timeouts.start", "2m", "1m", "How long creating and starting one container may take.",
			func(c *Config) any { return &c.Timeouts.Start }),
		key("timeouts.health", "5m", "90s", "How long containers may take to become healthy.",
			func(c *Config) any { return &c.Timeouts.Health }),
		key("timeouts.step", "0", "1h", "How long one step may take. The workflow's own timeout-minutes holds anyway.",
			func(c *Config) any { return &c.Timeouts.Step }),
		key("timeouts.build", "30m", "10m", "How long building the image of a Dockerfile action may take.",
			func(c *Config) any { return &c.Timeouts.Build }),
		key("timeouts.cleanup", "2m", "30s", "How long removing a job's containers may take.",
			func(c *Config) any { return &c.Timeouts.Cleanup }),
		key("timeouts.cancel", "4s", "2s", "How long the processes of a cancelled step may go on until they are killed.",
			func(c *Config) any { return &c.Timeouts.Cancel }),
	}
}

func policyKeys() []Key {
	return []Key{
		{
			Path: "policy.images", Example: `["node:*", "ghcr.io/acme/**"]`,
			Doc: "Images that workflows may use; without it, all. `*` is anything but a slash, `**` anything. A name " +
				"without a registry is one of Docker Hub, a name without tag and digest allows every one. The images that a " +
				"Dockerfile action is built from must be allowed too.",
			field: func(c *Config) any { return &c.Policy.Images }, value: imageGlob,
		}, {
			Path: "policy.require_digest", Default: "false", Example: "true",
			Doc:   "Refuse images that are not named by digest (name@sha256:…).",
			field: func(c *Config) any { return &c.Policy.RequireDigest },
		}, {
			Path: "policy.deny_flags", Example: `["--privileged", "--pid=host", "--volume"]`,
			Doc: "Flags that workflows may not write in container.options, with any value or with one that matches a " +
				"pattern (`*` is anything). Every spelling counts: --volume is also -v, --mount and the workflow's " +
				"volumes:, --publish is also -p and ports:.",
			field: func(c *Config) any { return &c.Policy.DenyFlags }, value: denyFlag,
		}, {
			Path: "policy.deny_mounts", Example: `[/etc, "/home/*/.ssh", "prod-*"]`,
			Doc: "Host paths and names of volumes that workflows may not mount. What is below a denied path is denied " +
				"too, and so are the directories above it, because they expose it. Behind `**` only what matches is denied. " +
				"Devices and files that flags such as --env-file name count as mounts; --volumes-from is refused.",
			field: func(c *Config) any { return &c.Policy.DenyMounts }, value: denyMount,
		}, {
			Path: "policy.require_job_container", Default: "false", Example: "true",
			Doc: "Refuse container actions in jobs without a job container. (The runner itself refuses such jobs " +
				"altogether with ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER=true.)",
			field: func(c *Config) any { return &c.Policy.RequireJobContainer },
		},
	}
}
