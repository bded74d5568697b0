package process

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Orphan is a process that a step has left behind.
type Orphan struct {
	PID  int
	Name string
}

// Kill ends the process at once.
func (o Orphan) Kill() { _ = syscall.Kill(o.PID, syscall.SIGKILL) } // it may have ended by itself

// trackingVariable is in the environment of everything that a job starts, hooks included.
const trackingVariable = "RUNNER_TRACKING_ID="

// Tracked finds the processes of a job that are left, as the runner does at its end (JobExtension.cs). Processes of other
// users are not seen.
func Tracked(id string) []Orphan {
	return orphans(func(environ [][]byte) bool { return has(environ, trackingVariable+id, "") })
}

// Below finds the processes that are left of all jobs with a runner below the folder.
func Below(dir string) []Orphan {
	return orphans(func(environ [][]byte) bool {
		return has(environ, "RUNNER_TEMP=", dir+"/") && has(environ, trackingVariable, "github_")
	})
}

// has says whether one of the variables is of that name, and its value begins so.
func has(environ [][]byte, name, value string) bool {
	return slices.ContainsFunc(environ, func(v []byte) bool { return bytes.HasPrefix(v, []byte(name+value)) })
}

// orphans finds the processes whose environment is of that kind.
func orphans(ours func(environ [][]byte) bool) []Orphan {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var all []Orphan
	for _, file := range environs {
		dir := filepath.Dir(file)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(file)
		if err != nil || !ours(bytes.Split(environ, []byte{0})) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it is gone
		}
		all = append(all, Orphan{PID: pid, Name: strings.TrimSpace(string(name))})
	}
	return all
}
