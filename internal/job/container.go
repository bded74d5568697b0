package job

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job/layout"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/job/wording"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// container is the job container.
type container struct {
	mapping layout.Mapping
	alpine  bool // known once prepare_job has answered
}

// request is what prepare_job is called with.
type request struct {
	args  hook.PrepareJobArgs
	names []string // of the services, in order
}

// empty says that the job has no containers, so that the hook is not called.
func (r request) empty() bool { return r.args.Container == nil && len(r.args.Services) == 0 }

// containers evaluates the job container and the services. What has no image is left out.
func (x *execution) containers() (request, error) {
	var req request
	e := x.evaluator()
	c, err := e.container(x.job.Job.Container)
	if err != nil {
		return req, err
	}
	if req.args.Container, err = x.jobContainer(e, c); err != nil {
		return req, err
	}
	services := x.job.Job.Services
	if services.Expr.Written() {
		value, err := e.value(services.Expr)
		if err != nil || expr.Text(value) == "" {
			return req, err
		}
		if services, err = workflow.ServicesOf(value); err != nil {
			return req, e.source.Wrap(services.Expr.Pos, err)
		}
	}
	for _, s := range services.List {
		service, err := x.service(e, s.Container)
		if err != nil {
			return req, err
		}
		if service != nil {
			req.args.Services = append(req.args.Services, *service)
			req.names = append(req.names, s.ID)
		}
	}
	return req, nil
}

// container evaluates one that is an expression as a whole. It is nil for none.
func (e evaluator) container(c *workflow.Container) (*workflow.Container, error) {
	if c == nil || !c.Expr.HasExpr() {
		return c, nil
	}
	value, err := e.value(c.Expr)
	if err != nil {
		return nil, err
	}
	made, err := workflow.ContainerOf(value)
	if err != nil {
		return nil, e.source.Wrap(c.Expr.Pos, err)
	}
	return made, nil
}

func (x *execution) jobContainer(e evaluator, c *workflow.Container) (*hook.Container, error) {
	h, err := x.common(e, c)
	if err != nil || h == nil {
		return nil, err
	}
	h.WorkingDirectory = x.dirs.JobContainer(nil).Translate(x.dirs.Workspace)
	h.EnvironmentVariables["HOME"] = "/github/home"
	h.EnvironmentOrder = append(h.EnvironmentOrder, "HOME")
	h.SystemMountVolumes = x.dirs.JobMounts()
	return h, nil
}

func (x *execution) service(e evaluator, c *workflow.Container) (*hook.Container, error) {
	c, err := e.container(c)
	if err != nil {
		return nil, err
	}
	h, err := x.common(e, c)
	if err != nil || h == nil {
		return nil, err
	}
	values, err := e.texts([]workflow.Text{c.Entrypoint, c.Command})
	if err != nil {
		return nil, err
	}
	h.EntryPoint, h.EntryPointArgs = values[0], wording.ContainerArgs(values[1])
	return h, nil
}

// common evaluates what job containers and services have in common. It is nil without an image.
func (x *execution) common(e evaluator, c *workflow.Container) (*hook.Container, error) {
	if c == nil {
		return nil, nil
	}
	values, err := e.texts([]workflow.Text{c.Image, c.Options})
	if err != nil || values[0] == "" {
		return nil, err
	}
	h := &hook.Container{Image: wording.Image(values[0]), CreateOptions: values[1], EntryPointArgs: []string{}}
	if h.Registry, err = x.registry(e, c.Credentials, h.Image); err != nil {
		return nil, err
	}
	if other := x.image(h.Image); other != h.Image {
		h.Image, h.Registry = other, nil
	}
	env, err := e.vars(c.Env)
	if err != nil {
		return nil, err
	}
	for _, p := range x.proxies() {
		if !slices.ContainsFunc(env, func(own pair) bool { return own.name == p.name }) {
			env = append(env, p)
		}
	}
	h.EnvironmentVariables, h.EnvironmentOrder = environment(env)
	ports, err := e.texts(c.Ports)
	if err != nil {
		return nil, err
	}
	volumes, err := e.texts(c.Volumes)
	if err != nil {
		return nil, err
	}
	h.PortMappings, h.UserMountVolumes = wording.Ports(ports), wording.Volumes(volumes)
	return h, nil
}

// environment is the environment of a container in the runner's order. The first one of a name has the place, the last
// one the value.
func environment(pairs []pair) (values map[string]string, order []string) {
	values = map[string]string{}
	for _, p := range pairs {
		values[p.name] = p.value
		order = append(order, p.name)
	}
	return values, order
}

// proxies are the variables about proxies that every container gets, from those of the runner (RunnerWebProxy.cs).
func (x *execution) proxies() []pair {
	var env []pair
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		address := process.Lookup(x.opts.Environ, name)
		if address == "" {
			address = process.Lookup(x.opts.Environ, strings.ToUpper(name))
		}
		if address == "" {
			continue
		}
		if u, err := url.Parse(address); err == nil && u.User != nil {
			password, _ := u.User.Password()
			x.masks.Add(password)
		}
		env = append(env, pair{strings.ToUpper(name), address}, pair{name, address})
	}
	return env
}

// image is the image to use for one that is named.
func (x *execution) image(name string) string {
	if x.opts.Image == nil || name == "" {
		return name
	}
	return x.opts.Image(name)
}

// registry evaluates credentials. For GitHub's own registry the runner has some of its own.
func (x *execution) registry(e evaluator, c workflow.Credentials, image string) (*hook.Registry, error) {
	if c.Expr.Written() {
		value, err := e.value(c.Expr)
		if err != nil {
			return nil, err
		}
		place := c.Expr.Pos
		if c, err = workflow.CredentialsOf(value); err != nil {
			return nil, e.source.Wrap(place, err)
		}
	}
	values, err := e.texts([]workflow.Text{c.Username, c.Password})
	if err != nil {
		return nil, err
	}
	x.masks.Add(values[1])
	if values[0] == "" && wording.ForGitHubPackages(image) {
		values = []string{x.member("actor"), x.member("token")}
		if values[1] == "" {
			return nil, nil
		}
	}
	return wording.Registry(image, values[0], values[1]), nil
}

// member is a member of the context github.
func (x *execution) member(name string) string {
	for _, p := range x.githubMembers() {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// prepare is the step "Initialize containers".
func (x *execution) prepare(ctx context.Context, req request) error {
	result, err := x.call(ctx, hook.PrepareJob, &req.args)
	if err != nil {
		return err
	}
	if result.Response == nil {
		return nil
	}
	if x.container != nil && result.Response.IsAlpine != nil {
		x.container.alpine = *result.Response.IsAlpine
	}
	x.state.setContainers(result.Response.Context, req.names)
	return nil
}

// setContainers fills job.container and job.services.
func (s *state) setContainers(c *hook.JobContext, names []string) {
	if c == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Container != nil {
		s.container = expr.NewMap()
		s.container.Set("id", c.Container.ID)
		s.container.Set("network", c.Container.Network)
	}
	s.services = expr.NewMap()
	for i, service := range c.Services[:min(len(names), len(c.Services))] {
		ports := expr.NewMap()
		for _, port := range slices.Sorted(maps.Keys(service.Ports)) {
			ports.Set(port, service.Ports[port])
		}
		m := expr.NewMap()
		m.Set("id", service.ID)
		m.Set("ports", ports)
		m.Set("network", service.Network)
		s.services.Set(names[i], m)
	}
}

// kept says what the containers of the job are.
func (s *state) kept() *Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &Kept{Services: map[string]string{}}
	k.Container, k.Network = textOf(s.container, "id"), textOf(s.container, "network")
	if s.services == nil {
		return k
	}
	for _, name := range s.services.Names() {
		if service, ok := s.services.Get(name); ok {
			k.Services[name] = textOf(service.(*expr.Map), "id")
		}
	}
	return k
}

func textOf(m *expr.Map, name string) string {
	if m == nil {
		return ""
	}
	v, _ := m.Get(name)
	return expr.Text(v)
}
