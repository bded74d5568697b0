package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/install"
	"github.com/gantry-ci/gantry/internal/runnerdir"
)

// installOptions are the flags of `gantry install`.
type installOptions struct {
	runner, engine, hookDir string
	uninstall               bool
}

func newInstallCmd(p *Process) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install --runner DIR",
		Short: "Put the hook into a runner, or take it out again",
		Example: `  gantry install --runner ~/actions-runner
  gantry install --runner ~/actions-runner --engine podman
  gantry install --runner ~/actions-runner --uninstall`,
		Long: `The programs go into a folder outside the runner's application directory, where neither the runner's updates nor
jobs reach them; several runners may share it. The runner is told by lines in its .env file.`,
		Args:        onlyFlags,
		Annotations: map[string]string{exitStatuses: "0 done, or there was nothing to do, 2 wrong usage, 3 gantry could not do it."},
		RunE:        func(cmd *cobra.Command, _ []string) error { return runInstall(cmd.Context(), p, o) },
	}
	cmd.Flags().StringVar(&o.runner, "runner", "", "the runner's application directory, where config.sh is")
	cmd.Flags().StringVar(&o.engine, "engine", "", "docker or podman, if the runner is not to choose by itself")
	cmd.Flags().StringVar(&o.hookDir, "hook-dir", "", "folder for the programs (default: "+p.defaultHookDir()+")")
	cmd.Flags().BoolVar(&o.uninstall, "uninstall", false, "take the hook out of the runner, and remove the programs with the last one")
	return cmd
}

// defaultHookDir survives updates of the runner, and can be reached by its user.
func (p *Process) defaultHookDir() string {
	switch {
	case p.UID == 0:
		return "/opt/gantry"
	case p.Getenv("XDG_DATA_HOME") != "":
		return filepath.Join(p.Getenv("XDG_DATA_HOME"), "gantry")
	}
	return filepath.Join(p.Getenv("HOME"), ".local/share/gantry")
}

func runInstall(ctx context.Context, p *Process, o installOptions) error {
	if o.runner == "" {
		return usagef("install needs --runner DIR, the runner's application directory")
	}
	if o.engine != "" && o.engine != "docker" && o.engine != "podman" {
		return usagef("--engine is docker or podman, not %q", o.engine)
	}
	runner, err := p.findRunner(o.runner)
	if err != nil {
		return err
	}
	opts := install.Options{Runner: runner, HookDir: o.hookDir, Source: filepath.Dir(p.Executable), Engine: o.engine}
	if o.hookDir != "" {
		opts.HookDir = p.abs(o.hookDir)
	}
	if o.uninstall {
		return p.uninstall(opts)
	}
	if opts.HookDir == "" {
		opts.HookDir = p.defaultHookDir()
	}
	report, err := install.Install(ctx, opts)
	if err != nil {
		return err
	}
	p.tellReport(report, "nothing to do: the hook is installed")
	p.tellNext(runner, opts.HookDir, len(report.Done) > 0)
	return nil
}

func (p *Process) uninstall(opts install.Options) error {
	report, err := install.Uninstall(opts)
	if err != nil {
		return err
	}
	p.tellReport(report, "nothing to do: the hook is not installed")
	if len(report.Done) > 0 {
		fmt.Fprintf(p.Stdout, "\nNext: %s\n", restart(opts.Runner))
	}
	return nil
}

func (p *Process) tellReport(report *install.Report, nothing string) {
	for _, line := range report.Done {
		fmt.Fprintln(p.Stdout, line)
	}
	if len(report.Done) == 0 {
		fmt.Fprintln(p.Stdout, nothing)
	}
	for _, warning := range report.Warnings {
		fmt.Fprintf(p.Stderr, "gantry: warning: %s\n", warning)
	}
}

// tellNext says what is left to do.
func (p *Process) tellNext(runner *runnerdir.Runner, hookDir string, changed bool) {
	var steps []string
	if !runner.Configured {
		steps = append(steps, fmt.Sprintf("configure the runner: cd %s && ./config.sh --url … --token …", runner.Dir))
	}
	if changed {
		steps = append(steps, restart(runner))
	}
	steps = append(steps, fmt.Sprintf("as the runner's user: %s/gantry doctor --runner %s", hookDir, runner.Dir))
	fmt.Fprintln(p.Stdout, "\nNext:")
	for i, step := range steps {
		fmt.Fprintf(p.Stdout, "  %d. %s\n", i+1, step)
	}
}

// restart says how to make the runner read its .env file.
func restart(runner *runnerdir.Runner) string {
	if runner.Service != "" {
		return fmt.Sprintf("restart the runner's service: cd %s && sudo ./svc.sh stop && sudo ./svc.sh start", runner.Dir)
	}
	return "end run.sh and start it again (as a service: sudo ./svc.sh stop && sudo ./svc.sh start)"
}

// abs makes a path absolute, from the current directory of the process.
func (p *Process) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}
