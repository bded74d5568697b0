package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/gantry-ci/gantry/internal/safefs"
)

// Names in the folder that host and container share for one container.
const (
	// SharedDir is the part of the folder that is mounted into the container, at MountPoint.
	SharedDir  = "s"
	MountPoint = "/.gantry"
	BinaryName = "agent"
	SocketName = "a.sock"
)

// FolderName is the name of a container's folder in the runner's _temp.
func FolderName(id string) string { return ".gantry-" + id }

// SocketDialer dials the agent's socket in the folder rel below base, which the runner's user owns and others
// cannot enter. The job can write there: nothing is followed, and a folder of another owner is refused. The path
// may be longer than the 108 bytes that a socket address holds.
func SocketDialer(base, rel string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		outer, err := safefs.OpenDir(base, rel)
		if err != nil {
			return nil, fmt.Errorf("opening the agent's folder: %w", err)
		}
		defer outer.Close()
		if err := ownFolder(outer); err != nil {
			return nil, err
		}
		shared, err := safefs.OpenDir(base, filepath.Join(rel, SharedDir))
		if err != nil {
			return nil, fmt.Errorf("opening the agent's folder: %w", err)
		}
		defer shared.Close()
		var d net.Dialer
		return d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(shared.Fd()))+"/"+SocketName)
	}
}

// ownFolder refuses a folder that is not ours, or that others can write to.
func ownFolder(dir *os.File) error {
	st, err := dir.Stat()
	if err != nil {
		return fmt.Errorf("checking the agent's folder: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: the agent's folder %s is not private to this user", ErrRefused, dir.Name())
	}
	return nil
}

// SocketOwner is the host's uid of the container's user: the owner of the socket that the agent made.
func SocketOwner(base, rel string) (int, error) {
	shared, err := safefs.OpenDir(base, filepath.Join(rel, SharedDir))
	if err != nil {
		return 0, fmt.Errorf("opening the agent's folder: %w", err)
	}
	defer shared.Close()
	st, err := os.Lstat("/proc/self/fd/" + strconv.Itoa(int(shared.Fd())) + "/" + SocketName)
	if err != nil {
		return 0, fmt.Errorf("checking the agent's socket: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || st.Mode().Type() != fs.ModeSocket {
		return 0, errors.New("the agent's socket is not a socket")
	}
	return int(sys.Uid), nil
}
