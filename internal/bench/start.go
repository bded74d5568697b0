package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/bench/figures"
)

// twoSteps is what `gantry run` is started with.
const twoSteps = `on: push
jobs:
  two:
    runs-on: self-hosted
    container: gantry.test/none:1
    steps:
      - run: echo one
      - run: echo two
`

// noting is a hook that notes when it was called, and fails.
const noting = `date +%s%N >>"$BENCH_CALLED"
exit 1
`

// start measures the time from the command `gantry run` to the first call of the hook.
func (s *scene) start() ([]figures.Row, error) {
	dir := filepath.Join(s.dir, "start")
	hook, called := filepath.Join(dir, "hook.sh"), filepath.Join(dir, "called")
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "ci.yml"), []byte(twoSteps), 0o644),
		os.WriteFile(hook, []byte(noting), 0o755))
	if err != nil {
		return nil, fmt.Errorf("preparing a workflow: %w", err)
	}
	all, err := figures.InTurns(s.often(50), func() (time.Duration, error) {
		cmd := exec.CommandContext(s.ctx, filepath.Join(s.bin, "gantry"), "run", "ci.yml", "--hook", hook)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "BENCH_CALLED="+called)
		began := time.Now()
		_ = cmd.Run() // the hook fails
		return sinceCall(began, called)
	})
	if err != nil {
		return nil, err
	}
	const limit = 150 * time.Millisecond
	return s.dockers(figures.Compared("gantry run, to the first call of the hook", all[0], nil, "at most 150 ms",
		func(t, _ time.Duration) bool { return t <= limit })), nil
}

// sinceCall reads when the hook was called first, and forgets it.
func sinceCall(began time.Time, file string) (time.Duration, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("gantry run has not called its hook: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	nanoseconds, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading when the hook was called: %w", err)
	}
	return time.Unix(0, nanoseconds).Sub(began), os.Remove(file)
}
