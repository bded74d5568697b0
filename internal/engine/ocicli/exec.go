package ocicli

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Exec is part of engine.Engine. The engine's program gives the status of the process as its own; from 125 on it may
// mean that there was no process.
func (d *Driver) Exec(ctx context.Context, id, user string, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	_, err := d.run(ctx, command{args: slices.Concat([]string{"exec", "--user", user, id}, argv)})
	var failed *CommandError
	if errors.As(err, &failed) && failed.ExitCode > 0 {
		return fmt.Errorf("running %s in container %s ended with status %d: %w", argv[0], id, failed.ExitCode, err)
	}
	return wrap(err, "running "+argv[0]+" in container "+id)
}
