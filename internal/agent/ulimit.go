package agent

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
)

// Ulimit is a resource limit of the agent, and so of all that it starts, as docker's --ulimit says it.
type Ulimit struct {
	Name       string // "nofile"
	Soft, Hard int64  // -1: no limit
}

// String is the limit as docker writes it.
func (u Ulimit) String() string { return fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard) }

// ulimits are the numbers of the kernel (getrlimit(2)), which are the same on all machines that gantry is made for.
func ulimits() map[string]int {
	return map[string]int{
		"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8,
		"locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
	}
}

func (c *ServeConfig) addUlimit(s string) error {
	name, values, _ := strings.Cut(s, "=")
	softText, hardText, _ := strings.Cut(values, ":")
	soft, errSoft := strconv.ParseInt(softText, 10, 64)
	hard, errHard := strconv.ParseInt(hardText, 10, 64)
	if _, known := ulimits()[name]; !known || errSoft != nil || errHard != nil || soft < -1 || hard < -1 {
		return errors.New("a limit is NAME=SOFT:HARD")
	}
	c.Ulimits = append(c.Ulimits, Ulimit{Name: name, Soft: soft, Hard: hard})
	return nil
}

// set sets the limit for this process. Nobody but root, and root not everywhere, may raise a hard limit.
func (u Ulimit) set() error {
	limit := syscall.Rlimit{Cur: uint64(u.Soft), Max: uint64(u.Hard)}
	if u.Soft < 0 {
		limit.Cur = math.MaxUint64 // RLIM_INFINITY
	}
	if u.Hard < 0 {
		limit.Max = math.MaxUint64
	}
	return syscall.Setrlimit(ulimits()[u.Name], &limit)
}
