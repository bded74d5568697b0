package handler

import (
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/policy"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// dockerSocket is where the runner asks for the engine's socket to be mounted from and to.
const dockerSocket = "/var/run/docker.sock"

// part is one container of the runner's request, with what has been made of it.
type part struct {
	role  string
	title string // as the log calls it
	field string // where its options stand in the workflow
	in    *hook.Container
	opts  *createopts.Options
	// Of container steps: whether the job has a job container, and what a built image is built from.
	hasJob     bool
	baseImages []string
}

// planner turns requests into engine specs. It is pure but for looking whether mount sources exist.
type planner struct {
	h      *Handler
	job    string
	socket string // the engine's own socket, "" if there is none
	exists func(path string) bool
	// taken are the host ports that containers of this job publish already.
	taken []publishedPort
}

type publishedPort struct {
	createopts.Port
	title string
}

func (h *Handler) planner(job string, info engine.Info) *planner {
	return &planner{h: h, job: job, socket: info.Socket, exists: func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}}
}

// jobSpec plans a whole job.
func (p *planner) jobSpec(args *hook.PrepareJobArgs, dir agentDir) (engine.JobSpec, error) {
	spec := engine.JobSpec{
		Network:  engine.NetworkSpec{Name: p.h.name(p.job, "net"), Create: true},
		Labels:   p.h.labels(p.job, roleNetwork),
		Timeouts: p.h.timeouts(),
	}
	if name := p.h.Config.Network; name != "" {
		spec.Network = engine.NetworkSpec{Name: name}
	}
	if args.Container != nil {
		c, err := p.container(part{role: roleJob, title: "job container", field: "container", in: args.Container})
		if err != nil {
			return spec, err
		}
		c.Entrypoint, c.Args = agent.MountPoint+"/"+agent.BinaryName, []string{"serve"}
		c.Mounts = append(append(c.Mounts, dir.mount()), dir.covers(c.Mounts)...)
		spec.Container = &c
	}
	aliases := serviceAliases(args.Services)
	for i := range args.Services {
		in := &args.Services[i]
		c, err := p.container(part{role: roleService, title: "service " + aliases[i], field: "services[" + strconv.Itoa(i) + "]", in: in})
		if err != nil {
			return spec, err
		}
		c.Name = p.h.name(p.job, aliases[i])
		c.Aliases = unique(aliases[i], sanitize(in.ContextName))
		c.Entrypoint, c.Args = in.EntryPoint, hook.Argv(in.EntryPointArgs)
		if args.Container != nil {
			c.Mounts = append(c.Mounts, dir.covers(c.Mounts)...)
		}
		spec.Services = append(spec.Services, c)
	}
	return spec, nil
}

func (h *Handler) timeouts() engine.Timeouts {
	t := h.Config.Timeouts
	return engine.Timeouts{Schedule: t.Schedule, Pull: t.Pull, Start: t.Start, Health: t.Health}
}

// container plans what job, service and step containers have in common.
func (p *planner) container(pt part) (engine.ContainerSpec, error) {
	cfg, in := p.h.Config, pt.in
	spec := engine.ContainerSpec{
		Name: p.h.name(p.job, pt.role), Title: pt.title, Labels: p.h.labels(p.job, pt.role),
		Image: policy.RewriteImage(cfg.ImageRewrite, in.Image), Pull: engine.PullPolicy(cfg.Pull), PullTimeout: cfg.Timeouts.Pull,
		WorkingDir: in.WorkingDirectory, Env: environment(cfg.Env, in.EnvironmentVariables),
	}
	opts, err := createopts.Parse(in.CreateOptions)
	if err != nil {
		return spec, optionsVerdict(pt, err)
	}
	pt.opts = opts
	if err := p.allowed(pt); err != nil {
		return spec, err
	}
	if r := in.Registry; r != nil && r.Username != "" {
		spec.Credentials = &engine.Credentials{Username: r.Username, Password: r.Password, Server: r.ServerURL}
	}
	if spec.Ports, err = p.ports(pt); err != nil {
		return spec, err
	}
	if spec.Mounts, err = p.mounts(pt); err != nil {
		return spec, err
	}
	spec.Options = slices.Concat(p.createArgs(pt.role), opts.Args, p.limits())
	return spec, nil
}

// optionsVerdict shows the workflow's author the place in the options.
func optionsVerdict(pt part, err error) error {
	v := verdict.New(verdict.Workflow, "options are flags of `docker create`, as one string; only double quotes group",
		"%s of the %s: %w", pt.field+".options", pt.title, err)
	if e, ok := errors.AsType[*createopts.Error](err); ok {
		v.Excerpt = e.Excerpt()
		if e.Hint != "" {
			v.Hint = e.Hint
		}
	}
	return v
}

func (p *planner) createArgs(role string) []string {
	switch role {
	case roleJob:
		return p.h.Config.CreateArgs.Job
	case roleService:
		return p.h.Config.CreateArgs.Service
	}
	return p.h.Config.CreateArgs.Step
}

// limits stand behind the workflow's own options: the last flag wins.
func (p *planner) limits() []string {
	var flags []string
	l := p.h.Config.Limits
	if l.CPUs != "" {
		flags = append(flags, "--cpus="+l.CPUs)
	}
	if l.Memory != "" {
		flags = append(flags, "--memory="+l.Memory)
	}
	if l.Pids > 0 {
		flags = append(flags, "--pids-limit="+strconv.Itoa(l.Pids))
	}
	return flags
}

// environment adds what the runner adds in its own docker mode: GITHUB_ACTIONS always, CI unless the user has it.
func environment(configured, requested map[string]string) map[string]string {
	env := map[string]string{"CI": "true"}
	maps.Copy(env, configured)
	maps.Copy(env, requested)
	env["GITHUB_ACTIONS"] = "true"
	return env
}

// ports checks the mappings. In GitHub's documented examples, whose form is an object, all containers publish the same
// host port; there, the second gets a free one, and so do steps, whose job has it already.
func (p *planner) ports(pt part) ([]string, error) {
	var all []string
	for _, text := range pt.in.PortMappings {
		port, err := createopts.ParsePort(text)
		if err != nil {
			return nil, verdict.New(verdict.Workflow, `a port is "80", "8080:80", "8080:80/udp" or "127.0.0.1:8080:80"`,
				"%s.ports of the %s: %w", pt.field, pt.title, err)
		}
		other := p.publishes(port)
		if pt.in.PortsFromObject && (other != "" || pt.role == roleStep) {
			port.Host = createopts.Range{}
			p.h.logf("gantry: host port of %q is taken by another container of this job: the %s gets a free one", text, pt.title)
		} else if other != "" {
			return nil, verdict.New(verdict.Workflow, "publish another port, or only the container's port: the host's is then chosen freely",
				"%s.ports of the %s: %w: %q is published by the %s of this job, too", pt.field, pt.title, engine.ErrPortTaken, text, other)
		}
		p.taken = append(p.taken, publishedPort{port, pt.title})
		all = append(all, port.String())
	}
	return all, nil
}

// publishes tells which container of this job publishes the same port of the host; "" if none does. Where the engine
// chooses from several there is no telling.
func (p *planner) publishes(port createopts.Port) string {
	if port.Host.First == 0 || port.Host.First != port.Host.Last {
		return ""
	}
	for _, other := range p.taken {
		sameAddress := port.HostIP == other.HostIP || !port.HostIP.IsValid() || !other.HostIP.IsValid()
		if port.Host == other.Host && port.Protocol == other.Protocol && sameAddress {
			return other.title
		}
	}
	return ""
}

// mounts plans user mounts before the runner's own, as the runner does, and those of the configuration last.
func (p *planner) mounts(pt part) ([]engine.Mount, error) {
	var all []engine.Mount
	for _, v := range slices.Concat(pt.in.UserMountVolumes, pt.in.SystemMountVolumes) {
		m, err := createopts.Mount(v)
		if err != nil {
			return nil, verdict.New(verdict.Workflow, `a volume is "name:/path", "/host/path:/path:ro" or "/path"`,
				"%s.volumes of the %s: %w", pt.field, pt.title, err)
		}
		if m.Source == dockerSocket || m.Target == dockerSocket {
			source, ok := p.engineSocket(m)
			if !ok {
				continue
			}
			m.Source = source
		}
		all = append(all, p.withOptions(m))
	}
	if pt.role == roleService {
		return all, nil
	}
	for _, text := range p.h.Config.Mounts {
		m, err := createopts.ParseVolume(text)
		if err != nil {
			return nil, verdict.New(verdict.Configuration, "see `mounts` in gantry.yaml", "mount %q: %w", text, err)
		}
		all = append(all, p.withOptions(m))
	}
	return all, nil
}

// engineSocket is where the engine's socket really is; not ok if there is none or the administrator denies it.
func (p *planner) engineSocket(m engine.Mount) (string, bool) {
	if p.h.Config.DockerSocket == "deny" {
		return "", false
	}
	for _, path := range []string{p.socket, m.Source} {
		if path != "" && p.exists(path) {
			return path, true
		}
	}
	return "", false
}

// withOptions adds the configured options to bind mounts.
func (p *planner) withOptions(m engine.Mount) engine.Mount {
	if !filepath.IsAbs(m.Source) {
		return m
	}
	for _, o := range p.h.Config.MountOptions {
		if !slices.Contains(m.Options, o) {
			m.Options = append(m.Options, o)
		}
	}
	return m
}

// serviceAliases are the names under which services are reached: the base name of the image, numbered from the
// second of the same name on.
func serviceAliases(services []hook.Container) []string {
	count := map[string]int{}
	names := make([]string, len(services))
	for i, s := range services {
		base := ServiceName(s.Image)
		names[i] = base
		if n := count[base]; n > 0 {
			names[i] = base + "-" + strconv.Itoa(n)
		}
		count[base]++
	}
	return names
}

// ServiceName is the name under which a service of an image is reached: the last component of the image's name, without tag
// and digest, as a host name.
func ServiceName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	base := path.Base(image)
	base, _, _ = strings.Cut(base, ":")
	if s := sanitize(base); s != "" {
		return s
	}
	return "service"
}

func unique(names ...string) []string {
	var all []string
	for _, n := range names {
		if n != "" && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// orNone bounds a context's work; 0 is no bound.
func orNone(d time.Duration) time.Duration {
	if d <= 0 {
		return 1 << 62
	}
	return d
}
