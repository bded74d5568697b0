package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/glob"
)

// Kubernetes is for runners in a cluster.
type Kubernetes struct {
	// Mode is "auto", "in-pod" or "pod"; Volume, for pod, "auto", "shared" or "none".
	Mode   string `yaml:"mode"`
	Volume string `yaml:"volume"`
	// Namespace is that of the runner's pod and of jobs' pods, "" to find it. Pod is the runner's own, "" for the host name. Claim is the volume
	// claim of the work folder, "" to find it in the runner's pod.
	Namespace string `yaml:"namespace"`
	Pod       string `yaml:"pod"`
	Claim     string `yaml:"claim"`
	// UseScheduler leaves the choice of the node to the scheduler although a volume is shared.
	UseScheduler bool `yaml:"use_scheduler"`
	// Template is the administrator's pod template.
	Template Document `yaml:"template"`
	// AgentImage has gantry's programs; "" for the runner's own image.
	AgentImage string `yaml:"agent_image"`
	// GithubVolume is the name of the runner pod's volume for links below /github.
	GithubVolume string `yaml:"github_volume"`
	// UnsupportedOptions is "warn" or "fail".
	UnsupportedOptions string `yaml:"unsupported_options"`
	// Labels are the facts of a job that its pod is labelled with: "repository", "workflow", "run", "job".
	Labels []string        `yaml:"labels"`
	Build  KubernetesBuild `yaml:"build"`
	Sync   Sync            `yaml:"sync"`
}

// KubernetesBuild says how images of Dockerfile actions are built.
type KubernetesBuild struct {
	// Tool is "buildah", "buildctl" or "" for the latter if its address is known, else the former. Path is its program.
	Tool string `yaml:"tool"`
	Path string `yaml:"path"`
	// Address is that of the BuildKit daemon; Certificates a folder with the certificates to show it.
	Address      string `yaml:"address"`
	Certificates string `yaml:"certificates"`
	// Registry is the start of the names that built images are pushed under; "": nothing is built. PullRegistry is what
	// the nodes call it, "" for the same. Insecure: it speaks plain HTTP or has a certificate that nobody knows.
	Registry     string `yaml:"registry"`
	PullRegistry string `yaml:"pull_registry"`
	Insecure     bool   `yaml:"insecure"`
	// Credentials is a config.json in Docker's format.
	Credentials string `yaml:"credentials"`
}

// Sync bounds what is carried between the runner and a pod that shares no volume with it. Sizes are in the engine's
// notation ("2g"), "" for no limit.
type Sync struct {
	Exclude []string `yaml:"exclude"`
	MaxFile string   `yaml:"max_file"`
	MaxSum  string   `yaml:"max_sum"`
}

func kubernetesKeys() []Key {
	return slices.Concat(kubernetesPlaceKeys(), kubernetesPodKeys(), kubernetesBuildKeys(), kubernetesSyncKeys())
}

func kubernetesPlaceKeys() []Key {
	return []Key{
		{
			Path: "kubernetes.mode", Default: "auto", Example: "in-pod",
			Doc: "Where a job's containers live: in-pod (as ephemeral containers of the runner's pod), pod (in a pod of " +
				"their own) or auto (in-pod where it is possible). The other keys of this section are for Kubernetes, too; " +
				"other engines do not look at them.",
			field: func(c *Config) any { return &c.Kubernetes.Mode }, value: oneOf("auto", "in-pod", "pod"),
		}, {
			Path: "kubernetes.volume", Default: "auto", Example: "none",
			Doc: "How a pod of its own gets at the work folder: shared (it mounts the runner's volume), none (files are " +
				"carried) or auto (shared where it is possible).",
			field: func(c *Config) any { return &c.Kubernetes.Volume }, value: oneOf("auto", "shared", "none"),
		}, {
			Path: "kubernetes.namespace", Example: "ci-jobs", official: "ACTIONS_RUNNER_KUBERNETES_NAMESPACE",
			Doc: "The namespace of the runner's pod and of the jobs', if gantry does not find it: it is beside the token of the " +
				"service account.",
			field: func(c *Config) any { return &c.Kubernetes.Namespace }, value: unlessEmpty(dnsName),
		}, {
			Path: "kubernetes.pod", Example: "runner-x7k2p", official: "ACTIONS_RUNNER_POD_NAME",
			Doc:   "The name of the runner's own pod, if it is not the host name.",
			field: func(c *Config) any { return &c.Kubernetes.Pod }, value: unlessEmpty(dnsName),
		}, {
			Path: "kubernetes.claim", Example: "runner-work", official: "ACTIONS_RUNNER_CLAIM_NAME",
			Doc:   "The volume claim of the work folder, if gantry does not find it in the runner's pod.",
			field: func(c *Config) any { return &c.Kubernetes.Claim }, value: unlessEmpty(dnsName),
		}, {
			Path: "kubernetes.use_scheduler", Default: "false", Example: "true",
			Doc: "With a shared volume, let the scheduler choose the node of the job's pod. By default it is the " +
				"runner's, because most volumes can be mounted on one node only, and the scheduler is asked for that node.",
			field: func(c *Config) any { return &c.Kubernetes.UseScheduler },
		}, {
			Path: "kubernetes.github_volume", Default: "github", Example: "links",
			Doc: "In-pod, the name of the second volume of the runner's pod, which job containers mount at /github. " +
				"Without such a volume, images whose user is not root cannot have files there.",
			field: func(c *Config) any { return &c.Kubernetes.GithubVolume }, value: unlessEmpty(dnsName),
		},
	}
}

func kubernetesPodKeys() []Key {
	return []Key{
		{
			Path: "kubernetes.template", Example: "/etc/gantry/pod.yaml", official: "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE",
			Doc: "A template for the jobs' pods: a file, or the template itself. See " +
				"[Kubernetes](kubernetes.md#a-template-for-the-pod).",
			field: func(c *Config) any { return &c.Kubernetes.Template }, value: unlessEmpty(absolutePath),
		}, {
			Path: "kubernetes.agent_image", Example: "ghcr.io/acme/runner:2", official: "ACTIONS_RUNNER_IMAGE",
			Doc: "The image that has gantry's programs where the runner has them, for pods without a shared volume. By " +
				"default the runner's own image, if they are in it and not on a volume.",
			field: func(c *Config) any { return &c.Kubernetes.AgentImage }, value: unlessEmpty(oneWord),
		}, {
			Path: "kubernetes.unsupported_options", Default: "warn", Example: "fail",
			Doc: "What becomes of a job whose container.options ask for something that Kubernetes cannot do: warn names " +
				"it in the log, fail ends the job.",
			field: func(c *Config) any { return &c.Kubernetes.UnsupportedOptions }, value: oneOf("warn", "fail"),
		}, {
			Path: "kubernetes.labels", Example: "[repository, workflow, run, job]",
			Doc: "What the labels of a job's pod tell of it: repository, workflow, run and job, as `io.gantry/repository`, " +
				"`io.gantry/workflow`, `io.gantry/run` and `io.gantry/job-name`. What may not stand in a label becomes \"-\". " +
				"In-pod there is no such pod: nothing is labelled.",
			field: func(c *Config) any { return &c.Kubernetes.Labels }, value: oneOf("repository", "workflow", "run", "job"),
		},
	}
}

func kubernetesBuildKeys() []Key {
	return []Key{
		{
			Path: "kubernetes.build.registry", Example: "registry.example.com/ci/actions",
			Doc: "Where images of Dockerfile actions are pushed, and pulled by the cluster: the start of their names. " +
				"Without it such actions are refused.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Registry }, value: unlessEmpty(imagePrefix),
		}, {
			Path: "kubernetes.build.pull_registry", Example: "localhost:5000/ci/actions",
			Doc:   "What the cluster's nodes call that registry, if it is something else.",
			field: func(c *Config) any { return &c.Kubernetes.Build.PullRegistry }, value: unlessEmpty(imagePrefix),
		}, {
			Path: "kubernetes.build.insecure", Default: "false", Example: "true",
			Doc: "The registry speaks plain HTTP, or has a certificate that nobody knows. The cluster's nodes must know " +
				"that, too.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Insecure },
		}, {
			Path: "kubernetes.build.credentials", Example: "/etc/gantry/registry/config.json",
			Doc: "A file in the form of Docker's config.json with accounts for the registry and for base images, a mounted " +
				"Secret for example. What the runner's user is logged in to counts, too.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Credentials }, value: unlessEmpty(absolutePath),
		}, {
			Path: "kubernetes.build.tool", Example: "buildah",
			Doc: "What builds: buildctl (a BuildKit daemon does) or buildah (in the runner's container). By default " +
				"buildctl if an address is known, else buildah.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Tool }, value: unlessEmpty(oneOf("buildctl", "buildah")),
		}, {
			Path: "kubernetes.build.path", Example: "/usr/local/bin/buildctl",
			Doc:   "The program buildctl or buildah, if it is not in one of the system's usual directories.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Path }, value: unlessEmpty(absolutePath),
		}, {
			Path: "kubernetes.build.address", Example: "tcp://buildkitd.ci:1234",
			Doc:   "Where the BuildKit daemon listens. BUILDKIT_HOST in the runner's environment says it, too.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Address }, value: unlessEmpty(buildAddress),
		}, {
			Path: "kubernetes.build.certificates", Example: "/etc/gantry/buildkit",
			Doc:   "A folder with ca.pem, cert.pem and key.pem (or ca.crt, tls.crt and tls.key) for the BuildKit daemon.",
			field: func(c *Config) any { return &c.Kubernetes.Build.Certificates }, value: unlessEmpty(absolutePath),
		},
	}
}

func kubernetesSyncKeys() []Key {
	return []Key{
		{
			Path: "kubernetes.sync.exclude", Example: `["**/node_modules/.cache", "*.iso"]`,
			Doc: "Without a shared volume: paths below the work folder that are not carried from the runner to the pod or " +
				"back. `*` is anything but a slash, `**` anything; a pattern without a slash means names in any folder.",
			field: func(c *Config) any { return &c.Kubernetes.Sync.Exclude }, value: syncGlob,
		}, {
			Path: "kubernetes.sync.max_file", Example: "2g",
			Doc:   "Without a shared volume: larger files are not carried, which the log tells.",
			field: func(c *Config) any { return &c.Kubernetes.Sync.MaxFile }, value: unlessEmpty(memory),
		}, {
			Path: "kubernetes.sync.max_sum", Example: "10g",
			Doc: "Without a shared volume: where more than that would be carried in one direction at once, files are left out " +
				"until they change again, which the log tells.",
			field: func(c *Config) any { return &c.Kubernetes.Sync.MaxSum }, value: unlessEmpty(memory),
		},
	}
}

var dnsForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func dnsName(value string) error {
	if !dnsForm.MatchString(value) {
		return &hinted{fmt.Sprintf("%q is not a name in Kubernetes", value), `names have lower case letters, digits, "-" and "."`}
	}
	return nil
}

var addressForm = regexp.MustCompile(`^[a-z][a-z0-9-]*://[^/].*|^unix:///.+`)

func buildAddress(value string) error {
	if err := oneWord(value); err != nil {
		return err
	}
	if !addressForm.MatchString(value) {
		return &hinted{fmt.Sprintf("%q is not an address", value), `write "tcp://host:port" or "unix:///path"`}
	}
	return nil
}

func syncGlob(value string) error {
	if err := oneLine(value); err != nil {
		return err
	}
	if value == "" || strings.HasPrefix(value, "/") {
		return &hinted{fmt.Sprintf("%q is not a path below the work folder", value), `leave out the "/" at the beginning`}
	}
	_, err := glob.Compile(value)
	return err
}

// secondsForm is the official hook's number of seconds as a duration.
func secondsForm(value string) string { return value + "s" }
