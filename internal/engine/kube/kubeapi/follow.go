package kubeapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
)

const (
	// watchFor is how long one watch lasts at most. Then the pod is read again: a connection that died in silence
	// costs no more than that.
	watchFor = "45"
	// pollPause is the time between two looks where watching is not allowed.
	pollPause = 400 * time.Millisecond
)

// Update is one state of a pod.
type Update struct {
	Pod *corev1.Pod // nil: it is gone, or there is an Err
	Err error       // the pod cannot be followed any more
	// Lacks, unless it is nil, says why the pod cannot be watched: it is asked for again and again.
	Lacks error
}

// Follow sends the states of a pod, the present one first. It ends after the pod is gone, which a pod of the same
// name with another uid means too, after an error, and with ctx. It watches, and polls where that is forbidden or does not
// work. Somebody must receive, or ctx end.
func (c *Client) Follow(ctx context.Context, name, uid string) <-chan Update {
	updates := make(chan Update)
	f := &follower{c: c, name: name, uid: uid, updates: updates}
	go func() {
		defer close(updates)
		f.run(ctx)
	}()
	return updates
}

// follower is one Follow under way.
type follower struct {
	c         *Client
	name, uid string
	updates   chan<- Update
	version   string // of the last state that was sent
	lacks     error  // watching does not work here
}

func (f *follower) run(ctx context.Context) {
	for {
		pod, err := f.c.Pod(ctx, f.name)
		if errors.Is(err, engine.ErrNotFound) {
			pod, err = nil, nil
		}
		if !f.send(ctx, pod, ended(ctx, err)) || f.lacks != nil && !f.c.pause(ctx, pollPause) || f.lacks == nil && !f.watch(ctx) {
			return
		}
	}
}

// send passes a state on, unless it is known, and tells whether to go on.
func (f *follower) send(ctx context.Context, pod *corev1.Pod, err error) bool {
	if err == nil && pod != nil && f.uid != "" && string(pod.UID) != f.uid {
		pod = nil
	}
	if err == nil && pod != nil && pod.ResourceVersion == f.version {
		return true
	}
	select {
	case f.updates <- Update{Pod: pod, Err: err, Lacks: f.lacks}:
	case <-ctx.Done():
		return false
	}
	if err != nil || pod == nil {
		return false
	}
	f.version = pod.ResourceVersion
	return true
}

// watch passes states on until the watch ends, and tells whether to go on.
func (f *follower) watch(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	q := call{verb: "watch", resource: "pods", query: url.Values{
		"watch": {"true"}, "fieldSelector": {"metadata.name=" + f.name}, "resourceVersion": {f.version}, "timeoutSeconds": {watchFor},
	}}
	body, err := f.c.open(ctx, q)
	if err != nil {
		if !passing(err) {
			f.lacks = f.c.refusal(q, err)
		}
		return f.c.pause(ctx, pollPause)
	}
	defer body.Close()
	if !f.pass(ctx, body) {
		return false
	}
	if time.Since(start) < pollPause {
		return f.c.pause(ctx, pollPause) // a server that ends watches at once is left in peace
	}
	return ctx.Err() == nil
}

// pass sends what a watch says. It is true when the watch has ended and the pod may be there.
func (f *follower) pass(ctx context.Context, stream io.Reader) bool {
	for decoder := json.NewDecoder(stream); ; {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if decoder.Decode(&event) != nil || event.Type == "ERROR" {
			return true // too old, or cut: the pod is read again
		}
		pod := new(corev1.Pod)
		if json.Unmarshal(event.Object, pod) != nil || pod.Name != f.name {
			continue
		}
		if event.Type == "DELETED" {
			pod = nil
		}
		if !f.send(ctx, pod, nil) {
			return false
		}
	}
}
