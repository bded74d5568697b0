package enginefake

import (
	"context"
	"fmt"

	"github.com/gantry-ci/gantry/internal/engine"
)

// Exec is part of engine.Engine. In the fake, true succeeds and everything else fails.
func (e *Engine) Exec(ctx context.Context, id, _ string, argv ...string) error {
	if err := e.called(ctx, "Exec"); err != nil {
		return err
	}
	st, err := e.Inspect(ctx, id)
	switch {
	case err != nil:
		return err
	case !st.Running:
		return fmt.Errorf("container %s does not run: %w", id, engine.ErrNotFound)
	case len(argv) != 1 || argv[0] != "true":
		return fmt.Errorf("running %v in container %s ended with status 1", argv, id)
	}
	return nil
}
