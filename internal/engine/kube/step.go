package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/writers"
)

// StartStep is part of engine.Engine. network is the pod of the job; without one the step goes to the runner's own pod, or
// gets one of its own.
func (d *Driver) StartStep(ctx context.Context, spec engine.ContainerSpec, network string, log io.Writer) (*engine.StepContainer, error) {
	s := &stepRun{d: d, spec: spec, log: writers.NewLocked(log), gone: make(chan struct{}), over: make(chan struct{}), room: newBudget(d.opts.Step.Schedule)}
	running := make(chan struct{})
	s.begins = sync.OnceFunc(func() { close(running) })
	g, first := errgroup.WithContext(ctx)
	g.Go(func() error { return s.choose(first, network) })
	g.Go(func() error { return s.readImage(first) })
	err := g.Wait()
	if err == nil {
		s.spec, err = d.pulled(ctx, spec)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s (%s): %w", spec.Title, spec.Image, err)
	}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("starting %s (%s): %w", spec.Title, spec.Image, err)
	}
	c := s.container()
	select { // who talks to an agent does not wait for as long as a pull may take
	case <-running:
	case <-s.gone:
	}
	return c, nil
}

// stepRun is a step's container under way.
type stepRun struct {
	d    *Driver
	spec engine.ContainerSpec
	log  io.Writer

	home   *home
	mode   Mode
	job    *corev1.Pod // the job's own; nil: the runner's, or one is to be made
	image  *imageConfig
	member *member
	pod    *corev1.Pod
	plan   *podPlan // of a pod that was made for the step
	secure secrets
	room   budget

	begins func()        // to be called when the container runs
	over   chan struct{} // closed: the step's result is known
	ended  bool          // the container has ended by itself
	gone   chan struct{}
	err    error
}

// choose finds the pod for the step.
func (s *stepRun) choose(ctx context.Context, network string) error {
	d := s.d
	set := d.opts.Settings
	facts, home, err := d.facts(ctx, s.spec.Labels, network == "" && !settled(set.Mode, set.Volume))
	if err != nil {
		return err
	}
	s.home = home
	if home != nil && network == home.pod.Name {
		s.mode = InPod
		return nil
	}
	if network != "" && network != "none" {
		return s.joinPod(ctx, network)
	}
	choice, err := Choose(set.Mode, set.Volume, facts)
	s.mode = choice.Mode
	return err
}

// joinPod lets the step run in the job's own pod.
func (s *stepRun) joinPod(ctx context.Context, name string) error {
	pod, err := s.d.api.Pod(ctx, name)
	if errors.Is(err, engine.ErrNotFound) {
		return verdict.New(verdict.Infrastructure, "has somebody or something in the cluster deleted it?", "the job's pod %s is gone: %w", name, err)
	}
	s.job, s.mode = pod, PodShared
	if pod != nil && pod.Annotations[annotationApart] != "" {
		s.mode = PodApart
	}
	return err
}

// readImage finds out what the image runs, if that is wanted: by the caller, or by an agent that has to start it.
func (s *stepRun) readImage(ctx context.Context) (err error) {
	own := !runsAgent(s.spec) && s.spec.Entrypoint == "" && !hasEntrypoint(s.spec.Options)
	if s.spec.ReadImage || own {
		s.image, err = s.d.readConfig(ctx, s.spec)
	}
	if err != nil && !s.spec.ReadImage {
		return nil // the node starts it
	}
	return err
}

// start asks for the container.
func (s *stepRun) start(ctx context.Context) error {
	m := &member{spec: s.spec, role: stepRole, process: native, name: dnsLabel(s.spec.Name), image: s.image}
	m.tag = tag{Name: s.spec.Name, Title: s.spec.Title, Labels: s.spec.Labels, Step: true}
	if runsAgent(s.spec) {
		m.process = ownAgent
	}
	s.member = m
	var err error
	switch {
	case s.mode == InPod:
		err = s.startInPod(ctx, m)
	case s.job != nil:
		err = s.startInJob(ctx, m)
	default:
		err = s.startOwnPod(ctx, m)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("step-run-started")
	go s.follow(ctx)
	return nil
}

// startInPod adds the step to the runner's pod.
func (s *stepRun) startInPod(ctx context.Context, m *member) error {
	if m.image == nil && m.process == native && (s.spec.Entrypoint != "" || hasEntrypoint(s.spec.Options)) {
		m.image = &imageConfig{}
	}
	if m.process == native && m.image != nil {
		m.process = underAgent
	}
	if err := s.d.settle(s.home, m, s.home.pod); err != nil {
		return err
	}
	if err := s.finish(s.home.pod, ""); err != nil {
		return err
	}
	if err := s.d.furnish(s.home, []*member{m}); err != nil {
		return err
	}
	s.secure.credentials(m)
	if err := s.d.lend(ctx, s.home, s.spec.Labels, s.secure.pull); err != nil {
		return err
	}
	return s.add(ctx, s.home.pod.Name)
}

// finish writes process, template and tag into the step's ephemeral container.
func (s *stepRun) finish(pod *corev1.Pod, listen string) error {
	m := s.member
	m.tag.Hosts = hostsOf(pod)
	if err := m.start(m.tag.Hosts, listen); err != nil {
		return err
	}
	notes, problems := s.d.opts.Template.ApplyEphemeral(pod, &m.container, template.JobName)
	if len(problems) > 0 {
		return templateVerdict(problems)
	}
	for _, n := range append(noteLines(m), notes...) {
		fmt.Fprintf(s.log, "gantry: %s: %s\n", m.spec.Title, n)
	}
	m.mark()
	return nil
}

// noteLines are what of a member is not as it was asked for.
func noteLines(m *member) (lines []string) {
	for _, n := range m.opts.Notes {
		lines = append(lines, "options: "+n.String())
	}
	if m.sight != nil {
		lines = append(lines, m.sight.notes...)
	}
	return lines
}

// hostsOf are the names that containers of a pod know.
func hostsOf(pod *corev1.Pod) []agent.Host {
	var hosts []agent.Host
	for _, c := range pod.Spec.EphemeralContainers {
		t, _ := tagOf(c.Env)
		for _, h := range t.Hosts {
			hosts = addHost(hosts, h)
		}
	}
	return hosts
}

func (s *stepRun) add(ctx context.Context, pod string) (err error) {
	failpoint.Hit("step-run-starting")
	s.member.pod = pod
	s.pod, err = s.d.addEphemeral(ctx, pod, []*member{s.member})
	return err
}

// startInJob adds the step to the job's own pod.
func (s *stepRun) startInJob(ctx context.Context, m *member) error {
	m.pod = s.job.Name
	p := s.d.podPlan(s.home, s.mode, s.spec.Labels, []*member{m}, &s.secure)
	w := whole{
		home: s.home, base: &volume{Volume: corev1.Volume{Name: workVolume}}, scratch: p.scratch(m), github: githubVolume,
		mayMount: func(name string) bool { return hasVolume(s.job, name) },
	}
	w.base.mount.MountPath = s.d.opts.Work
	if s.mode == PodShared && s.home != nil && s.home.work != nil {
		w.base.mount = s.home.work.mount
	}
	if w.home == nil {
		w.home = &home{pod: &corev1.Pod{}, runner: &corev1.Container{}}
	}
	w.home.workFolder = s.d.opts.Work
	if m.stays = s.mode == PodApart && s.spec.Alone; m.stays {
		m.apart = true
		w.below = m.name // what an earlier step has left in the volume is not this one's
	}
	err := m.translate(options.Ephemeral, s.job, s.d.opts.Settings)
	if err != nil {
		return err
	}
	if m.sight, err = w.sight(p.mounts(m)); err != nil {
		return err
	}
	if s.mode == PodShared {
		m.folder = folder{base: s.d.opts.Work, rel: relTo(s.d.opts.Work, p.scratch(m))}
		if err := s.shareFolders(m); err != nil {
			return err
		}
	}
	listen := ""
	if p.reached() == byAddress && m.process == ownAgent {
		if listen, err = s.listenBeside(ctx, m); err != nil {
			return err
		}
	}
	m.tag.Folder = m.folder.host()
	m.container.VolumeMounts = append(m.container.VolumeMounts, m.sight.mounts...)
	if err := s.finish(s.job, listen); err != nil {
		return err
	}
	return s.add(ctx, s.job.Name)
}

// shareFolders makes what the container needs in the shared work folder.
func (s *stepRun) shareFolders(m *member) error {
	if err := makeOpen(s.d.opts.Work, m.sight.folders); err != nil {
		return err
	}
	if m.process != ownAgent {
		m.folder = folder{}
		return nil
	}
	return openWay(m.folder)
}

// listenBeside has the step's agent listen beside the job's, with the same certificates.
func (s *stepRun) listenBeside(ctx context.Context, m *member) (string, error) {
	secret, err := s.d.api.Secret(ctx, s.job.Name)
	if err != nil {
		return "", fmt.Errorf("reading the certificates of the job's agents: %w", err)
	}
	s.secure.take(secret.Data, stepPort(m.name))
	m.sight.mount(tlsVolume, tlsTarget, "", true)
	if s.mode == PodApart {
		m.sight.mount(agentVolume, agent.MountPoint, "", false)
		m.agentDir = path.Join(agent.MountPoint, m.name) // the job's agent has the folder above
	}
	return s.secure.listenArg(), nil
}

// stepPort is a port for a step's agent. Two steps of one job that run at the same time hardly ever get the same.
func stepPort(name string) int {
	sum := 0
	for _, b := range []byte(short(name)) {
		sum = (sum*31 + int(b)) % 1000
	}
	return agentPort + 1 + sum
}

func hasVolume(pod *corev1.Pod, name string) bool {
	for _, v := range pod.Spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

// startOwnPod makes a pod for the step.
func (s *stepRun) startOwnPod(ctx context.Context, m *member) error {
	m.name = "job"
	s.plan = s.d.podPlan(s.home, s.mode, s.spec.Labels, []*member{m}, &s.secure)
	s.plan.meta.Name, s.plan.room, s.plan.log = podName(s.d.opts.Place.Pod, s.spec.Name+nonce(), "step"), s.room, s.log
	s.plan.patient = true
	pod, notes, err := s.plan.make()
	if err != nil {
		return err
	}
	for _, n := range append(noteLines(m), notes...) {
		fmt.Fprintf(s.log, "gantry: %s: %s\n", m.spec.Title, n)
	}
	failpoint.Hit("step-run-starting")
	if s.pod, err = s.d.createPod(ctx, s.plan, pod); err != nil {
		return errors.Join(err, s.d.dropSecrets(context.WithoutCancel(ctx), &s.secure))
	}
	if m.process == ownAgent && s.plan.reached() == byAddress {
		if err = s.awaitAddress(ctx); err != nil {
			return errors.Join(err, s.clear(context.WithoutCancel(ctx)))
		}
	}
	return nil
}

func (s *stepRun) lookout() *lookout {
	limits := s.d.opts.Step
	limits.Pull = s.spec.PullTimeout
	return s.d.newLookout(s.pod, []*member{s.member}, limits, s.room, s.log)
}

// awaitAddress waits until the pod has an address and its container runs.
func (s *stepRun) awaitAddress(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	l := s.lookout()
	g, waiting := errgroup.WithContext(watching)
	g.Go(func() error { return l.run(waiting) })
	g.Go(func() error {
		err := s.d.readyInOwnPod(waiting, l, s.plan, s.member)
		stop()
		return err
	})
	err := g.Wait()
	s.pod = l.seen()
	return ended(ctx, err)
}

// ended is ctx's own reason if that is over.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// container is what the caller gets.
func (s *stepRun) container() *engine.StepContainer {
	c := &engine.StepContainer{
		ID: containerID(s.pod.Name, s.member.name), Name: s.spec.Name, Env: s.member.env, Apart: s.mode == PodApart,
		Agent: s.address(), Gone: s.gone, Over: sync.OnceFunc(func() { close(s.over) }),
		Err: func() error {
			<-s.gone
			return wrap(s.err, fmt.Sprintf("running %s (%s)", s.spec.Title, s.spec.Image))
		},
	}
	if s.member.stays {
		c.Root, _ = s.member.sight.host(s.d.opts.Work) // it sees all of it
	}
	if s.image != nil {
		c.Entrypoint, c.Cmd = s.image.Entrypoint, s.image.Cmd
	}
	return c
}

// hasEntrypoint tells that options give an entry point.
func hasEntrypoint(args []string) bool {
	for _, a := range args {
		if a == "--entrypoint" || strings.HasPrefix(a, "--entrypoint=") {
			return true
		}
	}
	return false
}
