package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-ci/gantry/internal/job"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/rundir"
	"github.com/gantry-ci/gantry/internal/schedule"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// keptCleanup bounds the removal of what was kept.
const keptCleanup = 2 * time.Minute

// play is a run under way.
type play struct {
	p       *Process
	dir     *rundir.Dir
	options job.Options
	keep    time.Duration
	engine  string // program with which kept containers are entered
	sink    jobevent.Sink
	after   func() error

	mu   sync.Mutex
	kept []keptJob
}

type keptJob struct {
	name string
	*job.Kept
}

// newPlay makes the folder of a run, and what all its jobs share.
func (p *Process) newPlay(o runOptions, s *source, jobs []*workflow.Job, v *runValues, configFlag string) (*play, error) {
	hook, err := p.runHook(o.hook, haveContainers(jobs))
	if err != nil {
		return nil, err
	}
	sink, after, err := p.audience(o, hook)
	if err != nil {
		return nil, err
	}
	if o.record != "" {
		if err := os.MkdirAll(p.abs(o.record), 0o700); err != nil {
			return nil, verdict.New(verdict.Configuration, "name another folder with --record", "making the folder %s for the record: %w", o.record, err)
		}
	}
	dir, err := rundir.Make(p.tempDir())
	if err != nil {
		return nil, verdict.New(verdict.Infrastructure, "name another folder with TMPDIR", "%w", err)
	}
	pl := &play{p: p, dir: dir, keep: o.keep, sink: sink, after: after, engine: p.engineProgram(configFlag)}
	pl.options = job.Options{
		Hook: hook, Environ: p.hookEnviron(configFlag), Root: dir.Path, Source: s.root, Node: p.nodeFinder(o.node), ServerURL: o.serverURL,
		Env: v.env, Vars: v.vars, Event: v.event, Github: v.github, Sink: sink, Debug: o.debug, Keep: o.keep > 0,
	}
	if o.actionsDir != "" {
		pl.options.ActionsDir = p.abs(o.actionsDir)
	}
	if o.record != "" {
		pl.options.Record = p.recorder(p.abs(o.record))
	}
	if len(v.rewrite) > 0 {
		pl.options.Image = func(image string) string {
			if other, ok := v.rewrite[image]; ok {
				return other
			}
			return image
		}
	}
	return pl, nil
}

// haveContainers says whether one of the jobs cannot do without a hook.
func haveContainers(jobs []*workflow.Job) bool {
	return slices.ContainsFunc(jobs, func(j *workflow.Job) bool {
		called := j.Call != nil && j.Call.Workflow != nil && haveContainers(j.Call.Workflow.Jobs)
		return called || j.Container != nil || len(j.Services.List) > 0
	})
}

// runHook is the hook of a run. Only the default one may be missing, if all jobs are on the host.
func (p *Process) runHook(flag string, needed bool) (string, error) {
	if flag != "" {
		hook := p.abs(flag)
		return hook, checkHook(flag, hook)
	}
	dir := filepath.Dir(p.Executable)
	hook := filepath.Join(dir, "hook.sh")
	if !needed {
		return hook, nil
	}
	err := readable(hook)
	if err == nil {
		_, err = exec.LookPath(filepath.Join(dir, "gantry-agent")) // which the hook starts
	}
	if err != nil {
		return "", verdict.New(verdict.Configuration, "hook.sh and gantry-agent, which is executable, belong beside gantry; or name a hook with --hook",
			"the workflow has containers, and the hook for them cannot be started: %w", err)
	}
	return hook, nil
}

// checkHook says what is wrong with the hook that --hook names. It need not be executable: the runner starts a shell with
// it, or node.
func checkHook(flag, hook string) error {
	info, err := os.Stat(hook)
	switch {
	case err != nil:
		return &usageError{fmt.Errorf("reading --hook: %w", err)}
	case info.IsDir():
		return usagef("--hook %s is a folder, not a program", flag)
	case !slices.Contains([]string{".sh", ".js", ".ps1"}, filepath.Ext(hook)):
		return usagef("--hook %s: the runner starts .sh, .js and .ps1 files only", flag)
	case strings.ContainsAny(hook, " \t"):
		return usagef("--hook %s: the runner cannot start a hook whose path has a blank in it", hook)
	}
	if err := readable(hook); err != nil {
		return &usageError{fmt.Errorf("reading --hook: %w", err)}
	}
	return nil
}

func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

// hookEnviron is the environment of the run. The hook, which runs in another folder, reads the configuration that
// --config or the environment names.
func (p *Process) hookEnviron(configFlag string) []string {
	config := configFlag
	if config == "" {
		config = p.Getenv("GANTRY_CONFIG")
	}
	if config == "" {
		return p.Environ
	}
	return append(slices.Clone(p.Environ), "GANTRY_CONFIG="+p.abs(config))
}

// nodeFinder finds node in a folder of a runner's externals, or of a runner; or it is one program for every version.
func (p *Process) nodeFinder(program string) func(version string) (string, bool) {
	return func(version string) (string, bool) {
		if info, err := os.Stat(p.abs(program)); err == nil && info.IsDir() {
			for _, below := range []string{"", "externals"} {
				found := filepath.Join(p.abs(program), below, version, "bin/node")
				if _, err := exec.LookPath(found); err == nil {
					return found, true
				}
			}
			return "", false
		}
		found, err := exec.LookPath(program)
		if err != nil || strings.HasSuffix(version, "_alpine") {
			return "", false
		}
		return p.abs(found), true
	}
}

// engineProgram is what enters containers. Which engine the hook uses only the hook knows; this is the likely one.
func (p *Process) engineProgram(configFlag string) string {
	if cfg, err := p.loadConfig(configFlag); err == nil && cfg.Engine != "auto" {
		return cfg.Engine
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return "podman"
	}
	return "docker"
}

// start runs one job.
func (pl *play) start(ctx context.Context, j schedule.Job) (schedule.Outcome, error) {
	outcome, err := job.Run(ctx, pl.options, job.Job(j))
	if outcome.Kept != nil {
		pl.mu.Lock()
		pl.kept = append(pl.kept, keptJob{j.Name, outcome.Kept})
		pl.mu.Unlock()
	}
	return schedule.Outcome{Result: outcome.Result, Outputs: outcome.Outputs}, err
}

// do plays the workflow to its end.
func (pl *play) do(ctx context.Context, run *schedule.Run) error {
	soft, hard, stop := pl.cancellable(ctx)
	defer stop()
	run.Cancel = soft.Done()
	result, _, err := run.Do(hard)
	err = errors.Join(err, pl.after(), pl.wait(soft))
	switch {
	case err != nil:
		return err
	case result != jobevent.Success && result != jobevent.Skipped:
		return &exitError{exitNegative}
	}
	return nil
}

// cancellable gives a context that the first signal ends, and one that the second one ends: there are jobs that go on in
// spite of a cancel. Later ones change nothing: jobs are cleaned up first. The end of the terminal, or of who reads the
// log, counts as two at once; neither may end gantry before its containers are gone.
func (pl *play) cancellable(ctx context.Context) (soft, hard context.Context, stop func()) {
	hard, cancelHard := context.WithCancel(ctx)
	soft, cancelSoft := context.WithCancel(hard)
	over, lost := make(chan struct{}), make(chan os.Signal, 1)
	signal.Notify(lost, syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) { // it is below nohup
		signal.Notify(lost, syscall.SIGHUP)
	}
	go func() {
		for count := 0; ; {
			select {
			case <-over:
				return
			case <-lost:
				cancelHard()
				continue
			case <-pl.p.Signals:
			}
			text := "gantry: still cleaning up, nothing is to be left behind; this ends by itself"
			switch count++; count {
			case 1:
				cancelSoft()
				text = "gantry: cancelling: running steps are ended, then containers are removed"
			case 2:
				cancelHard()
				text = "gantry: still cleaning up; jobs with always() are cancelled now, too"
			}
			fmt.Fprintln(pl.p.Stderr, text)
		}
	}()
	return soft, hard, func() { cancelHard(); signal.Stop(lost); close(over) }
}

// wait tells how to enter the containers that were kept, and removes them when their time is over, or with Ctrl-C.
func (pl *play) wait(ctx context.Context) error {
	if len(pl.kept) == 0 {
		return nil
	}
	w := pl.p.Stderr
	for _, k := range pl.kept {
		fmt.Fprintf(w, "gantry: containers of %s are kept; its work folder is %s\n", k.name, k.Dirs.Work)
		tellEnter(w, pl.engine, "the job", k.Container)
		for name, id := range k.Services {
			tellEnter(w, pl.engine, "service "+name, id)
		}
	}
	fmt.Fprintf(w, "gantry: they are removed in %v, or with Ctrl-C\n", pl.keep)
	timer := time.NewTimer(pl.keep)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), keptCleanup)
	defer cancel()
	var errs []error
	for _, k := range pl.kept {
		errs = append(errs, k.Cleanup(clean))
	}
	return errors.Join(errs...)
}

func tellEnter(w io.Writer, engine, what, id string) {
	if id != "" {
		fmt.Fprintf(w, "  %s exec -it %s sh   # %s\n", engine, id, what)
	}
}

// close removes the folder of the run.
func (pl *play) close() {
	if err := pl.dir.Remove(); err != nil {
		fmt.Fprintf(pl.p.Stderr, "gantry: the run's folder stays: %v\n", err)
	}
}

// colors says whether what is printed is seen by a person who may like colours.
func (p *Process) colors() bool {
	file, ok := p.Stdout.(*os.File)
	if !ok || p.Getenv("NO_COLOR") != "" || p.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

func createFile(path string) (*os.File, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "name another file with --report", "%w", err)
	}
	return file, nil
}
