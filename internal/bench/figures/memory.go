package figures

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// KiB is an amount of memory.
type KiB int

// String is the amount in MiB.
func (k KiB) String() string { return fmt.Sprintf("%.1f", float64(k)/1024) }

// Memory reads a line of /proc/PID/status: VmRSS, VmHWM. 0: the process is gone.
func Memory(pid int, line string) KiB {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for entry := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(entry, line+":"); ok {
			n, _ := strconv.Atoi(strings.Fields(value)[0])
			return KiB(n)
		}
	}
	return 0
}

// Peak watches a process, once it is the program, until done is closed, and gives the most that it had.
func Peak(pid int, program string, done <-chan struct{}) KiB {
	var most KiB
	for {
		if isProgram(pid, program) {
			most = max(most, Memory(pid, "VmHWM"))
		}
		select {
		case <-done:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isProgram(pid int, program string) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && filepath.Base(target) == program
}

// ChildrenOf are the processes that a process has started.
func ChildrenOf(pid int) []int {
	var list []int
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) && fields[0] != "Z" {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			list = append(list, child)
		}
	}
	return list
}

// Watched runs a command, and gives the most memory that its process has had as program, and its time.
func Watched(cmd *exec.Cmd, program string) (most KiB, took time.Duration, err error) {
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("starting what is to be watched: %w", err)
	}
	done, result := make(chan struct{}), make(chan KiB)
	go func() { result <- Peak(cmd.Process.Pid, program, done) }()
	err = cmd.Wait()
	took = time.Since(begin)
	close(done)
	return <-result, took, err
}

// Counter counts what is written to it.
type Counter int64

// Write never fails.
func (c *Counter) Write(p []byte) (int, error) {
	*c += Counter(len(p))
	return len(p), nil
}
