package engines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// killAllIn kills what still runs out of a bed's directory: processes whose environment or command line
// names it. Daemons of a daemon (containerd, shims, conmon, aardvark-dns, slirp4netns) are found so.
func killAllIn(dir string) {
	_ = daemon.Poll(context.Background(), 5*time.Second, func() error {
		pids := processesIn(dir)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(pids) > 0 {
			return fmt.Errorf("still running: %v", pids)
		}
		return nil
	})
}

func processesIn(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || pid == 1 {
			continue
		}
		if runsIn(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runsIn tells whether the bed is named by the environment marker that its programs have, or by the command line
// of a helper that an engine started.
func runsIn(pid int, dir string) bool {
	if _, state := daemon.Stat(pid); state == "Z" || state == "" {
		return false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
	if bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+marker+"="+dir+"\x00")) {
		return true
	}
	args := commandLine(pid)
	if len(args) == 0 || !engineHelpers()[filepath.Base(args[0])] {
		return false
	}
	return strings.Contains(strings.Join(args, " "), dir+"/")
}

// engineHelpers are the programs that engines start and leave running. A user's own program that names the
// directory (an editor, a tail) is none of them.
func engineHelpers() map[string]bool {
	return map[string]bool{
		"dockerd": true, "containerd": true, "containerd-shim-runc-v2": true, "docker-registry": true, "buildkitd": true,
		"conmon": true, "podman": true, "rootlessport": true, "slirp4netns": true, "aardvark-dns": true,
		"fuse-overlayfs": true, "runc": true, "crun": true, "docker-proxy": true, "rootlessport-child": true,
		"podman pause": true, "catatonit": true, "netavark": true, "exe": true, "kubenode": true,
	}
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}
