package kube

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/wait"
)

// follow sees a step's container through to its end, or ends it with ctx.
func (s *stepRun) follow(ctx context.Context) {
	defer close(s.gone)
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l := s.lookout()
	go s.begin(running, l, stop)
	go s.listen(running, l, stop)
	s.err = s.watch(running, l)
	if errors.Is(context.Cause(running), errStepEnded) {
		s.err, s.ended = nil, true
	} else if cause := context.Cause(running); ctx.Err() == nil && cause != nil && s.err == nil {
		s.err = cause
	}
	if err := s.clear(context.WithoutCancel(ctx)); err != nil && s.err == nil {
		s.err = err
	}
}

// errStepEnded: the step's container has ended.
var errStepEnded = errors.New("the step's container has ended")

// outagePause is the time between two tries to follow a container's pod while the API server is away.
const outagePause = 2 * time.Second

// watch waits for the end of the container in the eyes of the API server. The step does not need that server, and outlives it:
// only what it refuses ends the waiting.
func (s *stepRun) watch(ctx context.Context, l *lookout) error {
	follow := func() <-chan kubeapi.Update { return s.d.api.Follow(ctx, s.pod.Name, string(s.pod.UID)) }
	updates := follow()
	tick := time.NewTicker(eventPause)
	defer tick.Stop()
	for {
		select {
		case u, isOpen := <-updates:
			if !isOpen {
				return nil
			}
			if errors.Is(u.Err, engine.ErrUnavailable) {
				l.say("the API server is away: the %s goes on without it", s.spec.Title)
				wait.For(ctx, outagePause)
				updates = follow()
			} else if done, err := s.update(ctx, l, u.Pod, u.Err); done || err != nil {
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

// update looks at a state of the pod: done when the container has ended as programs do.
func (s *stepRun) update(ctx context.Context, l *lookout, pod *corev1.Pod, err error) (done bool, _ error) {
	switch {
	case err != nil:
		return false, err
	case pod == nil:
		return false, l.d.gone(ctx, l.pod)
	}
	l.see(pod)
	status := statusOf(pod, s.member.name)
	if status != nil && status.State.Running != nil {
		s.runs(l)
	}
	if status != nil && status.State.Terminated != nil {
		t := terminatedTrouble(status.State.Terminated)
		if errors.Is(t.cause, engine.ErrUnhealthy) {
			s.ended = true
			return true, nil // it ran; how it ended is the step's
		}
	}
	return false, l.judge(ctx, pod)
}

// begin has an agent that this driver put there start the step's program.
func (s *stepRun) begin(ctx context.Context, l *lookout, stop context.CancelCauseFunc) {
	if s.member.process != underAgent {
		return
	}
	if err := s.d.begin(ctx, s.member); err != nil && ctx.Err() == nil {
		if _, ok := verdictIn(err); ok {
			stop(err)
		}
	}
	l.set(s.member.name)
}

// listen notices the beginning and the end of the container by those of its agent: before the API server hears of them.
func (s *stepRun) listen(ctx context.Context, l *lookout, stop context.CancelCauseFunc) {
	switch dial, reached := s.dialer(); {
	case dial == nil:
	case reached == byAddress:
		s.listenFar(ctx, l, dial, stop)
	default:
		s.listenNear(ctx, l, dial, stop)
	}
}

// nearPause is the time between two looks at an agent's socket.
const nearPause = 20 * time.Millisecond

// listenNear asks at the agent's socket. Nothing is between here and there: who does not answer twice is gone.
func (s *stepRun) listenNear(ctx context.Context, l *lookout, dial agent.Dialer, stop context.CancelCauseFunc) {
	for answers(ctx, dial) != nil {
		if !wait.For(ctx, nearPause) {
			return
		}
	}
	s.runs(l)
	for misses := 0; misses < 2; {
		if misses++; answers(ctx, dial) == nil {
			misses = 0
		}
		if !wait.For(ctx, nearPause) {
			return
		}
	}
	stop(errStepEnded)
}

// listenFar asks at the agent's address. A network that is away for a while, or that refuses in the agent's place, says nothing
// of the step: whether its container goes on is for the API server to tell, until the step's result is known. From then on
// the container is about to end, and has when nobody listens there any more.
func (s *stepRun) listenFar(ctx context.Context, l *lookout, dial agent.Dialer, stop context.CancelCauseFunc) {
	hearing, stopHearing := context.WithCancel(ctx)
	defer stopHearing()
	go func() {
		defer stopHearing() // a short step may be over before
		select {
		case <-s.over:
		case <-hearing.Done():
		}
	}()
	if hear(hearing, dial) {
		s.runs(l)
	}
	select {
	case <-s.over:
	case <-ctx.Done():
		return
	}
	for start := time.Now(); !nobodyListens(answers(ctx, dial)); {
		if !wait.For(ctx, pace(start)) {
			return
		}
	}
	stop(errStepEnded)
}

// runs notes that the container runs.
func (s *stepRun) runs(l *lookout) {
	l.set(s.member.name)
	s.begins()
}

// dialer is the way to the step's agent; nil: it has none that could be asked.
func (s *stepRun) dialer() (agent.Dialer, reach) {
	m := s.member
	if a := s.address(); a != nil && serves(m.spec) {
		dial, err := agent.TLSDialer(*a)
		if err != nil {
			return nil, byAddress // who dials the agent for the step's sake says why
		}
		return dial, byAddress
	}
	if m.folder.rel != "" && (m.process == underAgent || serves(m.spec)) {
		return agent.SocketDialer(m.folder.base, m.folder.rel), bySocket
	}
	return nil, bySocket
}

// address is where the step's agent listens; nil: at its socket.
func (s *stepRun) address() *agent.Address {
	pod := s.job
	if pod == nil {
		pod = s.pod
	}
	return s.secure.address(pod)
}

// clear removes the container.
func (s *stepRun) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	err := s.remove(ctx)
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.done == nil {
		s.d.done = map[string]bool{}
	}
	s.d.done[containerID(s.pod.Name, s.member.name)] = true
	return err
}

func (s *stepRun) remove(ctx context.Context) error {
	if s.plan != nil {
		return errors.Join(s.d.removePod(ctx, s.pod), s.d.dropSecrets(ctx, &s.secure))
	}
	if s.ended && s.member.folder.rel == "" {
		return s.giveBack(ctx) // there is nothing to be ended, and nobody to be told
	}
	return errors.Join(s.d.end(ctx, found{s.pod, s.member.name, s.member.tag}), s.giveBack(ctx))
}

// giveBack takes the step's credentials out of the pull secret, if the job does not go on with them.
func (s *stepRun) giveBack(ctx context.Context) error {
	if s.mode != InPod || len(s.secure.pull) == 0 {
		return nil
	}
	return s.d.takeBack(ctx, s.home.lentSecret(), []string{s.spec.Labels[labelJob]})
}

// dropSecrets deletes the secrets of a pod.
func (d *Driver) dropSecrets(ctx context.Context, s *secrets) error {
	var all []error
	if len(s.data) > 0 {
		all = append(all, d.api.DeleteSecret(ctx, s.name, ""))
	}
	if len(s.pull) > 0 {
		all = append(all, d.api.DeleteSecret(ctx, s.pullName(), ""))
	}
	return errors.Join(all...)
}
