package kube

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// role is what a container is for.
type role int

const (
	jobRole role = iota
	serviceRole
	stepRole
)

// process is how a container's first process comes to be.
type process int

const (
	// ownAgent: the specification names gantry's agent already; the handler talks to it.
	ownAgent process = iota
	// underAgent: gantry's agent starts the container's program, on request of this driver.
	underAgent
	// native: the node starts the container's program.
	native
)

// member is a container of a job, or of a step, as it is to be made.
type member struct {
	spec    engine.ContainerSpec
	role    role
	process process
	name    string // in its pod
	pod     string
	image   *imageConfig // nil: not known
	opts    options.Result
	mounts  []engine.Mount
	sight   *sight
	folder  folder // of the agent, on the runner's side; empty without one
	tag     tag
	// container is the result; of ephemeral containers what they have in common with others.
	container corev1.Container
	// env is what must not stand in a specification: it goes over the agent's connection, or into a secret.
	env map[string]string
	// program is what underAgent runs.
	program  *agent.Step
	health   *options.Health
	agentDir string // the agent's folder as the container sees it, where that is not one of the runner's
	// apart: its work folder is empty when it starts, and filled by the agent. A working directory in there would be made by
	// the node, for root.
	apart bool
	// stays has the agent go on after its step: its work folder is its own.
	stays bool
	// externals is where an agent of the handler's looks for what sight.noExternals says.
	externals agent.Externals
	token     string         // of the agent of underAgent
	undone    []agent.Undone // what that agent could not make
}

// folder is the folder of an agent: rel below base, of which the container sees the part agent.SharedDir.
type folder struct{ base, rel string }

// host is the path of the folder on the runner's side.
func (f folder) host() string {
	if f.rel == "" {
		return ""
	}
	return path.Join(f.base, f.rel)
}

// runsAgent tells that a specification names gantry's agent as the first process.
func runsAgent(spec engine.ContainerSpec) bool {
	return spec.Entrypoint == path.Join(agent.MountPoint, agent.BinaryName)
}

// serves tells that this agent waits for steps.
func serves(spec engine.ContainerSpec) bool {
	return runsAgent(spec) && len(spec.Args) > 0 && spec.Args[0] == "serve"
}

// pullPolicy is Kubernetes' word for when to pull. An image named by digest never changes.
func pullPolicy(spec engine.ContainerSpec) corev1.PullPolicy {
	switch {
	case spec.Pull == engine.PullNever:
		return corev1.PullNever
	case spec.Pull == engine.PullMissing, strings.Contains(spec.Image, "@"):
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

// translate makes the container as far as options, image and folders say, before its process.
func (m *member) translate(target options.Target, pod *corev1.Pod, s Settings) error {
	m.container = corev1.Container{
		Name: m.name, Image: m.spec.Image, ImagePullPolicy: pullPolicy(m.spec), WorkingDir: m.spec.WorkingDir,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	asked := options.Request{
		Args: m.spec.Options, Target: target, Job: m.role == jobRole, Limits: s.Limits, Unsupported: s.Unsupported,
		Can: options.Abilities{Agent: m.process != native, Hosts: m.process != native, Ulimits: m.process != native, Mounts: true},
	}
	result, err := options.Apply(asked, pod, &m.container)
	if err != nil {
		return optionsVerdict(m.spec, err)
	}
	m.opts = result
	m.mounts = slices.Concat(result.Mounts, m.spec.Mounts) // the runner's own have precedence
	m.env = map[string]string{}
	maps.Copy(m.env, result.Env)
	maps.Copy(m.env, m.spec.Env)
	var ofImage *options.Health
	if m.image != nil {
		ofImage = m.image.Health
	}
	if m.role == serviceRole || result.Health != nil {
		m.health = result.Health.Over(ofImage)
	}
	return nil
}

// optionsVerdict shows the workflow's author what is wrong with the options.
func optionsVerdict(spec engine.ContainerSpec, err error) error {
	v := verdict.New(verdict.Workflow, "options are flags of `docker create`, as one string; docs/kubernetes.md lists what they mean for a pod",
		"the options of the %s: %w: %w", spec.Title, engine.ErrOptions, err)
	if e, ok := errors.AsType[*createopts.Error](err); ok {
		v.Excerpt = e.Excerpt()
		if e.Hint != "" {
			v.Hint = e.Hint
		}
	}
	v.Command, v.Output = "options: "+strings.Join(spec.Options, " "), err.Error()
	return v
}

// entrypoint is the one that is given, by the specification or its options; "" leaves it to the image.
func (m *member) entrypoint() string {
	if m.spec.Entrypoint != "" {
		return m.spec.Entrypoint
	}
	return m.opts.Entrypoint
}

// names are what a container of the job is reached by.
func (m *member) names() []string {
	if m.role == stepRole {
		return nil
	}
	names := slices.Clone(m.spec.Aliases)
	for _, name := range m.opts.Names {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// start writes the first process into the container. hosts are the names of the pod; listen and tls are an agent's address,
// "" if its socket can be reached.
func (m *member) start(hosts []agent.Host, listen string) error {
	switch m.process {
	case native:
		if entry := m.entrypoint(); entry != "" {
			m.container.Command = escape([]string{entry})
		}
		m.container.Args = escape(m.spec.Args)
		return nil
	case underAgent:
		dir, ok := m.sight.host(path.Join(m.folder.host(), agent.SharedDir))
		if !ok {
			return fmt.Errorf("the %s does not see its agent's folder %s", m.spec.Title, m.folder.host())
		}
		config := agent.ServeConfig{Main: true, Dir: dir, Links: m.sight.linksFor(agent.MountPoint), Hosts: hosts, Ulimits: m.ulimits()}
		m.container.Command, m.container.Args = escape([]string{path.Join(config.Dir, agent.BinaryName)}), escape(config.Args())
		m.program = &agent.Step{ID: "main", Argv: m.image.argv(m.entrypoint(), m.spec.Args), Env: m.env}
		return nil
	}
	m.container.Command, m.container.Args = escape([]string{m.sight.at(m.spec.Entrypoint)}), escape(m.spec.Args)
	if !serves(m.spec) {
		return nil
	}
	config, err := agent.ParseServe(m.spec.Args[1:])
	if err != nil {
		return fmt.Errorf("reading the agent's arguments: %w", err)
	}
	if dir := firstOf(m.agentDir, m.sight.at(agent.MountPoint)); dir != agent.MountPoint {
		config.Dir = dir
	}
	config.Once = config.Once && !m.stays
	config.Links, config.Hosts, config.Ulimits = m.sight.linksFor(agent.MountPoint), hosts, m.ulimits()
	if dir := m.sight.at(m.container.WorkingDir); dir != m.container.WorkingDir {
		m.container.WorkingDir = dir // the link is not there yet
	}
	if m.apart {
		m.container.WorkingDir = "/" // steps name their own
	}
	if listen != "" {
		config.Listen, config.TLS = listen, tlsTarget
	}
	if m.sight.noExternals {
		config.Externals = agent.Externals{Prefix: externalsPlace, Dir: path.Join(path.Dir(config.SocketPath()), externals.Dir)}
	}
	m.externals = config.Externals
	m.container.Args = escape(config.Args())
	return nil
}

// ulimits are the options' limits, for the agent to set.
func (m *member) ulimits() (all []agent.Ulimit) {
	for _, u := range m.opts.Ulimits {
		all = append(all, agent.Ulimit(u))
	}
	return all
}

// escape keeps Kubernetes from reading $(NAME) as a variable.
func escape(words []string) []string {
	var all []string
	for _, w := range words {
		all = append(all, strings.ReplaceAll(w, "$", "$$"))
	}
	return all
}

// unescape is what escape was given.
func unescape(words []string) []string {
	var all []string
	for _, w := range words {
		all = append(all, strings.ReplaceAll(w, "$$", "$"))
	}
	return all
}

// mark writes the tag of an ephemeral container.
func (m *member) mark() {
	m.container.Env = append(m.container.Env, corev1.EnvVar{Name: labelsVariable, Value: strings.ReplaceAll(m.tag.String(), "$", "$$")})
}

// ephemeral is the container as an ephemeral one.
func (m *member) ephemeral() corev1.EphemeralContainer {
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(m.container)}
}
