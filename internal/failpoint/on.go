//go:build failpoint

// Package failpoint marks places at which tests kill the program.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settle is how long a signal may take to be noticed before the program goes on.
const settle = 20 * time.Millisecond

// Hit sends this process the signal that $GANTRY_FAILPOINT names for this place, as PLACE:NUMBER, and leaves a
// mark in the file that $GANTRY_FAILPOINT_MARK names, so that a test knows the place was reached.
func Hit(place string) {
	name, number, ok := strings.Cut(os.Getenv("GANTRY_FAILPOINT"), ":")
	if !ok || name != place {
		return
	}
	if mark := os.Getenv("GANTRY_FAILPOINT_MARK"); mark != "" {
		if err := os.WriteFile(mark, []byte(place), 0o600); err != nil {
			panic(err)
		}
	}
	sig, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.Signal(sig)); err != nil {
		panic(err)
	}
	time.Sleep(settle)
}
