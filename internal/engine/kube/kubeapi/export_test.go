package kubeapi

import (
	"context"
	"time"

	"github.com/gantry-ci/gantry/internal/wait"
)

// Hurry makes a client's pauses short, and calls each with what it would have been.
func Hurry(c *Client, each func(time.Duration)) {
	c.pause = func(ctx context.Context, d time.Duration) bool {
		each(d)
		return wait.For(ctx, time.Millisecond)
	}
}
