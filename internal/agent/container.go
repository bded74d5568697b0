package agent

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// isAlpine says whether an os-release text has ID=alpine, the question that the runner's own docker mode asks.
func isAlpine(osRelease []byte) bool {
	s := bufio.NewScanner(bytes.NewReader(osRelease))
	for s.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if key == "ID" {
			return strings.Trim(value, `"'`) == "alpine"
		}
	}
	return false
}

func containerIsAlpine() bool {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if data, err := os.ReadFile(name); err == nil {
			return isAlpine(data)
		}
	}
	return false
}

// oomKills reads how many processes of this container the kernel killed for memory (cgroup v2 memory.events,
// else v1 memory.oom_control); 0 where neither can be read.
func oomKills() int {
	for _, name := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(rest)) // not a number: none counted
				return n
			}
		}
	}
	return 0
}
