package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// processesWith are the processes of this machine that have a text in their arguments, but for this one.
func processesWith(text string) []int {
	return processes("cmdline", text)
}

// processes finds processes by what a file of /proc says. Processes that go meanwhile are left out, and so are those
// of others that cannot be read.
func processes(file, text string) []int {
	paths, err := filepath.Glob("/proc/[0-9]*/" + file)
	if err != nil {
		return nil // the pattern is a good one
	}
	var found []int
	for _, path := range paths {
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err == nil && pid != os.Getpid() && says(path, text) {
			found = append(found, pid)
		}
	}
	return found
}

// says says whether a file of /proc has a text, with blanks in place of zero bytes.
func says(path, text string) bool {
	content, err := os.ReadFile(path)
	return err == nil && bytes.Contains(bytes.ReplaceAll(content, []byte{0}, []byte{' '}), []byte(text))
}

// endProcesses kills the processes that have a text in their arguments, and never another one that has got the number
// of one that is gone.
func endProcesses(text string) {
	for _, pid := range processesWith(text) {
		process, err := os.FindProcess(pid) // from here on it is that process or none
		if err != nil {
			continue
		}
		if says(fmt.Sprintf("/proc/%d/cmdline", pid), text) {
			_ = process.Kill() // it fails if the process has ended
		}
		_ = process.Release() // it never fails on Linux
	}
}

// hookProcess is the process of this program's that has the tracking id in its environment: the hook that the runner
// started. 0: there is none.
func hookProcess(trackingID string) int {
	for _, pid := range processes("environ", trackingID) {
		if parent(pid) == os.Getpid() {
			return pid
		}
	}
	return 0
}

// parent is the parent of a process; 0 if it is gone.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	fields := strings.Fields(string(rest))
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}

// signals are those that a case may send.
func signals() map[string]syscall.Signal {
	return map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}
}

// filesWith are the files below a folder that contain a text. Links are not followed; what cannot be read is left out.
func filesWith(folder, text string) []string {
	var found []string
	_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return nil
	})
	slices.Sort(found)
	return found
}
