package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/bench/figures"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// all measures everything on one engine.
func (s *scene) all(r *figures.Report) error {
	version, err := s.engine("version", "--format", "{{.Client.Version}}")
	if err != nil {
		return err
	}
	if s.e.Name == "docker" {
		server, err := s.engine("version", "--format", "{{.Server.Version}}")
		if err != nil {
			return err
		}
		version += " (daemon " + server + ")"
	}
	r.Tools = append(r.Tools, s.e.Label+" "+version)
	for _, f := range []func() ([]figures.Row, error){s.scriptStep, s.output, s.together, s.containerStep, s.job, s.start} {
		rows, err := f()
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].Where = s.e.Label
		}
		r.Rows = append(r.Rows, rows...)
	}
	return nil
}

// dockers takes the targets away that are Docker's alone, where this is another engine.
func (s *scene) dockers(rows ...figures.Row) []figures.Row {
	for i := range rows {
		if s.e.Name != "docker" {
			rows[i].Target = ""
		}
	}
	return rows
}

// scriptStep measures a step that does nothing, and what the hook and the agent take for it.
func (s *scene) scriptStep() ([]figures.Row, error) {
	if err := s.prepare(0); err != nil {
		return nil, err
	}
	name, pid, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	all, err := figures.InTurns(s.often(200), s.step("true"), s.timedEngine("exec", name, "true"))
	if err != nil {
		return nil, err
	}
	rows := []figures.Row{figures.Compared("script step", all[0], all[1], "at most 10 ms and 1/7", func(t, exec time.Duration) bool {
		return t <= 10*time.Millisecond && 7*t <= exec
	})}
	most, _, err := s.watched(io.Discard, "sleep", "0.3")
	if err != nil {
		return nil, err
	}
	rows = append(rows, figures.AtMost("memory of the hook, MiB", most, 15<<10))
	supervisors := figures.KiB(0)
	for _, child := range figures.ChildrenOf(pid) {
		supervisors = max(supervisors, figures.Memory(child, "VmRSS"))
	}
	return append(rows, figures.AtMost("memory of the agent, MiB", figures.Memory(pid, "VmRSS"), 10<<10),
		figures.AtMost("memory of its waiting supervisor, MiB", supervisors, 0)), nil
}

// watched runs a step and gives the hook's peak memory.
func (s *scene) watched(out io.Writer, argv ...string) (most figures.KiB, took time.Duration, err error) {
	args, err := s.runner.Program(argv...)
	if err != nil {
		return 0, 0, err
	}
	cmd, err := s.runner.Process(s.ctx, hook.RunScriptStep, args, out, os.Stderr)
	if err != nil {
		return 0, 0, err
	}
	return figures.Watched(cmd, "gantry-agent")
}

// output measures a step that writes 1 GiB.
func (s *scene) output() ([]figures.Row, error) {
	const size = 1 << 30
	name, pid, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	// Not head -c: busybox's goes byte by byte.
	zeros := []string{"dd", "if=/dev/zero", "bs=64k", fmt.Sprint("count=", size>>16), "status=none"}
	var hookMost, agentMost figures.KiB
	all, err := figures.InTurns(s.often(5),
		func() (time.Duration, error) {
			done, agent := make(chan struct{}), make(chan figures.KiB)
			go func() { agent <- figures.Peak(pid, "agent", done) }()
			var n figures.Counter
			most, took, err := s.watched(&n, zeros...)
			close(done)
			hookMost, agentMost = max(hookMost, most), max(agentMost, <-agent)
			if err == nil && n != size {
				err = fmt.Errorf("%d bytes of output arrived, not %d", n, size)
			}
			return took, err
		},
		func() (time.Duration, error) {
			var n figures.Counter
			cmd := s.e.Command(s.ctx, slices.Concat([]string{"exec", name}, zeros)...)
			cmd.Stdout = &n
			return figures.Timed(cmd.Run)
		})
	if err != nil {
		return nil, err
	}
	rows := []figures.Row{figures.Rates("1 GiB of output, MB/s", size, all[0], all[1], 300)}
	return append(rows, figures.AtMost("memory of the hook at that, MiB", hookMost, 64<<10), figures.AtMost("memory of the agent at that, MiB", agentMost, 64<<10)), nil
}

// together measures many steps at once.
func (s *scene) together() ([]figures.Row, error) {
	const n = 64
	name, _, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	atOnce := func(f func() error) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			return figures.Timed(func() error {
				errs := make([]error, n)
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() { errs[i] = f() })
				}
				wg.Wait()
				return errors.Join(errs...)
			})
		}
	}
	args, err := s.runner.Program("true")
	if err != nil {
		return nil, err
	}
	client := s.runner.Client
	all, err := figures.InTurns(s.often(5),
		atOnce(func() error { _, err := client.Call(s.ctx, hook.RunScriptStep, args, s.runner.State); return err }),
		atOnce(func() error { _, err := s.engine("exec", name, "true"); return err }))
	if err != nil {
		return nil, err
	}
	return []figures.Row{figures.Compared("64 steps at once", all[0], all[1], "all succeed", func(_, _ time.Duration) bool { return true })}, nil
}

// containerStep measures an action that does nothing.
func (s *scene) containerStep() ([]figures.Row, error) {
	job, _, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	network, err := s.engine("inspect", "--format", "{{range $name, $x := .NetworkSettings.Networks}}{{$name}}{{end}}", job)
	if err != nil {
		return nil, err
	}
	step := s.runner.ContainerStep(testbed.Busybox)
	step.EntryPoint = "true"
	all, err := figures.InTurns(s.often(30),
		func() (time.Duration, error) {
			return figures.Timed(func() error { return explained(s.runner.Call(s.ctx, hook.RunContainerStep, step)) })
		},
		s.timedEngine("run", "--rm", "--network", network, "--entrypoint", "true", testbed.Busybox))
	if err != nil {
		return nil, err
	}
	return s.dockers(figures.Compared("container step", all[0], all[1], "at most 1.1x", func(t, run time.Duration) bool { return 10*t <= 11*run })), nil
}

// fourAtOnce is what nobody can do better by hand: a network, and then four containers side by side.
func (s *scene) fourAtOnce(network string, remove []string) (made, gone time.Duration, err error) {
	names := []string{"gantry-bench-1", "gantry-bench-2", "gantry-bench-3", "gantry-bench-4"}
	made, err = figures.Timed(func() error {
		if _, err := s.engine("network", "create", network); err != nil {
			return err
		}
		errs := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() {
				_, errs[i] = s.engine("run", "-d", "--name", name, "--network", network, testbed.Busybox, "sleep", "1000000")
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if err != nil {
		return 0, 0, err
	}
	gone, err = figures.Timed(func() error {
		if _, err := s.engine(slices.Concat(remove, names)...); err != nil {
			return err
		}
		_, err := s.engine("network", "rm", network)
		return err
	})
	return made, gone, err
}

// job measures prepare_job and cleanup_job, and what the engine takes for one container.
func (s *scene) job() ([]figures.Row, error) {
	if err := explained(s.runner.Cleanup(s.ctx)); err != nil {
		return nil, err
	}
	const network, container = "gantry-bench", "gantry-bench"
	remove := []string{"rm", "-f", container}
	if s.e.Name == "podman" {
		remove = []string{"rm", "-f", "-t", "0", container} // it waits ten seconds otherwise
	}
	detached := s.timedEngine("run", "-d", "--name", container, "--network", network, testbed.Busybox, "sleep", "1000000")
	makeNetwork := s.timedEngine("network", "create", network)
	var alone, inAll, removed figures.Series // the first of each does not count
	four := func() (time.Duration, error) {
		made, gone, err := s.fourAtOnce(network, remove[:len(remove)-1])
		removed = append(removed, gone)
		return made, err
	}
	one := func() (time.Duration, error) {
		created, err := makeNetwork()
		if err != nil {
			return 0, err
		}
		started, err := detached()
		if err != nil {
			return 0, err
		}
		if _, err := s.engine(remove...); err != nil {
			return 0, err
		}
		alone, inAll = append(alone, started), append(inAll, created+started)
		_, err = s.engine("network", "rm", network)
		return created + started, err
	}
	all, err := figures.InTurns(s.often(20),
		func() (time.Duration, error) { return figures.Timed(func() error { return s.prepare(3) }) },
		func() (time.Duration, error) {
			return figures.Timed(func() error { return explained(s.runner.Cleanup(s.ctx)) })
		}, one, four)
	if err != nil {
		return nil, err
	}
	twice := func(t, run time.Duration) bool { return t <= 2*run }
	return s.dockers(
		figures.Compared("prepare_job, 4 containers; one run -d", all[0], alone[1:], "at most 2x", twice),
		figures.Compared("the same; network create and one run -d", all[0], inAll[1:], "", twice),
		figures.Compared("the same; network create and four run -d at once", all[0], all[3], "", twice),
		figures.Compared("cleanup_job, 4 containers; one rm -f of four, network rm", all[1], removed[1:], "at most 400 ms",
			func(t, _ time.Duration) bool { return t <= 400*time.Millisecond }),
	), nil
}
