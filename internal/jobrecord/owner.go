package jobrecord

import (
	"bytes"
	"os"
	"strconv"
)

// Owner is the process that a job belongs to: the runner's worker, which started the hook.
type Owner struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot, field 22 of /proc/PID/stat (proc(5))
}

// Parent is the process that started this one.
func Parent() Owner {
	pid := os.Getppid()
	return Owner{PID: pid, Start: startOf(pid)}
}

// Self is this process.
func Self() Owner { return Owner{PID: os.Getpid(), Start: startOf(os.Getpid())} }

// ProcessOf is another process, as it runs now.
func ProcessOf(pid int) Owner { return Owner{PID: pid, Start: startOf(pid)} }

// Alive says whether the process still runs.
func (o Owner) Alive() bool { return o.PID > 1 && o.Start != "" && startOf(o.PID) == o.Start }

// startOf is "" for a process that is gone.
func startOf(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return ""
	}
	return string(fields[19])
}
