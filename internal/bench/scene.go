package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/bench/figures"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// scene is an engine with a runner on it.
type scene struct {
	ctx    context.Context
	e      *testbed.Engine
	quick  bool
	bin    string // folder of the built programs
	dir    string
	runner *fakerunner.Runner
}

func newScene(ctx context.Context, e *testbed.Engine, bin string, quick bool) (*scene, error) {
	dir, err := os.MkdirTemp("", "gantry-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the runner: %w", err)
	}
	env := append(append([]string{}, e.Env...),
		"GANTRY_ENGINE="+e.Name, "GANTRY_PULL=missing", "GANTRY_STATE_DIR="+filepath.Join(dir, "state"))
	r, err := fakerunner.New(filepath.Join(dir, "runner-"+rand.Text()[:8]), filepath.Join(bin, "hook.sh"), env)
	if err != nil {
		return nil, err
	}
	return &scene{ctx: ctx, e: e, quick: quick, bin: bin, dir: dir, runner: r}, nil
}

func (s *scene) close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Minute)
	defer cancel()
	return errors.Join(s.runner.Cleanup(ctx).Err, os.RemoveAll(s.dir))
}

// often is how often something is measured.
func (s *scene) often(n int) int {
	if s.quick {
		return max(n/10, 2)
	}
	return n
}

// engine runs the engine's own program and gives its output.
func (s *scene) engine(args ...string) (string, error) {
	out, err := s.e.Command(s.ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", s.e.Name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

// timedEngine measures the engine's own program.
func (s *scene) timedEngine(args ...string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		return figures.Timed(func() error { _, err := s.engine(args...); return err })
	}
}

// prepare makes a job, with services that do nothing.
func (s *scene) prepare(services int) error {
	var list []hook.Container
	for range services {
		list = append(list, hook.Container{Image: testbed.Busybox, EntryPoint: "sleep", EntryPointArgs: []string{"1000000"}})
	}
	return explained(s.runner.Prepare(s.ctx, s.runner.JobContainer(testbed.Busybox), list...))
}

func explained(res *fakerunner.Result) error {
	if res.Err != nil {
		return fmt.Errorf("%w\n%s", res.Err, res.Output())
	}
	return nil
}

// step measures a script step.
func (s *scene) step(argv ...string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		args, err := s.runner.Program(argv...)
		if err != nil {
			return 0, err
		}
		return figures.Timed(func() error { return explained(s.runner.Call(s.ctx, hook.RunScriptStep, args)) })
	}
}

// jobContainer is the name of the job container, and its first process as the host counts.
func (s *scene) jobContainer() (name string, pid int, err error) {
	runner := handler.RunnerID([]string{s.runner.Root}, "")
	name, err = s.engine("ps", "--filter", "label="+handler.LabelRunner+"="+runner, "--filter", "label="+handler.LabelRole+"=job", "--format", "{{.Names}}")
	if err != nil {
		return "", 0, err
	}
	text, err := s.engine("inspect", "--format", "{{.State.Pid}}", name)
	if err != nil {
		return "", 0, err
	}
	pid, err = strconv.Atoi(text)
	return name, pid, err
}
