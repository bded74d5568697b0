package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/podspec/template"
)

// configOptions are the flags of `gantry config`.
type configOptions struct {
	file        string // --config
	runner      string
	show, check bool
}

func newConfigCmd(p *Process) *cobra.Command {
	var o configOptions
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration that is in force, or what is wrong with it",
		Example: `  gantry config --runner ~/actions-runner
  gantry config --check --config ./gantry.yaml`,
		Long: `The configuration is gantry.yaml with the environment's GANTRY_ variables above it. The hook has the runner's
environment: with a runner, given or found, the lines of its .env file count too. A pod template that it names is
read, too.`,
		Args:        onlyFlags,
		Annotations: exits("the configuration is valid", "it is not"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.file = cmd.Flag("config").Value.String()
			return runConfig(p, o)
		},
	}
	cmd.Flags().StringVar(&o.runner, "runner", "", "the runner whose hook is meant: its application directory")
	cmd.Flags().BoolVar(&o.show, "show", false, "print every key with its value (the default)")
	cmd.Flags().BoolVar(&o.check, "check", false, "print problems only")
	return cmd
}

func runConfig(p *Process, o configOptions) error {
	if o.show && o.check {
		return usagef("--show and --check exclude each other")
	}
	place, err := p.place(o.runner)
	if err != nil {
		return err
	}
	sources := place.sources(o.file)
	file := sources.Find()
	from := "no gantry.yaml: defaults and environment variables"
	if file != "" {
		from = file
	}
	cfg, err := config.Load(sources)
	var problems config.Problems
	if err == nil {
		_, problems = template.Load(cfg.Kubernetes.Template, os.ReadFile)
	}
	if errors.As(err, &problems) || len(problems) > 0 {
		for _, problem := range problems {
			fmt.Fprintln(p.Stdout, problem)
		}
		fmt.Fprintf(p.Stderr, "gantry: the configuration is not valid (%s)\n", from)
		return &exitError{exitNegative}
	}
	fmt.Fprintf(p.Stderr, "configuration: %s\n", from)
	if err != nil || o.check {
		return err
	}
	text, err := cfg.Effective()
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(text)
	return err
}
