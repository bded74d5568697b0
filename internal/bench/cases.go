package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// all measures everything on one engine.
func (s *scene) all(r *report) error {
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
	r.engines = append(r.engines, s.e.Label+" "+version)
	for _, f := range []func() ([]row, error){s.scriptStep, s.output, s.together, s.containerStep, s.job, s.start} {
		rows, err := f()
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].engine = s.e.Label
			if rows[i].dockers && s.e.Name != "docker" {
				rows[i].target = ""
			}
		}
		r.add(rows...)
	}
	return nil
}

// compared is a row of two series.
func compared(what string, gantry, other series, target string, met func(gantry time.Duration, ratio float64) bool) row {
	ratio := float64(gantry.median()) / float64(other.median())
	return row{
		what: what, gantry: gantry.String(), other: other.String(), ratio: fmt.Sprintf("%.2f", ratio),
		target: target, met: met(gantry.median(), ratio),
	}
}

func atMost(what string, k, limit kib) row {
	return row{what: what, gantry: k.String(), target: "at most " + limit.String(), met: k <= limit}
}

// scriptStep measures a step that does nothing, and what the hook and the agent take for it.
func (s *scene) scriptStep() ([]row, error) {
	if err := s.prepare(0); err != nil {
		return nil, err
	}
	name, pid, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	all, err := inTurns(s.often(200), s.step("true"), s.timedEngine("exec", name, "true"))
	if err != nil {
		return nil, err
	}
	rows := []row{compared("script step", all[0], all[1], "at most 10 ms and 1/7", func(t time.Duration, ratio float64) bool {
		return t <= 10*time.Millisecond && ratio <= 1.0/7
	})}
	most, _, err := s.watched(io.Discard, "sleep", "0.3")
	if err != nil {
		return nil, err
	}
	rows = append(rows, atMost("memory of the hook, MiB", most, 15<<10))
	supervisors := kib(0)
	for _, child := range childrenOf(pid) {
		supervisors = max(supervisors, memory(child, "VmRSS"))
	}
	return append(rows, atMost("memory of the agent, MiB", memory(pid, "VmRSS"), 10<<10),
		row{what: "memory of its waiting supervisor, MiB", gantry: supervisors.String()}), nil
}

// watched runs a step and gives the hook's peak memory.
func (s *scene) watched(out io.Writer, argv ...string) (most kib, took time.Duration, err error) {
	args, err := s.program(argv...)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	cmd, err := s.hookProcess(args, out)
	if err != nil {
		return 0, 0, fmt.Errorf("starting the hook: %w", err)
	}
	done, result := make(chan struct{}), make(chan kib)
	go func() { result <- peak(cmd.Process.Pid, "gantry-agent", done) }()
	err = cmd.Wait()
	took = time.Since(begin)
	close(done)
	return <-result, took, err
}

// output measures a step that writes 1 GiB.
func (s *scene) output() ([]row, error) {
	const size = 1 << 30
	name, pid, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	// Not head -c: busybox's goes byte by byte.
	zeros := []string{"dd", "if=/dev/zero", "bs=64k", fmt.Sprint("count=", size>>16), "status=none"}
	var hookMost, agentMost kib
	all, err := inTurns(s.often(5),
		func() (time.Duration, error) {
			done, agent := make(chan struct{}), make(chan kib)
			go func() { agent <- peak(pid, "agent", done) }()
			var n counter
			most, took, err := s.watched(&n, zeros...)
			close(done)
			hookMost, agentMost = max(hookMost, most), max(agentMost, <-agent)
			if err == nil && n != size {
				err = fmt.Errorf("%d bytes of output arrived, not %d", n, size)
			}
			return took, err
		},
		func() (time.Duration, error) {
			var n counter
			cmd := s.e.Command(s.ctx, slices.Concat([]string{"exec", name}, zeros)...)
			cmd.Stdout = &n
			return timed(cmd.Run)
		})
	if err != nil {
		return nil, err
	}
	rate := func(d time.Duration) float64 { return size / d.Seconds() / 1e6 }
	rows := []row{{
		what: "1 GiB of output, MB/s", gantry: fmt.Sprintf("%.0f", rate(all[0].median())), other: fmt.Sprintf("%.0f", rate(all[1].median())),
		ratio: fmt.Sprintf("%.2f", rate(all[0].median())/rate(all[1].median())), target: "at least 300", met: rate(all[0].median()) >= 300,
	}}
	return append(rows, atMost("memory of the hook at that, MiB", hookMost, 64<<10), atMost("memory of the agent at that, MiB", agentMost, 64<<10)), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// together measures many steps at once.
func (s *scene) together() ([]row, error) {
	const n = 64
	name, _, err := s.jobContainer()
	if err != nil {
		return nil, err
	}
	atOnce := func(f func() error) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			return timed(func() error {
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
	args, err := s.program("true")
	if err != nil {
		return nil, err
	}
	client := s.runner.Client
	all, err := inTurns(s.often(5),
		atOnce(func() error { _, err := client.Call(s.ctx, hook.RunScriptStep, args, s.runner.State); return err }),
		atOnce(func() error { _, err := s.engine("exec", name, "true"); return err }))
	if err != nil {
		return nil, err
	}
	return []row{compared("64 steps at once", all[0], all[1], "all succeed", func(time.Duration, float64) bool { return true })}, nil
}

// containerStep measures an action that does nothing.
func (s *scene) containerStep() ([]row, error) {
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
	all, err := inTurns(s.often(30),
		func() (time.Duration, error) {
			return timed(func() error { return explained(s.runner.Call(s.ctx, hook.RunContainerStep, step)) })
		},
		s.timedEngine("run", "--rm", "--network", network, "--entrypoint", "true", testbed.Busybox))
	if err != nil {
		return nil, err
	}
	own := compared("container step", all[0], all[1], "at most 1.1x", func(_ time.Duration, ratio float64) bool { return ratio <= 1.1 })
	own.dockers = true
	return []row{own}, nil
}

// fourAtOnce is what nobody can do better by hand: a network, and then four containers side by side.
func (s *scene) fourAtOnce(network string, remove []string) (made, gone time.Duration, err error) {
	names := []string{"gantry-bench-1", "gantry-bench-2", "gantry-bench-3", "gantry-bench-4"}
	made, err = timed(func() error {
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
	gone, err = timed(func() error {
		if _, err := s.engine(slices.Concat(remove, names)...); err != nil {
			return err
		}
		_, err := s.engine("network", "rm", network)
		return err
	})
	return made, gone, err
}

// job measures prepare_job and cleanup_job, and what the engine takes for one container.
func (s *scene) job() ([]row, error) {
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
	var alone, inAll, removed series // the first of each does not count
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
	all, err := inTurns(s.often(20),
		func() (time.Duration, error) { return timed(func() error { return s.prepare(3) }) },
		func() (time.Duration, error) {
			return timed(func() error { return explained(s.runner.Cleanup(s.ctx)) })
		}, one, four)
	if err != nil {
		return nil, err
	}
	twice := func(_ time.Duration, ratio float64) bool { return ratio <= 2 }
	rows := []row{
		compared("prepare_job, 4 containers; one run -d", all[0], alone[1:], "at most 2x", twice),
		compared("the same; network create and one run -d", all[0], inAll[1:], "", twice),
		compared("the same; network create and four run -d at once", all[0], all[3], "", twice),
		compared("cleanup_job, 4 containers; one rm -f of four, network rm", all[1], removed[1:], "at most 400 ms",
			func(t time.Duration, _ float64) bool { return t <= 400*time.Millisecond }),
	}
	for i := range rows {
		rows[i].dockers = true
	}
	return rows, nil
}
