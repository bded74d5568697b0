package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
	"github.com/gantry-ci/gantry/internal/writers"
)

// StartJob is part of engine.Engine. Job.Network is the name of the pod.
func (d *Driver) StartJob(ctx context.Context, spec engine.JobSpec, log io.Writer) (engine.Job, error) {
	if !spec.Network.Create {
		return engine.Job{}, noNetworks(spec.Network.Name)
	}
	r := &jobRun{d: d, spec: spec, log: writers.NewLocked(log)}
	g, first := errgroup.WithContext(ctx)
	g.Go(func() error { return r.before(first) })
	g.Go(func() error { return r.choose(first) })
	g.Go(func() error { return r.readImages(first) })
	g.Go(func() error { return r.askExec(first) })
	err := g.Wait()
	if err == nil {
		err = r.run(ctx)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	if err != nil {
		return engine.Job{Phases: r.phases}, err
	}
	return r.result(), nil
}

func noNetworks(name string) error {
	return verdict.New(verdict.Configuration, "leave `network` (GANTRY_NETWORK, ACTIONS_RUNNER_NETWORK_DRIVER) out: the containers of a job share their pod's network",
		"network %s: there are no networks to choose from on Kubernetes", name)
}

// jobRun is one StartJob under way.
type jobRun struct {
	d    *Driver
	spec engine.JobSpec
	log  io.Writer

	home    *home
	choice  Choice
	configs map[string]*imageConfig // of services, by image
	unread  map[string]error
	members []*member // services, then the job container
	pod     *corev1.Pod
	secure  secrets
	room    budget
	patient bool // see podPlan
	beside  bool // see podPlan
	mayExec bool // in the job's own pod

	mu     sync.Mutex
	phases []engine.Phase
}

// phase notes how long something took.
func (r *jobRun) phase(title string, start time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phases = append(r.phases, engine.Phase{Title: title, Start: start, Took: time.Since(start)})
}

func (r *jobRun) logf(format string, args ...any) {
	fmt.Fprintf(r.log, "gantry: "+format+"\n", args...)
}

func (r *jobRun) before(ctx context.Context) error {
	if r.spec.Before == nil {
		return nil
	}
	return r.spec.Before(ctx)
}

// choose looks at the cluster and decides on the mode.
func (r *jobRun) choose(ctx context.Context) error {
	start := time.Now()
	s := r.d.opts.Settings
	facts, home, err := r.d.facts(ctx, r.spec.Labels, !settled(s.Mode, s.Volume))
	if err != nil {
		return err
	}
	if r.choice, err = Choose(s.Mode, s.Volume, facts); err != nil {
		return err
	}
	r.home = home
	r.logf("%s", r.choice.Reason())
	r.phase("look at the cluster", start)
	return nil
}

// askExec asks whether gantry may run health checks in a pod of the job's own.
func (r *jobRun) askExec(ctx context.Context) (err error) {
	checked := len(r.spec.Services) > 0 || r.spec.Container != nil && slices.ContainsFunc(r.spec.Container.Options, func(arg string) bool {
		return strings.HasPrefix(arg, "--health-")
	})
	if s := r.d.opts.Settings; !checked || slices.Equal(Wanted(s.Mode, s.Volume), []Mode{InPod}) {
		return nil
	}
	r.mayExec, err = r.d.api.May(ctx, execAccess)
	if errors.Is(err, kubeapi.ErrForbidden) {
		return nil // nor is it allowed to ask
	}
	return err
}

// readImages asks the registries about the images whose programs run. What they do not tell is known to be unknown.
func (r *jobRun) readImages(ctx context.Context) error {
	r.configs, r.unread = map[string]*imageConfig{}, map[string]error{}
	var g errgroup.Group
	containers := r.spec.Services
	if c := r.spec.Container; c != nil && !runsAgent(*c) {
		containers = append(slices.Clone(containers), *c)
	}
	for _, s := range containers {
		g.Go(func() error {
			config, err := r.d.images.config(ctx, s.Image, s.Credentials)
			r.mu.Lock()
			defer r.mu.Unlock()
			if err != nil {
				r.unread[s.Image] = err
				return nil
			}
			r.configs[s.Image] = config
			return nil
		})
	}
	return g.Wait()
}

func (r *jobRun) run(ctx context.Context) error {
	r.addMembers()
	r.room = newBudget(r.spec.Timeouts.Schedule)
	if r.choice.Mode == InPod {
		return r.runInPod(ctx)
	}
	return r.runPod(ctx)
}

// addMembers makes the list of containers. Services come first: the node starts one container after the other, and
// services need longer until they are of use.
func (r *jobRun) addMembers() {
	used := map[string]bool{"job": true}
	for _, s := range r.spec.Services {
		m := &member{spec: s, role: serviceRole, process: native, image: r.configs[s.Image]}
		m.name = r.memberName(s, used)
		r.members = append(r.members, m)
	}
	if c := r.spec.Container; c != nil {
		m := &member{spec: *c, role: jobRole, process: native, name: "job", image: r.configs[c.Image]}
		if r.choice.Mode == InPod {
			m.name = dnsLabel(c.Name)
		}
		r.members = append(r.members, m)
	}
	for _, m := range r.members {
		m.tag = tag{Name: m.spec.Name, Title: m.spec.Title, Labels: m.spec.Labels, Ports: ports(m.spec.Ports)}
		if runsAgent(m.spec) {
			m.process = ownAgent
		}
	}
}

// memberName is what a service's container is called: in a pod of its own after the service, as a template expects it.
func (r *jobRun) memberName(s engine.ContainerSpec, used map[string]bool) string {
	name := dnsLabel(s.Name)
	if r.choice.Mode != InPod && len(s.Aliases) > 0 {
		name = dnsLabel(s.Aliases[0])
	}
	for base, i := name, 1; used[name]; i++ {
		name = dnsLabel(fmt.Sprintf("%s-%d", base, i))
	}
	used[name] = true
	return name
}

// hosts are the names of all containers: each is this pod.
func (r *jobRun) hosts() []agent.Host {
	var hosts []agent.Host
	for _, m := range r.members {
		for _, name := range m.names() {
			hosts = addHost(hosts, agent.Host{Name: name, IP: "127.0.0.1"})
		}
	}
	for _, m := range r.members {
		for _, h := range m.opts.Hosts {
			for _, name := range h.Hostnames {
				hosts = addHost(hosts, agent.Host{Name: name, IP: h.IP})
			}
		}
	}
	return hosts
}

func addHost(hosts []agent.Host, h agent.Host) []agent.Host {
	if slices.Contains(hosts, h) {
		return hosts
	}
	return append(hosts, h)
}

// sayNotes tells what is not as it was asked for.
func (r *jobRun) sayNotes(notes []string) {
	for _, m := range r.members {
		for _, n := range m.opts.Notes {
			r.logf("options of the %s: %s", m.spec.Title, n)
		}
		if m.sight != nil {
			for _, n := range m.sight.notes {
				r.logf("%s: %s", m.spec.Title, n)
			}
		}
	}
	for _, n := range notes {
		r.logf("pod template: %s", n)
	}
	for _, n := range portNotes(r.members) {
		r.logf("%s", n)
	}
}

// attend waits until all members are ready, while a lookout watches for what keeps them from it.
func (r *jobRun) attend(ctx context.Context, ready func(context.Context, *lookout, *member) error) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	l := r.d.newLookout(r.pod, r.members, r.spec.Timeouts, r.room, r.log)
	g, waiting := errgroup.WithContext(watching)
	g.Go(func() error { return l.run(waiting) })
	members, together := errgroup.WithContext(waiting)
	for _, m := range r.members {
		members.Go(func() error {
			start := time.Now()
			if err := ready(together, l, m); err != nil {
				return err
			}
			l.set(m.name)
			r.phase("start "+m.spec.Title, start)
			failpoint.Hit("container-started")
			return r.awaitHealth(together, l, m)
		})
	}
	g.Go(func() error {
		err := members.Wait()
		if err == nil {
			err = l.finalLook(waiting)
		}
		if err == nil {
			stop()
			return nil
		}
		return r.better(waiting, err)
	})
	err := g.Wait()
	if err == nil {
		r.pod = l.seen()
	}
	return err
}

// better lets the lookout have the word about a failure that only shows that something is wrong.
func (r *jobRun) better(ctx context.Context, err error) error {
	if _, ok := verdictIn(err); !ok {
		wait.For(ctx, 3*time.Second)
	}
	return err
}

// result tells what was started.
func (r *jobRun) result() engine.Job {
	job := engine.Job{Network: r.pod.Name, Phases: r.phases, Services: make([]engine.Started, len(r.spec.Services)), Apart: r.choice.Mode == PodApart}
	for i, m := range r.members {
		s := engine.Started{ID: containerID(r.pod.Name, m.name), Name: m.spec.Name, Network: r.pod.Name, Ports: m.tag.Ports}
		if m.role == jobRole {
			s.Agent = r.secure.address(r.pod)
			s.Env, s.Externals = m.env, m.externals
			job.Container = &s
		} else {
			job.Services[i] = s
		}
	}
	return job
}
