// Package install puts the hook where a runner can use it and no job can reach it, tells the runner, and takes both
// back.
package install

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Options say what to install where.
type Options struct {
	Runner *runnerdir.Runner
	// HookDir is where the hook is to lie, absolute. It may be shared by several runners. For Uninstall, "" is the
	// folder that the runner's .env file names.
	HookDir string
	// Source is the folder of the programs. If it is HookDir, they are there already.
	Source string
	// Engine, if not "", is set for this runner.
	Engine string
}

// Report is what was done. Every entry is a sentence.
type Report struct {
	Done     []string
	Warnings []string
	Hook     string // what the runner calls now; "" after Uninstall
}

func (r *Report) did(format string, args ...any) {
	r.Done = append(r.Done, fmt.Sprintf(format, args...))
}

// Install is idempotent. It changes the runner's .env file last, when the hook is known to run on this machine.
func Install(ctx context.Context, o Options) (*Report, error) {
	report := &Report{Hook: filepath.Join(o.HookDir, shimName)}
	if err := check(o, report.Hook); err != nil {
		return nil, err
	}
	if err := putFiles(o, report); err != nil {
		return nil, fileVerdict(o, err)
	}
	report.Warnings = Misgivings(o.HookDir, o.Runner)
	if err := tryAgent(ctx, filepath.Join(o.HookDir, agentName)); err != nil {
		return nil, err
	}
	env, err := runnerdir.ReadEnv(o.Runner.EnvPath())
	if err != nil {
		return nil, err
	}
	e := &edit{lines: env.Lines(), ours: func(hook string) bool { return isGantrys(hook, report.Hook) }}
	changed := e.installed(report.Hook, o.Runner.Dir, o.Engine)
	return report, o.save(report, env, changed, e.notes)
}

// Uninstall takes the hook out of the runner's .env file, and removes the programs if no other runner uses them.
func Uninstall(o Options) (*Report, error) {
	report := &Report{}
	env, err := runnerdir.ReadEnv(o.Runner.EnvPath())
	if err != nil {
		return nil, err
	}
	hook, _ := env.Get(HookVariable)
	if o.HookDir == "" && isGantrys(hook, "") {
		o.HookDir = filepath.Dir(hook)
	}
	installed := filepath.Join(o.HookDir, shimName)
	e := &edit{lines: env.Lines(), ours: func(hook string) bool { return isGantrys(hook, installed) }}
	changed := e.uninstalled()
	if err := o.save(report, env, changed, e.notes); err != nil {
		return nil, err
	}
	if o.HookDir == "" {
		return report, nil
	}
	return report, o.takeFiles(report)
}

// check refuses what cannot work.
func check(o Options, hook string) error {
	if err := CheckPath(hook); err != nil {
		return err
	}
	if Within(o.HookDir, o.Runner.Dir) {
		return verdict.New(verdict.Configuration, "choose a folder outside of it, with --hook-dir",
			"%s lies in the runner's application directory, which the runner replaces when it updates itself", o.HookDir)
	}
	for _, name := range programs() {
		if !isFile(filepath.Join(o.Source, name)) {
			return verdict.New(verdict.Configuration, "gantry, gantry-agent and hook.sh belong into one folder: `make build` puts them into bin",
				"there is no %s beside this program, in %s", name, o.Source)
		}
	}
	return nil
}

func putFiles(o Options, report *Report) error {
	l, err := readList(o.HookDir)
	if err != nil {
		return err
	}
	if real(o.Source) != real(o.HookDir) {
		changed, err := copyPrograms(o.Source, o.HookDir)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			report.did("put %s into %s", strings.Join(changed, ", "), o.HookDir)
		}
		for _, name := range programs() {
			l.Files = with(l.Files, name)
		}
	}
	l.Runners = with(l.Runners, o.Runner.Dir)
	return l.write(o.HookDir)
}

// takeFiles forgets the runner, and removes the programs with the last one.
func (o Options) takeFiles(report *Report) error {
	l, err := readList(o.HookDir)
	if err != nil {
		return err
	}
	if !slices.Contains(l.Runners, o.Runner.Dir) {
		return nil
	}
	l.Runners = slices.DeleteFunc(l.Runners, func(dir string) bool { return dir == o.Runner.Dir || !uses(dir, o.HookDir) })
	if len(l.Runners) > 0 {
		report.did("kept %s: %s uses it", o.HookDir, strings.Join(l.Runners, ", "))
		return l.write(o.HookDir)
	}
	gone, err := removeFiles(o.HookDir, l)
	switch {
	case err != nil:
		return fileVerdict(o, err)
	case gone:
		report.did("removed %s", o.HookDir)
	default:
		report.did("removed %s from %s; the folder stays, there are other files in it", strings.Join(l.Files, ", "), o.HookDir)
	}
	return nil
}

// uses tells whether a runner still calls the hook in a folder.
func uses(runner, hookDir string) bool {
	env, err := runnerdir.ReadEnv(filepath.Join(runner, ".env"))
	if err != nil {
		return true // it cannot be told
	}
	hook, _ := env.Get(HookVariable)
	return filepath.Dir(hook) == hookDir
}

// save writes the .env file if it has changed.
func (o Options) save(report *Report, before, after runnerdir.Env, notes []string) error {
	for _, note := range notes {
		if warning, ok := strings.CutPrefix(note, "warning: "); ok {
			report.Warnings = append(report.Warnings, warning)
		} else {
			report.did("%s: %s", o.Runner.EnvPath(), note)
		}
	}
	if before.String() == after.String() {
		return nil
	}
	return fileVerdict(o, o.Runner.Write(after))
}

// tryAgent starts the program that the runner will start: on a file system without programs, or on another
// machine's architecture, it is better to know now.
func tryAgent(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").CombinedOutput()
	if err == nil {
		return nil
	}
	v := verdict.New(verdict.Infrastructure, "is the file system mounted with noexec, or are these programs for another architecture?",
		"the installed program %s cannot be started: %w", path, err)
	v.Output = string(out)
	return v
}

// fileVerdict says whose problem a file is that cannot be written.
func fileVerdict(o Options, err error) error {
	var v *verdict.Error
	if err == nil || errors.As(err, &v) {
		return err
	}
	return verdict.New(verdict.Configuration, fmt.Sprintf("run this as root, or as the runner's user (uid %d) with a folder of its own as --hook-dir", o.Runner.UID), "%w", err)
}
