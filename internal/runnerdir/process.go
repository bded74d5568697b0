package runnerdir

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running program of the runner.
type Process struct {
	PID     int
	UID     int
	Started time.Time // to the second
}

// Listener finds the runner's listener; nil if it does not run, or cannot be seen.
func (r *Runner) Listener() *Process { return r.process("Runner.Listener") }

// Worker finds the process that does a job; nil if there is none.
func (r *Runner) Worker() *Process { return r.process("Runner.Worker") }

// process looks for a program below the runner's folder. Its directory there has several names: bin is a link.
func (r *Runner) process(name string) *Process {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	for _, line := range lines {
		text, err := os.ReadFile(line)
		first, _, _ := bytes.Cut(text, []byte{0})
		program := filepath.Clean(string(first))
		if err != nil || filepath.Base(program) != name || !strings.HasPrefix(program, r.Dir+"/") {
			continue
		}
		if p := newProcess(filepath.Dir(line)); p != nil {
			return p
		}
	}
	return nil
}

// newProcess reads a folder of /proc; nil if the process is gone.
func newProcess(dir string) *Process {
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	started, ok := startOf(dir)
	sys, isStat := info.Sys().(*syscall.Stat_t)
	if !ok || !isStat {
		return nil
	}
	return &Process{PID: pid, UID: int(sys.Uid), Started: started}
}

// ticks is how many there are in a second, for every program on Linux (USER_HZ).
const ticks = 100

// startOf adds field 22 of the process' stat, in ticks, to the time of the boot (proc(5)).
func startOf(dir string) (time.Time, bool) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return time.Time{}, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return time.Time{}, false
	}
	after, err := strconv.ParseInt(string(fields[19]), 10, 64)
	boot, ok := bootTime()
	return time.Unix(boot+after/ticks, 0), err == nil && ok
}

func bootTime() (int64, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if seconds, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
			return boot, err == nil
		}
	}
	return 0, false
}
