package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/gc"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// gcOptions are the flags of `gantry gc`.
type gcOptions struct {
	config, runner      string
	dryRun, images, all bool
	olderThan           time.Duration
}

func newGCCmd(p *Process) *cobra.Command {
	var o gcOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what jobs that are over have left behind",
		Example: `  gantry gc --dry-run
  gantry gc --images --older-than 168h`,
		Long: `Removes containers and networks of jobs whose runner has ended them or died, folders of gantry's agents in work
folders, job records, and folders of runs (gantry run) that were killed. Only jobs of this user's state folder are judged. The hook itself removes what a job leaves
at its end and before the next one; this is for what a machine that crashed or a runner that was removed left.`,
		Args:        onlyFlags,
		Annotations: exits("nothing is left that could go", "something could not be removed"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = cmd.Flag("config").Value.String()
			if cmd.Flags().Changed("older-than") && !o.images {
				return usagef("--older-than is for images: give --images too")
			}
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			return runGC(ctx, p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.runner, "runner", "", "the runner's application directory, to look into its work folder and .env file too")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "only show what would be removed")
	f.BoolVar(&o.images, "images", false, "also images that were built for Dockerfile actions and are not in use")
	f.DurationVar(&o.olderThan, "older-than", 7*24*time.Hour, "with --images: only those built so long ago")
	f.BoolVar(&o.all, "all", false, "everything of gantry's on this engine, also of RUNNING jobs and of other users")
	return cmd
}

func runGC(ctx context.Context, p *Process, o gcOptions) error {
	place, err := p.place(o.runner)
	if err != nil {
		return err
	}
	cfg, err := loadFrom(place.sources(o.config))
	if err != nil {
		return err
	}
	eng, err := p.engine(ctx, cfg, place.environ, place.work(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	var works []string
	if place.runner != nil {
		works = append(works, place.runner.Work)
	}
	collector := &gc.Collector{
		Engine: eng, Leftovers: p.bareHandler(cfg, eng, "").Leftovers, Store: jobrecord.Store{Dir: p.stateDir(cfg)},
		TempDir: p.tempDir(), UID: p.UID, Works: works, Now: p.Now(), All: o.all, Images: o.images, OlderThan: o.olderThan,
	}
	items, err := collector.Find(ctx)
	if err != nil {
		return err
	}
	if o.dryRun {
		return p.tellItems(items)
	}
	return p.tellOutcomes(gc.Remove(ctx, items))
}

func (p *Process) tellItems(items []gc.Item) error {
	t := newTable("KIND", "NAME", "AGE")
	for _, item := range items {
		t.row(item.Kind, item.Name, age(p.Now(), item.Created))
	}
	if len(items) == 0 {
		fmt.Fprintln(p.Stderr, "gantry: nothing is left over")
		return nil
	}
	fmt.Fprintf(p.Stderr, "gantry: %d things would be removed\n", len(items))
	return t.print(p.Stdout)
}

func (p *Process) tellOutcomes(outcomes []gc.Outcome) error {
	t := newTable("KIND", "NAME", "AGE", "OUTCOME")
	var failed []gc.Outcome
	for _, o := range outcomes {
		word := "removed"
		switch {
		case o.Kept:
			word = "in use, kept"
		case o.Err != nil:
			word = "could not be removed"
			failed = append(failed, o)
		}
		t.row(o.Kind, o.Name, age(p.Now(), o.Created), word)
	}
	if len(outcomes) == 0 {
		fmt.Fprintln(p.Stderr, "gantry: nothing is left over")
		return nil
	}
	if err := t.print(p.Stdout); err != nil {
		return err
	}
	for _, o := range failed {
		verdict.Print(p.Stderr, fmt.Errorf("removing %s %s: %w", o.Kind, o.Name, o.Err))
	}
	if len(failed) > 0 {
		return &exitError{exitNegative}
	}
	return nil
}

// age is how long ago something was made, in its largest unit.
func age(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "?"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
}
