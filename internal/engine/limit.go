package engine

import (
	"context"
	"fmt"
	"time"
)

// LimitError says that something took longer than the configuration allows.
type LimitError struct {
	Limit time.Duration
	Key   string // of the configuration
}

func (e *LimitError) Error() string { return fmt.Sprintf("not done after %s (%s)", e.Limit, e.Key) }

// Unwrap makes it a context.DeadlineExceeded.
func (e *LimitError) Unwrap() error { return context.DeadlineExceeded }

// Within bounds ctx by what a key of the configuration says; limit 0 is no bound. The cause is then a *LimitError.
func Within(ctx context.Context, limit time.Duration, key string) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, &LimitError{limit, key})
}
