package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/ownership"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// work is the folder that the checks try things in: the runner's work folder, or what is there of its path; without
// a runner the temporary folder.
func (e *exam) work() string {
	if e.Runner == nil {
		return e.TempDir
	}
	return existing(e.Runner.Work)
}

// socketLimit is the length of a socket's path, with its end (unix(7)). Tools that steps run may meet it; the hook
// itself goes around it.
const socketLimit = 108

func checkWork(_ context.Context, e *exam) Finding {
	if e.Runner == nil {
		return skipped("there is no runner: %s takes its place below", e.TempDir)
	}
	dir, err := os.MkdirTemp(e.work(), ".gantry-doctor-")
	if err != nil {
		return fail(verdict.Configuration, "change owner and mode of the folder, or run this as the runner's user", "%v", err)
	}
	if err := os.Remove(dir); err != nil {
		return fail(verdict.Infrastructure, "", "%v", err)
	}
	if len(filepath.Join(e.Runner.Work, "_temp", agent.FolderName(strings.Repeat("0", 32)), "s/a.sock")) >= socketLimit {
		return ok("%s can be written (its path is long: tools that put sockets there may fail, the hook does not)", e.Runner.Work)
	}
	return ok("%s can be written", e.Runner.Work)
}

// inScratch calls try with a folder that is gone afterwards.
func (e *exam) inScratch(try func(dir string) Finding) Finding {
	dir, err := os.MkdirTemp(e.work(), ".gantry-doctor-")
	if err != nil {
		return skipped("the work folder has to be writable first")
	}
	f := try(dir)
	if err := os.RemoveAll(dir); err != nil && f.Status == OK {
		return warn(verdict.Infrastructure, "remove it by hand", "%v", err)
	}
	return f
}

// checkExec really starts the agent from there, because it will be.
func checkExec(ctx context.Context, e *exam) Finding {
	return e.inScratch(func(dir string) Finding {
		program := filepath.Join(dir, "agent")
		if err := copyFile(filepath.Join(e.programDir(), "gantry-agent"), program); err != nil {
			return fail(verdict.Configuration, "gantry and gantry-agent belong into one folder", "%v", err)
		}
		if _, err := output(ctx, program, "version"); err != nil {
			next := ""
			if errors.Is(err, fs.ErrPermission) {
				next = "mount the file system of " + dir + " without noexec, or move the runner's work folder (config.sh --work)"
			}
			return fail(verdict.Infrastructure, next, "%v", err)
		}
		return ok("a program can be started in %s", filepath.Dir(dir))
	})
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copying the agent: %w", err)
	}
	if err := errors.Join(os.WriteFile(to, text, 0o755), os.Chmod(to, 0o755)); err != nil {
		return fmt.Errorf("copying the agent: %w", err)
	}
	return nil
}

func checkSockets(ctx context.Context, e *exam) Finding {
	return e.inScratch(func(dir string) Finding {
		const next = "use a local file system for the runner's work folder (config.sh --work)"
		folder, err := os.Open(dir)
		if err != nil {
			return fail(verdict.Infrastructure, next, "%v", err)
		}
		defer folder.Close()
		// By way of the descriptor, because the path may be too long.
		socket := fmt.Sprintf("/proc/self/fd/%d/s", folder.Fd())
		listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
		if err != nil {
			return fail(verdict.Infrastructure, next, "making a socket: %v", err)
		}
		defer listener.Close()
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return fail(verdict.Infrastructure, next, "reaching a socket: %v", err)
		}
		return errOr(conn.Close(), ok("a socket can be made in %s", filepath.Dir(dir)))
	})
}

func errOr(err error, f Finding) Finding {
	if err != nil {
		return fail(verdict.Infrastructure, "", "%v", err)
	}
	return f
}

func checkSpace(_ context.Context, e *exam) Finding {
	f := space(e.work(), "free space there")
	if f.Status == OK {
		var st syscall.Statfs_t
		if syscall.Statfs(e.work(), &st) == nil && st.Flags&syscall.MS_RDONLY != 0 {
			return fail(verdict.Infrastructure, "mount it read-write", "%s is read-only", e.work())
		}
	}
	return f
}

func checkOwners(_ context.Context, e *exam) Finding {
	if e.Runner == nil || e.UID == 0 {
		return skipped("only for a runner whose user is not root")
	}
	if _, err := os.Stat(e.Runner.Work); err != nil {
		return skipped("there is no work folder yet")
	}
	foreign, err := ownership.Foreign(e.Runner.Work, e.UID)
	if err != nil {
		return fail(verdict.Infrastructure, "", "%v", err)
	}
	if foreign && e.Runner.Worker() == nil {
		return warn(verdict.Infrastructure, fmt.Sprintf("sudo chown -R %d %s", e.UID, e.Runner.Work),
			"there are files of other users in %s, which the next checkout may not be able to remove", e.Runner.Work)
	}
	return ok("all files belong to the runner's user, or to a job that runs")
}
