package kube

import (
	"context"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/wait"
)

// Times of looking for an agent at its pod's address.
const (
	listenPause = 10 * time.Millisecond
	listenDial  = time.Second
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
		go func() {
			for !answersAt(listening, a.Address) {
				if !wait.For(listening, listenPause) {
					return
				}
			}
			close(heard)
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

// answersAt tells that something takes connections at an address.
func answersAt(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: listenDial}).DialContext(ctx, "tcp", address)
	return err == nil && conn.Close() == nil
}
