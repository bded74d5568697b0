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

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Times of a lookout.
const (
	// eventPause is the time between two looks at the events of a pod whose containers do not run yet. Events older than a
	// job by eventAge are not about it.
	eventPause = time.Second
	eventAge   = 5 * time.Second
)

// lookout follows one pod while containers of it start, tells the log why they do not, and ends the waiting when they
// never will.
type lookout struct {
	d       *Driver
	log     io.Writer
	pod     string
	uid     string
	members []*member
	limits  engine.Timeouts
	start   time.Time
	room    budget // for finding a node

	mu       sync.Mutex
	last     *corev1.Pod
	changed  chan struct{} // closed when last has changed
	ready    map[string]bool
	said     map[string]bool
	since    time.Time // when the pod's node could begin to start what waits; zero before there is a node
	probing  int       // services whose health the node checks, before it starts the next container
	warnings []string  // of the events
	noted    *trouble  // the last of a container that waits, of the events
}

func (d *Driver) newLookout(pod *corev1.Pod, members []*member, limits engine.Timeouts, room budget, log io.Writer) *lookout {
	l := &lookout{
		d: d, log: log, pod: pod.Name, uid: string(pod.UID), members: members, limits: limits, start: time.Now(), room: room,
		changed: make(chan struct{}), ready: map[string]bool{}, said: map[string]bool{},
	}
	l.see(pod)
	return l
}

// see takes a state of the pod in.
func (l *lookout) see(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = pod
	close(l.changed)
	l.changed = make(chan struct{})
	if pod.Spec.NodeName != "" && l.since.IsZero() {
		l.since = time.Now()
	}
}

// run follows the pod until ctx ends, which is no error, or something is wrong for good.
func (l *lookout) run(ctx context.Context) error {
	updates := l.d.api.Follow(ctx, l.pod, l.uid)
	tick := time.NewTicker(eventPause)
	defer tick.Stop()
	for {
		select {
		case u, open := <-updates:
			if ctx.Err() != nil || !open {
				return nil
			}
			if err := l.update(ctx, u); err != nil {
				return err
			}
		case <-tick.C:
			if err := l.patience(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *lookout) update(ctx context.Context, u kubeapi.Update) error {
	switch {
	case u.Err != nil:
		return fmt.Errorf("following the pod %s: %w", l.pod, u.Err)
	case u.Pod == nil:
		return l.d.gone(ctx, l.pod)
	}
	l.lack(u.Lacks, "containers that start are noticed later than they could be")
	l.see(u.Pod)
	return l.judge(ctx, u.Pod)
}

// lack tells what is worse because a request is forbidden that gantry can do without.
func (l *lookout) lack(err error, worse string) {
	if v, ok := verdictIn(err); ok && errors.Is(err, kubeapi.ErrForbidden) {
		l.say("%s: %v\nhint: %s", worse, err, v.Hint)
	}
}

// rejectedError: the node has refused the pod; another one may find room.
type rejectedError struct{ v *verdict.Error }

func (e *rejectedError) Error() string { return e.v.Error() }
func (e *rejectedError) Unwrap() error { return e.v }

// lateAgentError: the agent has not come into the pod at the first try, and no other is made there.
type lateAgentError struct{ v *verdict.Error }

func (e *lateAgentError) Error() string { return e.v.Error() }
func (e *lateAgentError) Unwrap() error { return e.v }

// judge looks for what is wrong for good, and tells what is wrong for now.
func (l *lookout) judge(ctx context.Context, pod *corev1.Pod) error {
	if pod.Status.Reason == refusedSideCars {
		return &noSideCarsError{"the kubelet of the node " + pod.Spec.NodeName + " refuses them"}
	}
	if t := podTrouble(pod); t != nil {
		switch {
		case rejected(pod):
			return &rejectedError{l.verdict("the pod "+l.pod, t, "")}
		case t.permanent:
			return l.verdict("the pod "+l.pod, t, "")
		}
		l.say("waiting for the pod %s: %s", l.pod, t)
	}
	if err := l.judgeOthers(pod); err != nil {
		return err
	}
	for _, m := range slices.Backward(l.members) { // the job's container first: services end with it
		status := statusOf(pod, m.name)
		if status == nil {
			continue
		}
		t := containerTrouble(status.State)
		if t == nil || l.isReady(m.name) && status.State.Terminated == nil {
			continue
		}
		if t.permanent {
			return l.memberVerdict(ctx, m, status, t)
		}
		l.say("%s (%s) does not start yet: %s", m.spec.Title, m.spec.Image, t)
	}
	return nil
}

// judgeOthers looks at the containers that come before the job's: the one that brings the agent, and the template's.
func (l *lookout) judgeOthers(pod *corev1.Pod) error {
	if s := statusOf(pod, installer); s != nil && l.onlyOneTry() && !slices.ContainsFunc(l.members, func(m *member) bool { return proves(pod, m) }) {
		if t := otherTrouble(s); t != nil {
			return &lateAgentError{l.otherVerdict(s.Name, t)}
		}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		t := otherTrouble(&s)
		if t == nil || !comesBefore(pod, s.Name) {
			continue
		}
		if restarts := isSideCar(pod, s.Name) && s.State.Terminated != nil; t.permanent && !restarts {
			return l.otherVerdict(s.Name, t)
		}
		l.noted = t
		l.say("the container %s, which comes before the job's, does not start yet: %s", s.Name, t)
	}
	return nil
}

// comesBefore tells that the pod's containers still wait for an init container that is not a service. A side-car of the template may
// end and begin after that as it likes.
func comesBefore(pod *corev1.Pod, name string) bool {
	_, service := tagsOf(pod)[name]
	begun := slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil || s.State.Terminated != nil
	})
	return !service && !(begun && isSideCar(pod, name))
}

// otherTrouble judges a container that may end, if it does so well.
func otherTrouble(s *corev1.ContainerStatus) *trouble {
	if ended := s.State.Terminated; ended != nil && ended.ExitCode == 0 {
		return nil
	}
	return containerTrouble(s.State)
}

// proves tells that the agent has come into the pod: a container runs that begins with it.
func proves(pod *corev1.Pod, m *member) bool {
	s := statusOf(pod, m.name)
	return m.process == ownAgent && s != nil && s.State.Running != nil
}

// onlyOneTry tells that the agent comes into the pod at the first try or never: beside the job's container.
func (l *lookout) onlyOneTry() bool {
	return slices.ContainsFunc(l.seen().Spec.Containers, func(c corev1.Container) bool { return c.Name == installer })
}

// otherVerdict explains a container that is not the workflow's.
func (l *lookout) otherVerdict(name string, t *trouble) *verdict.Error {
	v := l.verdict("the container "+name+" of the job's pod", t, "")
	v.Whose, v.Command = verdict.Configuration, kubectl("-n", l.d.opts.Place.Namespace, "describe", "pod", l.pod)
	if name == installer {
		v.Hint = "it brings gantry-agent into the pod: check kubernetes.agent_image; " + v.Hint
	}
	return v
}

// memberVerdict explains a container that does not run and never will.
func (l *lookout) memberVerdict(ctx context.Context, m *member, status *corev1.ContainerStatus, t *trouble) error {
	title := fmt.Sprintf("%s (%s)", m.spec.Title, m.spec.Image)
	v := l.verdict(title, t, "")
	if m.process == ownAgent && l.onlyOneTry() && (errors.Is(t.cause, engine.ErrCommand) || couldNotStart(status.State)) {
		return &lateAgentError{v} // its command is the agent, and runtimes have many words for what is not there
	}
	v.Command = kubectl("-n", l.d.opts.Place.Namespace, "describe", "pod", l.pod)
	if status.State.Terminated != nil && errors.Is(v, engine.ErrUnhealthy) {
		v.Command = kubectl("-n", l.d.opts.Place.Namespace, "logs", l.pod, "-c", m.name)
		v.Output = l.d.lastLog(ctx, l.seen(), m.name)
		if said := l.lastUnhealthy(ctx, m.name); m.container.StartupProbe != nil && said != "" {
			v.Err = &worded{fmt.Sprintf("%s is not healthy: its health check fails; the last one said: %s", title, said), engine.ErrUnhealthy}
			v.Hint = healthHint
		}
	}
	return v
}

func (l *lookout) verdict(title string, t *trouble, output string) *verdict.Error {
	if output == "" {
		output = t.what
	}
	between := ": "
	if errors.Is(t.cause, engine.ErrUnhealthy) {
		between = " " // "exited with status 3"
	}
	return &verdict.Error{Whose: t.whose, Err: &worded{title + between + t.what, t.cause}, Output: output, Hint: t.hint}
}

// patience reads the events of what takes its time, and gives up when the time is over.
func (l *lookout) patience(ctx context.Context) error {
	l.mu.Lock()
	pod, since, probing, waiting := l.last, l.since, l.probing, l.waitingFor()
	l.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	if err := l.readEvents(ctx, waiting); err != nil {
		return err
	}
	wait, key := l.room, scheduleKey
	if !since.IsZero() {
		wait, key = budget{since, l.coming()}, "timeouts.pull and timeouts.start"
	}
	if probing > 0 || !wait.spent() {
		return nil
	}
	return l.tooLate(pod, waiting, wait.limit, key)
}

// coming is how long containers may take once their pod has a node: images are pulled and containers started, and no
// answer tells when the one is over and the other begins.
func (l *lookout) coming() time.Duration {
	if l.limits.Pull <= 0 || l.limits.Start <= 0 {
		return 0
	}
	return l.limits.Pull + l.limits.Start
}

// readEvents looks at what the cluster has noted about the pod. Without the permission for it, states have to tell.
func (l *lookout) readEvents(ctx context.Context, waiting []*member) error {
	events, err := l.d.api.Events(ctx, l.uid)
	if err != nil {
		l.lack(err, "what the cluster says of the pod cannot be shown")
		return nil
	}
	l.warnings = nil
	for _, e := range events {
		if kubeapi.LastSeen(e).Before(l.start.Add(-eventAge)) {
			continue
		}
		if t := warningTrouble(e); t != nil {
			l.warnings, l.noted = append(l.warnings, t.what), t
			l.say("the cluster says of the pod %s: %s", l.pod, t)
		}
		if err := l.judgeEvent(ctx, e, waiting); err != nil {
			return err
		}
	}
	return nil
}

// judgeEvent looks at what was noted about a container.
func (l *lookout) judgeEvent(ctx context.Context, e corev1.Event, waiting []*member) error {
	t := eventTrouble(e)
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(waiting, func(m *member) bool { return m.name == containerOf(e) })
	switch {
	case i >= 0 && t.permanent:
		return l.memberVerdict(ctx, waiting[i], &corev1.ContainerStatus{}, t)
	case i >= 0:
		l.noted = t
		l.say("%s (%s) does not start yet: %s", waiting[i].spec.Title, waiting[i].spec.Image, t)
	case containerOf(e) == installer && l.onlyOneTry():
		return &lateAgentError{l.otherVerdict(installer, t)}
	case t.permanent && strings.HasPrefix(e.InvolvedObject.FieldPath, "spec.initContainers") && comesBefore(l.seen(), containerOf(e)):
		return l.otherVerdict(containerOf(e), t)
	}
	return nil
}

// waitingFor are the members that are not ready. The lock is held.
func (l *lookout) waitingFor() (all []*member) {
	for _, m := range l.members {
		if !l.ready[m.name] {
			all = append(all, m)
		}
	}
	return all
}

// tooLate explains what did not happen in its time.
func (l *lookout) tooLate(pod *corev1.Pod, waiting []*member, limit time.Duration, key string) error {
	t := podTrouble(pod)
	for _, m := range waiting {
		if status := statusOf(pod, m.name); t == nil && status != nil {
			t = containerTrouble(status.State)
		}
	}
	if t == nil {
		t = l.noted
	}
	if t == nil {
		t = &trouble{"", nil, verdict.Infrastructure, "look at the pod's events and at its node", false}
	}
	v := &verdict.Error{
		Whose: t.whose, Hint: t.hint + "; or raise " + key,
		Err:     fmt.Errorf("%s did not start within %s (%s): %s", waiting[0].spec.Title, limit, key, firstOf(t.what, strings.Join(l.warnings, "; "), "no reason is known")),
		Command: kubectl("-n", l.d.opts.Place.Namespace, "describe", "pod", l.pod), Output: strings.Join(l.warnings, "\n"),
	}
	if t.cause != nil {
		v.Err = &worded{v.Err.Error(), t.cause}
	}
	return v
}

// say writes a line once.
func (l *lookout) say(format string, args ...any) {
	line := fmt.Sprintf("gantry: "+format, args...)
	l.mu.Lock()
	known := l.said[line]
	l.said[line] = true
	l.mu.Unlock()
	if !known {
		fmt.Fprintln(l.log, line)
	}
}

// set notes that a container has done what was awaited of it.
func (l *lookout) set(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready[name] = true
}

func (l *lookout) isReady(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready[name]
}

// until waits until the pod is as wanted.
func (l *lookout) until(ctx context.Context, wanted func(*corev1.Pod) bool) (*corev1.Pod, error) {
	for {
		l.mu.Lock()
		pod, changed := l.last, l.changed
		l.mu.Unlock()
		if wanted(pod) {
			return pod, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lastUnhealthy is what the cluster says of a container's last health check that failed, "" if it says nothing.
func (l *lookout) lastUnhealthy(ctx context.Context, container string) string {
	events, err := l.d.api.Events(context.WithoutCancel(ctx), l.uid)
	if err != nil {
		return ""
	}
	for _, e := range slices.Backward(events) {
		if e.Reason == "Unhealthy" && containerOf(e) == container {
			return strings.TrimSpace(e.Message)
		}
	}
	return ""
}

// statusOf finds the status of a container, whatever its kind; nil: there is none yet. A side-car that has ended and was
// started again counts as ended: what it held is lost.
func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	s := rawStatusOf(pod, name)
	if s != nil && s.LastTerminationState.Terminated != nil && isSideCar(pod, name) {
		ended := *s
		ended.State, ended.Started, ended.Ready = s.LastTerminationState, nil, false
		return &ended
	}
	return s
}

// rawStatusOf is what the API says.
func rawStatusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// isSideCar tells that the node starts a container again whenever it ends, until the pod's own containers have ended.
func isSideCar(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// specOf finds a container of a pod, whatever its kind; nil: there is none of that name.
func specOf(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			same := corev1.Container(c.EphemeralContainerCommon)
			return &same
		}
	}
	return nil
}

// worded is a decision in better words.
type worded struct {
	text  string
	cause error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.cause }

// kubectl is a command for a reader to try.
func kubectl(args ...string) string { return "kubectl " + strings.Join(args, " ") }

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
