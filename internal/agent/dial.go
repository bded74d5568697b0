package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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

// ParentDir holds the folders of all containers, in the runner's _temp. Containers that see _temp find it covered:
// what is in it belongs to other containers.
const ParentDir = ".gantry"

// FolderName is the name of a container's folder, below the runner's _temp.
func FolderName(id string) string { return ParentDir + "/" + id }

// SocketDialer dials the agent's socket in the folder rel below base, which the runner's user owns and others
// cannot enter. The job can write there: nothing is followed, not even from the socket's own name, and a folder of
// another owner is refused. The path may be longer than the 108 bytes that a socket address holds.
func SocketDialer(base, rel string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		socket, _, err := openSocket(base, rel)
		if err != nil {
			return nil, err
		}
		defer socket.Close()
		var d net.Dialer
		return d.DialContext(ctx, "unix", safefs.Opened(socket))
	}
}

// SocketOwner is the host's uid of the container's user: the owner of the socket that the agent made.
func SocketOwner(base, rel string) (int, error) {
	socket, sys, err := openSocket(base, rel)
	if err != nil {
		return 0, err
	}
	return int(sys.Uid), socket.Close()
}

// openSocket gives a handle of the agent's socket, after all that leads to it has been looked at.
func openSocket(base, rel string) (*os.File, *syscall.Stat_t, error) {
	outer, err := safefs.OpenDir(base, rel)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the agent's folder: %w", err)
	}
	defer outer.Close()
	if err := ownFolder(outer); err != nil {
		return nil, nil, err
	}
	socket, err := safefs.OpenPath(safefs.Opened(outer), filepath.Join(SharedDir, SocketName))
	if err != nil {
		return nil, nil, fmt.Errorf("opening the agent's socket: %w", err)
	}
	st, err := socket.Stat()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("checking the agent's socket: %w", err), socket.Close())
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || st.Mode().Type() != fs.ModeSocket {
		return nil, nil, errors.Join(fmt.Errorf("%w: %s is not a socket", ErrRefused, socket.Name()), socket.Close())
	}
	return socket, sys, nil
}

// ownFolder refuses a folder that is not ours, or that others can list or write to. They may go through it, to what they
// know the name of: containers that cannot mount a part of a volume have no other way.
func ownFolder(dir *os.File) error {
	st, err := dir.Stat()
	if err != nil {
		return fmt.Errorf("checking the agent's folder: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o066 != 0 {
		return fmt.Errorf("%w: the agent's folder %s is not private to this user", ErrRefused, dir.Name())
	}
	return nil
}
