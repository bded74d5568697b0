package handler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// source is a folder of the runner's that a container gets, as it was before the container was asked for. It stays
// open, so that no other one can take over its identity.
type source struct {
	path, target string
	handle       *os.File
	id           agent.FileID
}

// openSources opens what the runner wants mounted, as far as it lies below the work folder, where steps can put a link
// in its place: the engine would follow it to any place of the host. The folders directly in the work folder may be
// links of the administrator's; in a job container they are mounts, which steps cannot replace. Close them.
func (h *Handler) openSources(volumes []hook.MountVolume) ([]source, error) {
	var all []source
	for _, v := range volumes {
		rel, below := safefs.Rel(h.Runner.Work, v.SourceVolumePath)
		if !below || !strings.Contains(rel, "/") && rel != "_temp" {
			continue
		}
		s, err := openSource(h.Runner.Work, rel)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeSources(all)
			return nil, sourceVerdict(err, v)
		}
		s.path, s.target = v.SourceVolumePath, v.TargetVolumePath
		all = append(all, s)
	}
	return all, nil
}

func openSource(work, rel string) (source, error) {
	f, err := safefs.OpenPath(work, rel)
	if err != nil {
		return source{}, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		err = syscall.ELOOP
	}
	if err != nil {
		return source{}, errors.Join(err, f.Close())
	}
	return source{handle: f, id: agent.IDOf(info)}, nil
}

func sourceVerdict(err error, v hook.MountVolume) error {
	if !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
		return verdict.New(verdict.Infrastructure, "is the work folder the runner's own?", "opening %s for the container's %s: %w",
			v.SourceVolumePath, v.TargetVolumePath, err)
	}
	return verdict.New(verdict.Workflow, "a step of this or of an earlier job has put the link there; remove it from the runner's machine",
		"refused to mount %s at %s: a symbolic link is in its place, or above it", v.SourceVolumePath, v.TargetVolumePath)
}

// makeSources makes missing folders below the work folder that are to be mounted; engines differ in whether they
// would. Those that the runner wants mounted may not lie behind a link. Sources elsewhere are the engine's or the
// user's business.
func (h *Handler) makeSources(volumes []hook.MountVolume, mounts []engine.Mount) error {
	sources, err := h.openSources(volumes)
	if err != nil {
		return err
	}
	closeSources(sources)
	root, err := os.OpenRoot(h.Runner.Work)
	if err != nil {
		return fmt.Errorf("opening the work folder: %w", err)
	}
	defer root.Close()
	for _, m := range mounts {
		rel, below := safefs.Rel(h.Runner.Work, m.Source)
		if !below || rel == "." {
			continue
		}
		if _, err := root.Lstat(rel); err == nil {
			continue
		}
		if err := root.MkdirAll(rel, 0o755); err != nil {
			return makeVerdict(err, m)
		}
	}
	return nil
}

func makeVerdict(err error, m engine.Mount) error {
	if isNoSpace(err) {
		return spaceVerdict(fmt.Errorf("making the folder %s for %s: %w", m.Source, m.Target, err))
	}
	return verdict.New(verdict.Infrastructure, "may the runner's user write there, and is there a symbolic link or a file on the way?",
		"making the folder %s for %s: %w", m.Source, m.Target, err)
}

func closeSources(all []source) {
	for _, s := range all {
		_ = s.handle.Close() // was only looked at
	}
}

// verifySources asks the agent whether its container really has those folders. A step that still runs in the job
// container could have swapped one for a link while the engine was looking. elsewhere: the container may be on another
// machine, which has a device number of its own for the file system that both share.
func verifySources(ctx context.Context, c *agent.Client, all []source, elsewhere bool) error {
	targets := make([]string, len(all))
	for i, s := range all {
		targets[i] = s.target
	}
	ids, err := c.Files(ctx, targets)
	if err != nil {
		return fmt.Errorf("checking the mounts: %w", err)
	}
	for i, s := range all {
		if !isThere(ids[i], s.id, elsewhere) {
			return verdict.New(verdict.Workflow, "does a process of an earlier step still change the runner's folders?",
				"refused to run the step: its %s is not the runner's %s, which was replaced while the container started", s.target, s.path)
		}
	}
	return nil
}

func isThere(seen, id agent.FileID, elsewhere bool) bool {
	return seen.Ino == id.Ino && (elsewhere || seen.Dev == id.Dev)
}
