package ocicli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/wait"
)

// A hook can be killed while the engine's program works for it, and then leaves two things that no label finds: a
// program that is about to make something, and private files. settle takes care of both.

// hookVariable is set for a command that makes something: the hook that wants it, as PID.START.
const hookVariable = "GANTRY_HOOK"

// settleLimit bounds the wait for commands of hooks that are gone.
const settleLimit = 20 * time.Second

// settle waits until no command of a killed hook is about to make something, and deletes such hooks' private files.
// The commands are not killed: an engine goes on with what it was asked for, but nobody would see when it is there.
func (d *Driver) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for d.orphansWork() && wait.For(ctx, 50*time.Millisecond) {
	}
	d.sweepPrivate()
}

// orphansWork tells whether a program of this engine runs for a hook that is gone.
func (d *Driver) orphansWork() bool {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	for _, name := range commands {
		args, err := os.ReadFile(name)
		if err != nil || !d.isProgram(string(args)) {
			continue // monitors of containers have the variable too
		}
		environ, err := os.ReadFile(filepath.Join(filepath.Dir(name), "environ")) // ends with the process, or is another user's
		if err == nil && !alive(hookIn(string(environ))) {
			return true
		}
	}
	return false
}

// isProgram tells whether a command line is that of the engine's program, or of a script in its place.
func (d *Driver) isProgram(commandLine string) bool {
	words := strings.SplitN(commandLine, "\x00", 3)
	return words[0] == d.path || len(words) > 1 && words[1] == d.path
}

// hookIn gives the value of hookVariable in the environment of a process, "" if there is none.
func hookIn(environ string) string {
	for entry := range strings.SplitSeq(environ, "\x00") {
		if value, ok := strings.CutPrefix(entry, hookVariable+"="); ok {
			return value
		}
	}
	return ""
}

// thisHook is PID.START of this process.
func thisHook() string {
	self := jobrecord.Self()
	return fmt.Sprintf("%d.%s", self.PID, self.Start)
}

// alive judges a hook by PID.START; what is not of this form is nobody that could be gone.
func alive(hook string) bool {
	pid, start, ok := strings.Cut(hook, ".")
	n, err := strconv.Atoi(pid)
	return !ok || err != nil || jobrecord.Owner{PID: n, Start: start}.Alive()
}

// privateName is the pattern of names of private files, which tell whose they are.
func privateName(what string) string { return fmt.Sprintf("gantry-%s-%s-*", what, thisHook()) }

// privateDir is the folder for private files, made if there is none. "" is the system's.
func (d *Driver) privateDir() (string, error) {
	if d.tempDir == "" {
		return "", nil
	}
	if err := os.MkdirAll(d.tempDir, 0o700); err != nil {
		return "", fmt.Errorf("making the folder for private files: %w", err)
	}
	return d.tempDir, nil
}

// sweepPrivate deletes private files of hooks that are gone.
func (d *Driver) sweepPrivate() {
	if d.tempDir == "" {
		return // the system's folder belongs to many
	}
	names, err := filepath.Glob(filepath.Join(d.tempDir, "gantry-*-*.*-*"))
	if err != nil {
		return
	}
	for _, name := range names {
		if parts := strings.Split(filepath.Base(name), "-"); !alive(parts[2]) {
			_ = os.RemoveAll(name) // what cannot be deleted now is found again
		}
	}
}
