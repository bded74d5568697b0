package process

import (
	"bytes"
	"os"
	"path/filepath"
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

// Orphans finds the processes whose environment has a variable, such as RUNNER_TRACKING_ID=github_…, as the runner does
// at the end of a job (JobExtension.cs). Processes of other users are not seen.
func Orphans(variable string) []Orphan {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var all []Orphan
	for _, file := range environs {
		dir := filepath.Dir(file)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !hasVariable(file, variable) {
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

func hasVariable(file, variable string) bool {
	environ, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if string(entry) == variable {
			return true
		}
	}
	return false
}
