// Package wait waits for a while, or less. Standard library only: the step path links it.
package wait

import (
	"context"
	"time"
)

// For waits for d, and tells whether ctx is still on. It returns at once when ctx ends.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
