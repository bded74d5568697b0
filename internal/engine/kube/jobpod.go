package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// runPod starts the job's containers in a pod of their own. That is made again where the cluster lacks something that gantry can do
// without, and when its node refuses it: its room may have gone to another pod a moment before.
func (r *jobRun) runPod(ctx context.Context) error {
	for try := 0; ; try++ {
		err := r.tryPod(ctx, try)
		if err == nil {
			return nil
		}
		var pause time.Duration
		if !r.makeDo(ctx, err) {
			if err := r.awaitRoom(ctx, err, try); err != nil {
				return err
			}
			pause = min(time.Duration(try+1)*time.Second, 10*time.Second)
		}
		if err := r.dropPod(ctx); err != nil {
			return err
		}
		if !wait.For(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// makeDo tells that another pod may do better than the one with the error, and plans it so.
func (r *jobRun) makeDo(ctx context.Context, err error) bool {
	var late *lateAgentError
	var old *noSideCarsError
	var noExec *noExecError
	switch {
	case ctx.Err() != nil:
		return false
	case errors.As(err, &late):
		r.logf("the agent did not come at once (%v): gantry makes the pod again, and waits for it", late)
		r.patient, r.room = true, newBudget(r.room.limit)
	case errors.As(err, &old) && !r.beside:
		r.logf("%v: the services run as ordinary containers of the pod", old)
		r.beside = true
	case errors.As(err, &noExec) && r.mayExec:
		r.logf("gantry cannot check the health of the services (%v): it makes the pod again, and the node checks it", noExec)
		r.mayExec, r.room = false, newBudget(r.room.limit)
	default:
		return false
	}
	return true
}

// awaitRoom is for a pod that its node has refused: nil if there is time for another one.
func (r *jobRun) awaitRoom(ctx context.Context, err error, try int) error {
	var refused *rejectedError
	var old *noSideCarsError
	switch {
	case errors.As(err, &old):
		return verdict.New(verdict.Configuration, "take the side-cars (restartPolicy: Always) out of the pod template", "%w", err)
	case !errors.As(err, &refused):
		return err
	case ctx.Err() != nil:
		return refused.v
	case r.room.spent():
		return fmt.Errorf("there was no room for the pod within %s (%s): %w", r.room.limit, scheduleKey, refused.v)
	case try == 0:
		r.logf("the node has refused the job's pod (%v; %s: %s): gantry tries again", refused, refused.v.Whose, refused.v.Hint)
	}
	return nil
}

// dropPod removes a pod that another one is made for, if it was made.
func (r *jobRun) dropPod(ctx context.Context) error {
	if r.pod == nil {
		return nil
	}
	return r.d.removePod(ctx, r.pod)
}

func (r *jobRun) tryPod(ctx context.Context, try int) error {
	for _, m := range r.members {
		m.container, m.sight = corev1.Container{}, nil
	}
	r.secure, r.pod = secrets{}, nil
	if err := r.d.actionCredentials(ctx, &r.secure); err != nil {
		return err
	}
	again := ""
	if try > 0 {
		again = fmt.Sprintf("-%d", try)
	}
	unique := r.spec.Network.Name + again
	p := r.d.podPlan(r.home, r.choice.Mode, r.spec.Labels, r.members, &r.secure)
	p.meta.Name, p.room, p.log = podName(r.d.opts.Place.Pod, unique, "workflow"), r.room, r.log
	p.again, p.patient, p.beside, p.probes = again, r.patient, r.beside, !r.mayExec
	pod, notes, err := p.make()
	if err != nil {
		return err
	}
	if try == 0 {
		r.sayNotes(notes)
		r.sayProbes()
	}
	made, err := r.d.createPod(ctx, p, pod)
	if err != nil {
		return r.refusesSideCars(err)
	}
	r.pod = made
	if err := lacksSideCars(pod, made); err != nil {
		return err
	}
	return r.attend(ctx, func(ctx context.Context, l *lookout, m *member) error { return r.d.readyInOwnPod(ctx, l, p, m) })
}

// sayProbes tells that health checks hold up the job's container.
func (r *jobRun) sayProbes() {
	if !slices.ContainsFunc(r.members, func(m *member) bool { return m.container.StartupProbe != nil && m.container.RestartPolicy != nil }) {
		return
	}
	r.logf("the node checks the health of services, one after the other, and starts the job's container after that, because the service account may not %s\nhint: %s",
		execAccess, AddToRole([]rbac.Rule{{Resource: execAccess.Resource, Verbs: []string{execAccess.Verb}}}))
}

// execAccess is what gantry needs to check the health of services itself.
var execAccess = kubeapi.Access{Verb: "create", Resource: "pods/exec"}

// refusedSideCars is the reason of a kubelet that is older than the API server (pkg/kubelet/lifecycle of Kubernetes 1.28).
const refusedSideCars = "InitContainerRestartPolicyForbidden"

// noSideCarsError: the cluster takes side-cars for init containers, for whose end the job's container would wait for ever.
type noSideCarsError struct{ why string }

func (e *noSideCarsError) Error() string { return "the cluster knows no side-cars (" + e.why + ")" }

// lacksSideCars compares the pod that was asked for with the one that was made: an API server leaves out what it does not know.
func lacksSideCars(asked, made *corev1.Pod) error {
	for _, c := range asked.Spec.InitContainers {
		if isSideCar(asked, c.Name) && !isSideCar(made, c.Name) {
			return &noSideCarsError{"its API server has dropped restartPolicy from " + c.Name}
		}
	}
	return nil
}

// refusesSideCars makes that of the refusal of a pod. Without restartPolicy side-cars are init containers, which must not have
// probes, or what a template may add.
func (r *jobRun) refusesSideCars(err error) error {
	if errors.Is(err, kubeapi.ErrInvalid) && strings.Contains(err.Error(), "spec.initContainers[") &&
		slices.ContainsFunc(r.members, func(m *member) bool { return m.container.RestartPolicy != nil }) {
		return &noSideCarsError{err.Error()}
	}
	return err
}

// podPlan begins the plan of a pod.
func (d *Driver) podPlan(h *home, mode Mode, labels map[string]string, members []*member, secure *secrets) *podPlan {
	p := &podPlan{
		settings: d.opts.Settings, mode: mode, home: h, work: d.opts.Work, program: d.opts.AgentProgram, claim: d.opts.Claim,
		meta: d.owned(h, labels), members: members, secure: secure,
	}
	if h != nil && h.work != nil {
		p.claim = firstOf(claimOf(h.pod, h.work.Volume), d.opts.Claim)
	}
	return p
}

// createPod makes a pod with its secrets, and what it needs on the runner's side.
func (d *Driver) createPod(ctx context.Context, p *podPlan, pod *corev1.Pod) (*corev1.Pod, error) {
	if p.mode == PodShared {
		for _, m := range p.members {
			if err := makeOpen(p.work, m.sight.folders); err != nil {
				return nil, err
			}
		}
	}
	meta := p.meta.DeepCopy()
	if err := p.secure.create(ctx, d, *meta, true); err != nil {
		return nil, err
	}
	failpoint.Hit("container-creating")
	made, err := d.createWithin(ctx, pod, p.room, p.log)
	if isPodSecurity(err) {
		restrictPod(pod)
		if restricted, again := d.createWithin(ctx, pod, p.room, p.log); again == nil {
			return restricted, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making the pod of the job: %w", err)
	}
	failpoint.Hit("container-starting")
	return made, nil
}

// readyInOwnPod waits for a container of a pod that was made for it.
func (d *Driver) readyInOwnPod(ctx context.Context, l *lookout, p *podPlan, m *member) error {
	if m.process == ownAgent && serves(m.spec) && p.reached() == bySocket {
		return awaitSocket(ctx, m.folder)
	}
	if m.process == ownAgent && serves(m.spec) {
		return awaitAddress(ctx, l, p, m)
	}
	_, err := l.until(ctx, func(pod *corev1.Pod) bool { return begun(pod, m) && (m.process != ownAgent || pod.Status.PodIP != "") })
	return err
}

// awaitHealth waits until a container that has begun is healthy, if it has a health check.
func (r *jobRun) awaitHealth(ctx context.Context, l *lookout, m *member) error {
	if m.health == nil {
		return nil
	}
	start := time.Now()
	ctx, cancel := engine.Within(ctx, r.spec.Timeouts.Health, "timeouts.health")
	defer cancel()
	r.note(m, "starting")
	w := &watch{health: m.health, start: start, counted: start}
	var err error
	switch {
	case m.process == underAgent:
		err = w.await(ctx, checkByAgent(m.client(), m.health, m.env))
	case m.container.StartupProbe != nil:
		err = l.awaitStarted(ctx, m.name)
	default:
		w.byExec, w.patience = true, execPatience
		if r.choice.Mode == InPod {
			w.patience = execLimit
		}
		err = w.await(ctx, r.d.checkByExec(m.pod, m.name, m.health))
	}
	over := new(engine.LimitError)
	switch {
	case err == nil:
		r.note(m, "healthy")
		r.phase("health "+m.spec.Title, start)
		fmt.Fprintf(r.log, "%s is healthy after %s\n", m.spec.Title, time.Since(start).Round(10*time.Millisecond))
		return nil
	case errors.As(context.Cause(ctx), &over):
		err = over
		if w.said != "" {
			err = fmt.Errorf("%w; the last check said: %s", over, w.said)
		}
		return r.d.unhealthyVerdict(ctx, l.seen(), m, err)
	case isUnhealthy(err):
		r.note(m, "unhealthy")
		return r.d.unhealthyVerdict(ctx, l.seen(), m, err)
	}
	return err
}

// finalLook sees whether something that was ready has ended meanwhile. What runs under an agent has if that does not listen
// any more: the cluster hears of it a moment later.
func (l *lookout) finalLook(ctx context.Context) error {
	hearing, stop := context.WithTimeout(ctx, noticed)
	defer stop()
	for _, m := range l.members {
		if m.process == underAgent && !agent.Alive(ctx, m.folder.base, m.folder.rel) {
			_, _ = l.until(hearing, func(pod *corev1.Pod) bool { return hasEnded(pod, m.name) }) // what is known then is judged
		}
	}
	return l.judge(ctx, l.seen())
}

// seen is the latest state of the pod.
func (l *lookout) seen() *corev1.Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// verdictIn finds the verdict in an error, if there is one.
func verdictIn(err error) (*verdict.Error, bool) {
	var v *verdict.Error
	return v, errors.As(err, &v)
}

// scheduleKey is the key of the configuration that bounds the waiting for room in the cluster.
const scheduleKey = "timeouts.schedule"

// budget is how long something may wait, since when; limit 0 is for ever.
type budget struct {
	since time.Time
	limit time.Duration
}

func newBudget(limit time.Duration) budget { return budget{time.Now(), limit} }

func (b budget) spent() bool { return b.limit > 0 && time.Since(b.since) >= b.limit }

// quotaPause is the time between two tries to make a pod for which the namespace's quota has no room.
const quotaPause = 2 * time.Second

// createWithin makes a pod. While the namespace's quota is used up it waits, because other jobs end, but no longer than
// room allows.
func (d *Driver) createWithin(ctx context.Context, pod *corev1.Pod, room budget, log io.Writer) (*corev1.Pod, error) {
	for said := false; ; said = true {
		made, err := d.api.CreatePod(ctx, pod)
		if !errors.Is(err, kubeapi.ErrQuota) {
			return made, err
		}
		if room.spent() {
			return nil, fmt.Errorf("there was no room for the pod within %s (%s): %w", room.limit, scheduleKey, err)
		}
		if !said {
			fmt.Fprintf(log, "gantry: waiting for room in the namespace: %v\n", err)
		}
		if !wait.For(ctx, quotaPause) {
			return nil, fmt.Errorf("waiting for room in the namespace: %w (%w)", context.Cause(ctx), err)
		}
	}
}
