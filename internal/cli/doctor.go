package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/engine"
)

// doctorOptions are the flags of `gantry doctor`.
type doctorOptions struct {
	config, runner string
	json           bool
}

func newDoctorCmd(p *Process) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine whether this machine and a runner are set up well, with a real job at the end",
		Example: `  gantry doctor --runner ~/actions-runner
  gantry doctor --json | jq '.findings[] | select(.status == "fail")'`,
		Long: `Run it as the runner's user. Every finding has a code, says whose problem it is and what to do next. The job at the
end needs no registry: it is played through the hook, beside whatever the runner does, and leaves nothing.
Without --runner the runner is looked for by GANTRY_RUNNER_DIR, above the current directory, and by RUNNER_TEMP.`,
		Args:        onlyFlags,
		Annotations: exits("nothing has failed", "a check has failed"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = cmd.Flag("config").Value.String()
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			return runDoctor(ctx, p, o)
		},
	}
	cmd.Flags().StringVar(&o.runner, "runner", "", "the runner's application directory")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the findings as JSON")
	return cmd
}

// interruptible gives a ctx that a signal ends.
func (p *Process) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.Signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func runDoctor(ctx context.Context, p *Process, o doctorOptions) error {
	subject, err := p.subject(o)
	if err != nil {
		return err
	}
	findings := []doctor.Finding{}
	doctor.Examine(ctx, *subject, func(f doctor.Finding) {
		findings = append(findings, f)
		if !o.json && !f.Elsewhere {
			writeFinding(p.Stdout, f)
		}
	})
	if o.json {
		if err := writeFindings(p.Stdout, p.Version, findings); err != nil {
			return err
		}
	}
	count := map[doctor.Status]int{}
	for _, f := range findings {
		count[f.Status]++
	}
	fmt.Fprintf(p.Stderr, "gantry: %d ok, %d warnings, %d failures, %d skipped\n",
		count[doctor.OK], count[doctor.Warn], count[doctor.Fail], count[doctor.Skipped])
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("examining the machine: %w", context.Cause(ctx))
	case count[doctor.Fail] > 0:
		return &exitError{exitNegative}
	}
	return nil
}

// subject gathers what is to be examined.
func (p *Process) subject(o doctorOptions) (*doctor.Subject, error) {
	place, err := p.place(o.runner)
	if err != nil {
		return nil, err
	}
	sources := place.sources(o.config)
	cfg, cfgErr := config.Load(sources)
	temp := p.Getenv("TMPDIR")
	if temp == "" {
		temp = "/tmp"
	}
	return &doctor.Subject{
		Runner: place.runner, Environ: place.environ, UID: p.UID,
		ProgramDir: filepath.Dir(p.Executable),
		Config:     cfg, ConfigErr: cfgErr, ConfigFile: sources.Find(),
		StateDir: p.stateDir(cfg), TempDir: temp,
		OpenEngine: func(ctx context.Context) (engine.Engine, error) {
			return p.engine(ctx, cfg, place.environ, place.work(), slog.New(slog.DiscardHandler))
		},
	}, nil
}

// writeFinding prints a line, and what to do about it if there is something to do.
func writeFinding(w io.Writer, f doctor.Finding) {
	indent := strings.Repeat(" ", 14)
	mark := string(f.Status)
	if f.Status == doctor.Fail {
		mark = "FAIL"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-7s %s: %s\n", f.Code, mark, f.Title, strings.ReplaceAll(strings.TrimSpace(f.Detail), "\n", "\n"+indent))
	if f.Whose != "" {
		fmt.Fprintf(&b, "%swhose problem: %s\n", indent, f.Whose)
	}
	if f.NextStep != "" {
		fmt.Fprintf(&b, "%snext step: %s\n", indent, strings.ReplaceAll(f.NextStep, "\n", "\n"+indent))
	}
	io.WriteString(w, b.String())
}

func writeFindings(w io.Writer, version string, findings []doctor.Finding) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Gantry   string           `json:"gantry"`
		Findings []doctor.Finding `json:"findings"`
	}{version, findings})
}
