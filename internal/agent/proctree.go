package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// descendants lists all processes below root, in no order. A process that appears meanwhile may be missing.
func descendants(root int) []int {
	children := map[int][]int{}
	for _, pid := range pids() {
		if ppid, ok := parentOf(pid); ok {
			children[ppid] = append(children[ppid], pid)
		}
	}
	var all []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		all = append(all, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read is used: a vanished process is not an error
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// parentOf reads field 4 of /proc/PID/stat (proc(5)); a zombie counts as gone.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	fields := bytes.Fields(rest)
	if len(fields) < 2 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	return ppid, err == nil
}

// signalTree sends sig to every process below root, and returns those it was not allowed to reach.
func signalTree(root int, sig syscall.Signal) (alive int, denied []int) {
	for _, pid := range descendants(root) {
		switch err := syscall.Kill(pid, sig); {
		case err == nil:
			alive++
		case errors.Is(err, syscall.EPERM):
			denied = append(denied, pid)
		}
	}
	return alive, denied
}

// Kill ends processes, named by pid, and waits until they are gone: the work of `gantry-agent kill`, which runs as
// root where the agent does not.
func Kill(pids []string) error {
	for round := range killRounds {
		left := ""
		for _, text := range pids {
			pid, err := strconv.Atoi(text)
			if err != nil || pid <= 1 {
				return fmt.Errorf("ending process %q: not a process of a step", text)
			}
			if _, alive := parentOf(pid); !alive {
				continue
			}
			left = text
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("ending process %d: %w", pid, err)
			}
		}
		if left == "" {
			return nil
		}
		if round == killRounds-1 {
			return fmt.Errorf("process %s does not end", left)
		}
		time.Sleep(killInterval)
	}
	return nil
}
