package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/console"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/report"
	"github.com/gantry-ci/gantry/internal/schedule"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// runOptions are the flags of `gantry run`.
type runOptions struct {
	workflow                                 string // "" for the only one
	jobs, inputs, secrets, vars, env, matrix []string
	rewrite                                  []string
	hook, secretFile, event, report, record  string
	actionsDir, serverURL, node              string
	list, dryRun, json, debug                bool
	keep                                     time.Duration
	parallel                                 int
}

func newRunCmd(p *Process) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [WORKFLOW.yml]",
		Short: "Run the jobs of a workflow file on this machine, as the runner would",
		Example: `  gantry run
  gantry run .github/workflows/ci.yml --job test --matrix node=22
  gantry run ci.yml --secret NPM_TOKEN --report ci.html`,
		Long: `Containers are the matter of a container hook, which is called as the runner calls it: gantry itself, or any other
with --hook. Jobs without a container run on this machine. Without WORKFLOW.yml it is the only file in .github/workflows.
A value of --secret that is not given is taken from the environment.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("run takes one workflow, not %d", len(args))
			}
			return nil
		},
		Annotations: map[string]string{exitStatuses: "0 all jobs succeeded, 1 one did not, 2 wrong usage or workflow, 3 gantry could not run it."},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.workflow = args[0]
			}
			if err := o.check(p, cmd.Flags().Changed("node")); err != nil {
				return err
			}
			return runRun(cmd.Context(), p, o, cmd.Flag("config").Value.String())
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *runOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.jobs, "job", "j", nil, "run only the job with this id and what it needs; may be given several times")
	f.StringVar(&o.hook, "hook", "", "the hook program: a .sh, .js or .ps1 file (default: hook.sh beside gantry)")
	f.StringArrayVar(&o.inputs, "input", nil, "an input of workflow_dispatch: NAME=VALUE")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret: NAME=VALUE, or NAME to take it from the environment")
	f.StringVar(&o.secretFile, "secret-file", "", "file with secrets, NAME=VALUE on each line")
	f.StringArrayVar(&o.vars, "var", nil, "a variable of the context vars: NAME=VALUE")
	f.StringArrayVar(&o.env, "env", nil, "an environment variable of all jobs: NAME=VALUE")
	f.StringArrayVar(&o.matrix, "matrix", nil, "run only combinations with this value: NAME=VALUE")
	f.StringVar(&o.event, "event", "", "JSON file for github.event")
	f.BoolVarP(&o.list, "list", "l", false, "list the jobs and run nothing")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "show the plan and run nothing")
	f.BoolVar(&o.json, "json", false, "print events as JSON, one a line, in place of the log")
	f.StringVar(&o.report, "report", "", "write a page of HTML about the run into this file")
	f.StringVar(&o.actionsDir, "actions-dir", "", "folder with actions, as OWNER/REPO/REF")
	f.StringVar(&o.serverURL, "server-url", "", "git server for actions that --actions-dir lacks, such as https://github.com")
	f.StringVar(&o.node, "node", "node", "program for JavaScript actions and .js hooks, or a runner's folder of externals")
	f.StringArrayVar(&o.rewrite, "image-rewrite", nil, "use another image: IMAGE=OTHER")
	f.DurationVar(&o.keep, "keep-on-failure", 0, "keep the containers of failed jobs for so long, such as 30m")
	f.StringVar(&o.record, "record", "", "folder to record the hook calls in, for `gantry replay`")
	f.IntVar(&o.parallel, "jobs", runtime.NumCPU(), "how many jobs run at the same time")
	f.BoolVar(&o.debug, "debug", false, "show debug lines, as with step debug logging")
}

// check finds mistakes that would show only in the middle of a run, or at its end.
func (o *runOptions) check(p *Process, nodeGiven bool) error {
	var problems []error
	if o.parallel < 1 {
		problems = append(problems, errors.New("--jobs takes a number from 1"))
	}
	if o.keep < 0 {
		problems = append(problems, errors.New("--keep-on-failure takes a time from now on"))
	}
	if o.actionsDir != "" {
		if info, err := os.Stat(p.abs(o.actionsDir)); err != nil || !info.IsDir() {
			problems = append(problems, fmt.Errorf("--actions-dir %s is no folder", o.actionsDir))
		}
	}
	if nodeGiven {
		if _, ok := p.nodeFinder(o.node)("node20"); !ok {
			problems = append(problems, fmt.Errorf("--node %s is no program, and no folder with node20/bin/node", o.node))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return &usageError{err}
	}
	return nil
}

func runRun(ctx context.Context, p *Process, o runOptions, configFlag string) error {
	source, err := p.findSource(ctx, o.workflow)
	if err != nil {
		return err
	}
	w, err := p.loadWorkflow(source)
	if err != nil {
		return err
	}
	jobs, err := w.Select(o.jobs...)
	if err != nil {
		return &usageError{err}
	}
	if o.list {
		return p.listJobs(jobs)
	}
	chosen := workflow.Selection{Jobs: jobs}
	chosen.Matrix, err = parsePairs("--matrix", o.matrix)
	if err := errors.Join(err, chosen.Check()); err != nil {
		return &usageError{fmt.Errorf("reading --matrix: %w", err)}
	}
	if o.dryRun {
		return workflow.Describe(p.Stdout, w, chosen)
	}
	values, err := p.runValues(o, w, source)
	if err != nil {
		return err
	}
	p.cleanUpAfterKilled(ctx, p.hookEnviron(configFlag))
	play, err := p.newPlay(o, source, jobs, values, configFlag)
	if err != nil {
		return err
	}
	defer play.close()
	return play.do(ctx, &schedule.Run{
		Workflow: w, Jobs: jobs, Github: values.context(), Vars: textMap(values.vars), Inputs: values.inputs, Secrets: values.secrets,
		Matrix: chosen.Matrix, Limit: o.parallel, Start: play.start, Sink: play.sink,
	})
}

// loadWorkflow reads the workflow and shows what is wrong with it, and what of it has no effect here.
func (p *Process) loadWorkflow(s *source) (*workflow.Workflow, error) {
	w, findings, err := workflow.Load(s.files, s.file)
	if err != nil {
		return nil, &usageError{fmt.Errorf("reading the workflow: %w", err)}
	}
	for _, f := range findings {
		fmt.Fprintln(p.Stderr, f.Render())
	}
	if workflow.Blocking(findings) {
		fmt.Fprintf(p.Stderr, "gantry: %s cannot be run\n", s.file)
		return nil, &exitError{exitUsage}
	}
	for _, note := range w.Ignored {
		fmt.Fprintf(p.Stderr, "%s:%d:%d: note: %s has no effect here\n", note.File, note.Pos.Line, note.Pos.Col, note.Key)
	}
	return w, nil
}

func (p *Process) listJobs(jobs []*workflow.Job) error {
	t := newTable("JOB", "NAME", "NEEDS", "RUNS")
	for _, j := range jobs {
		needs := ""
		for i, n := range j.Needs {
			if i > 0 {
				needs += ", "
			}
			needs += n.ID
		}
		t.row(j.ID, j.Name.Raw, needs, whatRuns(j))
	}
	return t.print(p.Stdout)
}

// whatRuns says where a job's steps run.
func whatRuns(j *workflow.Job) string {
	matrix := ""
	if j.Strategy.Matrix != nil {
		matrix = ", with a matrix"
	}
	switch {
	case j.Call != nil:
		return j.Call.Path + matrix
	case j.Container == nil:
		return "on this machine" + matrix
	case j.Container.Image.Written():
		return "in " + j.Container.Image.Raw + matrix
	}
	return "in " + j.Container.Expr.Raw + matrix
}

// audience makes the sinks of a run, and what is to be done when it is over.
func (p *Process) audience(o runOptions, hook string) (sink jobevent.Sink, after func() error, err error) {
	var sinks []jobevent.Sink
	end := func() {}
	if o.json {
		sinks = append(sinks, console.JSON(p.Stdout))
	} else {
		log := console.New(p.Stdout, console.Options{Colors: p.colors(), Debug: o.debug, Hide: "Run '" + hook + "'"})
		sinks, end = append(sinks, log), log.Summary
	}
	if o.report == "" {
		return jobevent.Tee(sinks...), func() error { end(); return nil }, nil
	}
	file, err := createFile(p.abs(o.report)) // now, so that nobody waits for a page that cannot be written
	if err != nil {
		return nil, nil, err
	}
	page := &report.Collector{}
	return jobevent.Tee(append(sinks, page)...), func() error {
		end()
		if err := errors.Join(page.Write(file), file.Close()); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		return nil
	}, nil
}
