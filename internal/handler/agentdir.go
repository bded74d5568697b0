package handler

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// claimTimeout is how long an agent may take from the start of its container to its first answer.
const claimTimeout = 20 * time.Second

// coverDir is the empty part of an agent's folder, see covers.
const coverDir = "cover"

// claimCheck is how often a container is looked at whose agent does not answer.
const claimCheck = 500 * time.Millisecond

// newID makes the random name of a job or token.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// agentDir is the folder that host and container share for one agent.
type agentDir struct {
	work string
	rel  string // below work
}

func (h *Handler) agentDir(id string) agentDir {
	return agentDir{work: h.Runner.Work, rel: filepath.Join("_temp", agent.FolderName(id))}
}

// makeAgentDir makes the folder anew, with a fresh copy of the agent program. Only this user can enter the outer
// folder, unless the engine's containers have to pass through it; the inner one is open, because the container's user,
// who makes the socket there, is not known yet.
func (h *Handler) makeAgentDir(ctx context.Context, d agentDir) error {
	outer, err := h.outerMode(ctx)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(h.Runner.Work)
	if err != nil {
		return verdict.New(verdict.Infrastructure, "is this the runner's work folder, and may this user write there?",
			"opening the work folder: %w", err)
	}
	defer root.Close()
	if err := ownParent(root, outer); err != nil {
		return spaceVerdict(fmt.Errorf("making the folder for the agent: %w", err))
	}
	failpoint.Hit("agent-folder-making")
	shared := filepath.Join(d.rel, agent.SharedDir)
	err = errors.Join(root.Mkdir(d.rel, outer), root.Mkdir(shared, 0o777), root.Mkdir(filepath.Join(d.rel, coverDir), 0o755))
	if err == nil {
		err = errors.Join(root.Chmod(d.rel, outer), root.Chmod(shared, 0o777|os.ModeSticky)) // whatever the umask is
	}
	if err != nil {
		return spaceVerdict(fmt.Errorf("making the folder for the agent: %w", err))
	}
	return spaceVerdict(programs.CopyAgent(root, filepath.Join(shared, agent.BinaryName), h.AgentPath))
}

// outerMode is the mode of the folders around what an agent and the host share.
func (h *Handler) outerMode(ctx context.Context) (fs.FileMode, error) {
	info, err := h.Engine.Local(ctx)
	if err != nil {
		return 0, err
	}
	if info.FoldersByPath {
		return 0o711, nil
	}
	return 0o700, nil
}

// ownParent makes the folder of all agents' folders. Something else in its place has been put there by a job that
// could write to _temp: it goes.
func ownParent(root *os.Root, mode fs.FileMode) error {
	parent := filepath.Join("_temp", agent.ParentDir)
	if err := root.MkdirAll("_temp", 0o755); err != nil {
		return err
	}
	if info, err := root.Lstat(parent); err == nil && !ours(info) {
		if err := root.RemoveAll(parent); err != nil {
			return err
		}
	}
	if err := root.Mkdir(parent, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return root.Chmod(parent, mode)
}

// ours tells a folder of this user's own.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(st.Uid) == os.Geteuid()
}

// id is what the folder was named by.
func (d agentDir) id() string { return filepath.Base(d.rel) }

func (d agentDir) mount() engine.Mount {
	return engine.Mount{Source: filepath.Join(d.work, d.rel, agent.SharedDir), Target: agent.MountPoint}
}

// covers hide the agents' folders from a container that sees them, below its _temp: with a folder that is empty and
// cannot be written. A mount can neither be deleted nor renamed, whatever a step does to empty that folder; and the
// programs and sockets of other containers of the job are out of reach.
func (d agentDir) covers(mounts []engine.Mount) []engine.Mount {
	var all []engine.Mount
	hidden := filepath.Join(d.work, "_temp", agent.ParentDir)
	for _, m := range mounts {
		source := safefs.RealPath(m.Source) // a link to the work folder shows it as well
		rel, below := safefs.Rel(source, safefs.RealPath(hidden))
		if !filepath.IsAbs(m.Source) || !below {
			continue
		}
		cover := engine.Mount{Source: filepath.Join(d.work, d.rel, coverDir), Target: filepath.Join(m.Target, rel), ReadOnly: true, Cover: true}
		if !slices.ContainsFunc(all, func(other engine.Mount) bool { return other.Target == cover.Target }) {
			all = append(all, cover)
		}
	}
	return all
}

func (d agentDir) remove() error {
	root, err := os.OpenRoot(d.work)
	if err != nil {
		return fmt.Errorf("removing the agent's folder: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(d.rel); err != nil {
		return fmt.Errorf("removing the agent's folder: %w", err)
	}
	return nil
}

// removeAgentDirs removes what earlier jobs left in _temp, except keep, and the folder of it all if it is empty then.
func removeAgentDirs(work, keep string) error {
	names, err := filepath.Glob(filepath.Join(work, "_temp", agent.FolderName("*")))
	if err != nil {
		return fmt.Errorf("listing agents' folders: %w", err)
	}
	var all []error
	for _, name := range names {
		if rel := filepath.Join("_temp", agent.FolderName(filepath.Base(name))); rel != keep {
			all = append(all, agentDir{work: work, rel: rel}.remove())
		}
	}
	_ = os.Remove(filepath.Join(work, "_temp", agent.ParentDir)) // not empty, or no folder: it stays
	return errors.Join(all...)
}

// claim waits for the agent of a container that is starting, and fails as soon as gone says that it never will.
func (h *Handler) claim(ctx context.Context, c *agent.Client, gone func() error) (agent.Hello, error) {
	ctx, stop := context.WithTimeout(ctx, claimTimeout)
	defer stop()
	watched := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(claimCheck):
				if err := gone(); err != nil {
					watched <- err
					stop()
				}
			}
		}
	}()
	hello, err := c.Claim(ctx)
	if err == nil {
		return hello, nil
	}
	select {
	case cause := <-watched:
		return hello, cause
	default:
		if errors.Is(err, agent.ErrRefused) {
			return hello, refusedVerdict(err)
		}
		return hello, verdict.New(verdict.Infrastructure,
			"the work folder must be on a file system that allows programs and sockets; `gantry doctor` checks it",
			"the agent in the container does not answer: %w", err)
	}
}

// spaceVerdict marks a full disk, whose problem it is.
func spaceVerdict(err error) error {
	if err == nil || !isNoSpace(err) {
		return err
	}
	return verdict.New(verdict.Infrastructure, "free disk space on the runner's machine (`gantry gc --images` removes old images)", "%w", err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, engine.ErrNoSpace) || errors.Is(err, syscall.ENOSPC)
}
