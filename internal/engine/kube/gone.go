package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// isGone tells that a pod is being deleted, or was.
func (d *Driver) isGone(ctx context.Context, pod string) bool {
	there, err := d.api.Pod(ctx, pod)
	return errors.Is(err, engine.ErrNotFound) || err == nil && there.DeletionTimestamp != nil
}

// gone is the error about a pod of ours that is gone, with what the cluster has noted about it.
func (d *Driver) gone(ctx context.Context, pod string) error {
	noted := d.lastNoted(context.WithoutCancel(ctx), pod)
	why := ""
	if len(noted) > 0 {
		why = fmt.Sprintf(" (%s)", noted[len(noted)-1])
	}
	return &verdict.Error{
		Whose: verdict.Infrastructure, Err: &worded{fmt.Sprintf("the pod %s is gone%s", pod, why), errors.Join(engine.ErrNotFound, engine.ErrTaken)},
		Command: kubectl("-n", d.opts.Place.Namespace, "get", "events", "--field-selector", "involvedObject.name="+pod),
		Output:  strings.Join(noted, "\n"),
		Hint:    "has somebody or something in the cluster deleted it (an eviction, a node that went away)?",
	}
}

// lastNoted is what the cluster has noted about the end of a pod, the latest last. The node does it a moment after it has
// ended the pod.
func (d *Driver) lastNoted(ctx context.Context, pod string) (all []string) {
	const tries = 60
	for try := 0; len(all) == 0 && try < tries; try++ {
		if try > 0 && !wait.For(ctx, 50*time.Millisecond) {
			return nil
		}
		events, err := d.api.EventsOf(ctx, pod)
		if err != nil {
			return nil // without the permission the error says less
		}
		for _, e := range events {
			if podWarning(e) != "" || ends(e) {
				all = append(all, fmt.Sprintf("%s: %s", e.Reason, strings.TrimSpace(e.Message)))
			}
		}
	}
	return all
}

// ends tells events about the end of a pod from those about its beginning.
func ends(e corev1.Event) bool {
	switch e.Reason {
	case "Killing", "Preempted", "TaintManagerEviction", "NodeNotReady", "Evicted":
		return true
	}
	return false
}
