package kubenode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchies finds where control groups are mounted: each controller of version 1, or the one tree of version 2.
func hierarchies() (points []string, unified bool, err error) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, false, fmt.Errorf("looking for control groups: %w", err)
	}
	byType := map[string][]string{}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 2 {
			byType[fields[2]] = append(byType[fields[2]], fields[1])
		}
	}
	if v1 := byType["cgroup"]; len(v1) > 0 {
		return v1, false, nil
	}
	if v2 := byType["cgroup2"]; len(v2) > 0 {
		return v2[:1], true, nil
	}
	return nil, false, errors.New("looking for control groups: none are mounted")
}

// makeGroup makes the control group below which all pods run. The kubelet ends what it does not know in its own.
func makeGroup(name string) error {
	points, unified, err := hierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		dir := filepath.Join(point, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making a control group: %w", err)
		}
		if !unified {
			continue
		}
		for _, parent := range []string{point, dir} {
			if err := delegate(parent); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate lets the children of a group of version 2 have its controllers.
func delegate(dir string) error {
	names, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading a group's controllers: %w", err)
	}
	for _, name := range strings.Fields(string(names)) {
		// One at a time: some kernels refuse some, and the kubelet says what it misses.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
	}
	return nil
}

// removeGroup kills every process in the group and below, and deletes it. One that is gone is fine.
func removeGroup(name string) error {
	points, _, err := hierarchies()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var errs []error
		for _, point := range points {
			errs = append(errs, emptyGroup(filepath.Join(point, name)))
		}
		if err := errors.Join(errs...); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func emptyGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() {
			errs = append(errs, emptyGroup(filepath.Join(dir, entry.Name())))
		}
	}
	pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for _, text := range strings.Fields(string(pids)) {
		if pid, err := strconv.Atoi(text); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("deleting a control group: %w", err))
	}
	return errors.Join(errs...)
}
