package ocicli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/jobrecord"
)

// descendants are the processes below one, as they are now. A command that is cut off does not always take them with
// it: `podman build` leaves the program of a RUN line, which has a session of its own.
func descendants(pid int) []jobrecord.Owner {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil // the pattern is a good one
	}
	var found []jobrecord.Owner
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(append(found, jobrecord.ProcessOf(child)), descendants(child)...)
			}
		}
	}
	return found
}

// end kills what is left of some processes.
func end(processes []jobrecord.Owner) {
	for _, p := range processes {
		if p.Alive() {
			_ = syscall.Kill(p.PID, syscall.SIGKILL) // it fails only if the process has ended meanwhile
		}
	}
}
