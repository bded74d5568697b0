package buildguard

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endChildren kills and reaps children until there are none: those of a child that was killed become ours.
func endChildren() {
	for until := time.Now().Add(killLimit); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it fails only for one that has ended
		}
		if !reap() {
			return
		}
	}
}

// reap takes the statuses of all children that have ended, and tells whether others are left.
func reap() (left bool) {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		}
	}
}

func children() []int {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil // the pattern is a good one
	}
	var pids []int
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// unmountBelow takes away what a killed builder has left mounted, the innermost first. Without root nothing is: the
// mounts were in a namespace that went with its processes.
func unmountBelow(dir string) {
	points := mountPoints(dir)
	for _, point := range slices.Backward(points) {
		_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // what stays mounted cannot be deleted, and that is reported
	}
}

// mountPoints are those at and below dir, outer ones first.
func mountPoints(dir string) []string {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer file.Close()
	var points []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		const mountPoint = 4 // proc(5)
		if fields := strings.Fields(lines.Text()); len(fields) > mountPoint {
			point := unescape(fields[mountPoint])
			if point == dir || strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	return points
}

// unescape reads \040 for a space, and so on.
func unescape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if text[0] == '\\' && len(text) >= 4 {
			if code, err := strconv.ParseUint(text[1:4], 8, 8); err == nil {
				b.WriteByte(byte(code))
				text = text[4:]
				continue
			}
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String()
}

// lockSuffix ends the names of files beside the folders of builds. The lock on one is held as long as the guard lives.
const lockSuffix = ".lock"

// takeLock makes and locks a file. Whoever removes another guard's lock may have done so in between.
func takeLock(path string) (*os.File, error) {
	for range 10 {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making a private folder for the build: %w", err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), file.Close())
		}
		if same(file, path) {
			return file, nil
		}
		_ = file.Close() // it is nothing any more
	}
	return nil, fmt.Errorf("locking %s: somebody keeps removing it", path)
}

func same(file *os.File, path string) bool {
	here, err := file.Stat()
	there, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(here, there)
}

// sweep removes the folders of guards that were killed. What cannot be removed now is tried again by the next build.
func (t *Task) sweep() {
	locks, err := filepath.Glob(filepath.Join(filepath.Dir(t.Dir), "*"+lockSuffix))
	if err != nil {
		return // the pattern is a good one
	}
	for _, path := range locks {
		_ = t.sweepOne(path)
	}
}

func (t *Task) sweepOne(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err // it lives
	}
	return t.removeLocked(strings.TrimSuffix(path, lockSuffix))
}
