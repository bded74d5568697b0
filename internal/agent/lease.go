package agent

import (
	"fmt"
	"os"
	"syscall"
)

// LeaseName is a file in SharedDir that the hook of a step container holds locked as long as it lives. The kernel
// opens the lock when the hook ends, however it ends; so the agent knows at once that nobody will come.
const LeaseName = "lease"

// HoldLease locks the open file of a lease until it is closed. Where the file system knows no locks it fails, and
// there must be no such file: the agent then waits for its client as long as its options say.
func HoldLease(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("locking the agent's lease: %w", err)
	}
	return nil
}

// released tells whether the holder of a lease is gone. Without a lease nobody knows.
func released(path string) bool {
	if path == "" {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}
