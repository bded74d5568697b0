package handler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/agent"
)

// lease tells the agent of a step's container that this hook lives, until release is called or the hook is killed:
// then the agent ends by itself, wherever the hook has been between the engine's command and the step's request.
func (d agentDir) lease() (release func() error, err error) {
	root, err := os.OpenRoot(d.work)
	if err != nil {
		return nil, fmt.Errorf("making the agent's lease: %w", err)
	}
	defer root.Close()
	name := filepath.Join(d.rel, agent.SharedDir, agent.LeaseName)
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, spaceVerdict(fmt.Errorf("making the agent's lease: %w", err))
	}
	if err := f.Chmod(0o644); err != nil { // whatever the umask is: the container's user reads it
		return nil, errors.Join(fmt.Errorf("making the agent's lease: %w", err), f.Close())
	}
	if agent.HoldLease(f) != nil { // no locks on this file system: the agent has its own deadlines
		return func() error { return nil }, errors.Join(f.Close(), root.Remove(name))
	}
	return f.Close, nil
}
