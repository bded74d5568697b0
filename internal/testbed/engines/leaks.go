package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// leakLabel is on everything that gantry makes.
const leakLabel = "io.gantry.runner"

// Leaks lists what the tests have left, one a line, in words for people: containers and networks that gantry has
// made, and processes that still run.
func (b *Bed) Leaks(ctx context.Context) ([]string, error) {
	leaks := b.leftProcesses(ctx)
	left, err := b.leftInCluster(ctx)
	leaks, errs := append(leaks, left...), []error{err}
	for _, engine := range b.state.Facts.Engines() {
		for what, list := range map[string][]string{
			"container": {"ps", "--all", "--format", "{{.Names}} {{.Image}} {{.Status}}"},
			"network":   {"network", "ls", "--format", "{{.Name}}"},
		} {
			out, err := ask(ctx, engine, append(list, "--filter", "label="+leakLabel)...)
			errs = append(errs, err)
			for line := range strings.Lines(out) {
				leaks = append(leaks, fmt.Sprintf("%s: %s %s", engine.Label, what, strings.TrimSpace(line)))
			}
		}
	}
	return leaks, errors.Join(errs...)
}

// leftProcesses lists processes of the tests, apart from the engines and their helpers. What is just ending gets a
// moment.
func (b *Bed) leftProcesses(ctx context.Context) []string {
	var left []string
	_ = daemon.Poll(ctx, 3*time.Second, func() error {
		left = nil
		for _, pid := range processesIn(b.Dir) {
			if args := commandLine(pid); len(args) > 0 && !engineHelpers()[filepath.Base(args[0])] {
				left = append(left, fmt.Sprintf("process %d %s", pid, strings.Join(args, " ")))
			}
		}
		if len(left) > 0 {
			return errors.New("processes are left")
		}
		return nil
	})
	return left
}

// commandLine is empty for a process that is gone.
func commandLine(pid int) []string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == 0 })
}

// ChildEnv is the environment that the tests run with, beside the caller's: the facts, and the mark by which Down
// finds processes that tests have left.
func (b *Bed) ChildEnv() ([]string, error) {
	env, err := b.state.Facts.Environ()
	return append(env, marker+"="+b.Dir), err
}
