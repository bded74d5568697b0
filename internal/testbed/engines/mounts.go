package engines

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unmountAllIn takes away what engines have left mounted below dir, the innermost first.
func unmountAllIn(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	var errs []error
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		const pointField = 4
		if len(fields) <= pointField || !within(fields[pointField], dir) {
			continue
		}
		if err := unix.Unmount(fields[pointField], unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", fields[pointField], err))
		}
	}
	return errors.Join(errs...)
}

// removeDir deletes a bed's directory. What ends late (a shim that closes its log) may still write into it.
func removeDir(dir string) error {
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return fmt.Errorf("deleting %s: %w", dir, err)
}

// storageDriver is overlay, except where the directory lies on an overlay itself (a CI job in a container).
func storageDriver(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "vfs"
	}
	return "overlay"
}
