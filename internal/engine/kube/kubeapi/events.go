package kubeapi

import (
	"context"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Events lists what the cluster has noted about a pod, oldest first.
func (c *Client) Events(ctx context.Context, podUID string) ([]corev1.Event, error) {
	return c.events(ctx, "involvedObject.uid="+podUID)
}

// EventsOf lists what the cluster has noted about all pods that have had a name, oldest first.
func (c *Client) EventsOf(ctx context.Context, pod string) ([]corev1.Event, error) {
	return c.events(ctx, "involvedObject.kind=Pod,involvedObject.name="+pod)
}

func (c *Client) events(ctx context.Context, selector string) ([]corev1.Event, error) {
	list := new(corev1.EventList)
	err := c.do(ctx, call{verb: "list", resource: "events", query: url.Values{"fieldSelector": {selector}}}, list)
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return LastSeen(a).Compare(LastSeen(b)) })
	return list.Items, err
}

// LastSeen is when an event was last noted.
func LastSeen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
