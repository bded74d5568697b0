package kube

import (
	"context"
	"errors"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/wait"
)

// Times of looking for an agent at its pod's address.
const (
	listenPause    = 10 * time.Millisecond
	listenMaxPause = time.Second
	listenDial     = 2 * time.Second
)

// awaitAddress waits until an agent listens at its pod's address, or its container has begun in the eyes of the API server:
// that hears of it later, but the address may be out of reach from here.
func awaitAddress(ctx context.Context, l *lookout, p *podPlan, m *member) error {
	addressed, err := l.until(ctx, func(pod *corev1.Pod) bool { return pod.Status.PodIP != "" || begun(pod, m) })
	if err != nil {
		return err
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	heard := make(chan struct{})
	if a := p.secure.address(addressed); a != nil {
		dial, err := agent.TLSDialer(*a)
		if err != nil {
			return err
		}
		go func() {
			if hear(listening, dial) {
				close(heard)
			}
		}()
	}
	told := make(chan error, 1)
	go func() {
		_, err := l.until(listening, func(pod *corev1.Pod) bool { return begun(pod, m) && pod.Status.PodIP != "" })
		told <- err
	}()
	select {
	case <-heard:
		return nil
	case err := <-told:
		return err
	}
}

// begun tells that a container runs, or has run, in the eyes of the API server.
func begun(pod *corev1.Pod, m *member) bool {
	s := statusOf(pod, m.name)
	return s != nil && (s.State.Running != nil || s.State.Terminated != nil)
}

// hear dials until the agent itself answers, and tells whether it has before ctx ended.
func hear(ctx context.Context, dial agent.Dialer) bool {
	for start := time.Now(); answers(ctx, dial) != nil; {
		if !wait.For(ctx, pace(start)) {
			return false
		}
	}
	return true
}

// pace is the pause before another try of what began at start: a small part of the time that it has taken so far.
func pace(start time.Time) time.Duration {
	return min(max(time.Since(start)/20, listenPause), listenMaxPause)
}

// answers dials an agent once. By an address that is a handshake with the certificates of both sides: in a service mesh
// something takes connections for containers that are not there yet.
func answers(ctx context.Context, dial agent.Dialer) error {
	ctx, stop := context.WithTimeout(ctx, listenDial)
	defer stop()
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	conn.Close() // nothing was said
	return nil
}

// nobodyListens tells that a machine is there, and no agent on it. A link that is cut for a while says nothing of that kind.
func nobodyListens(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
