package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// Folders that containers reach by their path, through a volume that they see all of, must let other users through. Their
// names are random, and nobody but the runner can list them.
const (
	passable = 0o711
	open     = fs.ModeSticky | 0o777
)

// makeFolder makes the folder of a container that this driver looks after, with a copy of the program unless that is "".
func makeFolder(f folder, program string) error {
	root, err := os.OpenRoot(f.base)
	if err != nil {
		return fmt.Errorf("making an agent's folder: %w", err)
	}
	defer root.Close()
	shared := filepath.Join(f.rel, agent.SharedDir)
	if err := errors.Join(root.MkdirAll(shared, 0o755), pass(root, f.rel), root.Chmod(shared, open)); err != nil {
		return spaceVerdict(fmt.Errorf("making an agent's folder: %w", err))
	}
	if program == "" {
		return nil
	}
	err = programs.CopyAgent(root, filepath.Join(shared, agent.BinaryName), program)
	if errors.Is(err, fs.ErrExist) {
		return nil // the same call, a moment ago
	}
	return spaceVerdict(err)
}

// pass lets other users through all folders on the way to rel, itself included.
func pass(root *os.Root, rel string) error {
	var all []error
	for dir := rel; dir != "." && filepath.Base(dir) != "_temp"; dir = filepath.Dir(dir) {
		all = append(all, root.Chmod(dir, passable))
	}
	return errors.Join(all...)
}

// openWay lets other users through to the folder of an agent that the handler has made.
func openWay(f folder) error {
	root, err := os.OpenRoot(f.base)
	if err != nil {
		return fmt.Errorf("opening the way to the agent's folder: %w", err)
	}
	defer root.Close()
	if err := pass(root, f.rel); err != nil {
		return fmt.Errorf("opening the way to the agent's folder: %w", err)
	}
	return nil
}

// makeOpen makes folders that stand for volumes: everybody may write there.
func makeOpen(base string, paths []string) error {
	for _, p := range paths {
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return fmt.Errorf("making a folder for a volume: %w", err)
		}
		root, err := os.OpenRoot(base)
		if err != nil {
			return fmt.Errorf("making a folder for a volume: %w", err)
		}
		err = errors.Join(root.MkdirAll(rel, 0o755), root.Chmod(rel, 0o777), pass(root, filepath.Dir(rel)), root.Close())
		if err != nil {
			return spaceVerdict(fmt.Errorf("making a folder for a volume: %w", err))
		}
	}
	return nil
}

// spaceVerdict marks a full volume.
func spaceVerdict(err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return verdict.New(verdict.Infrastructure, "the runner's work volume is full: give it more space", "%w: %w", engine.ErrNoSpace, err)
}

// healthName is a file in an agent's folder, on the runner's side: a container's health as it was last seen. Nobody looks
// after the health of an ephemeral container but gantry, and only while the job starts.
const healthName = "health"

// note keeps a member's health, and writes it down where it has a folder for it.
func (r *jobRun) note(m *member, health string) {
	r.d.mu.Lock()
	r.d.health[containerID(m.pod, m.name)] = health
	r.d.mu.Unlock()
	if m.process == underAgent {
		_ = os.WriteFile(filepath.Join(m.folder.host(), healthName), []byte(health), 0o600) // it is for people
	}
}

// readHealth reads that; "" if it is not known.
func readHealth(folder string) string {
	text, err := safefs.OpenFile(filepath.Dir(folder), filepath.Join(filepath.Base(folder), healthName), os.O_RDONLY, 0)
	if folder == "" || err != nil {
		return ""
	}
	defer text.Close()
	b, err := io.ReadAll(io.LimitReader(text, 20))
	if err != nil || !slices.Contains([]string{"starting", "healthy", "unhealthy"}, string(b)) {
		return ""
	}
	return string(b)
}

// awaitSocket waits until an agent listens in a folder.
func awaitSocket(ctx context.Context, f folder) error {
	for !agent.Alive(ctx, f.base, f.rel) {
		if !wait.For(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return nil
}
