package cli

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// newEndProcessesCmd is for the fast path of the hook, which cannot ask an engine for anything.
func newEndProcessesCmd(p *Process) *cobra.Command {
	return &cobra.Command{
		Use:    "end-processes PID...",
		Short:  "End processes of another user in the job container (started by the hook)",
		Long:   "Reads the command of the step that they belong to from standard input, as the hook does.",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEndProcesses(cmd.Context(), p, cmd.Flag("config").Value.String(), args)
		},
	}
}

func runEndProcesses(ctx context.Context, p *Process, configFlag string, args []string) error {
	var pids []int
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return &usageError{err}
		}
		pids = append(pids, pid)
	}
	in, err := hook.ReadInput(p.Stdin)
	if err != nil {
		return verdict.Protocol(err)
	}
	cfg, err := p.loadConfig(configFlag)
	if err != nil {
		return err
	}
	h, err := p.newHandler(ctx, cfg, in, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return h.EndSurvivors(ctx, in.State, pids)
}
