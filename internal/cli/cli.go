// Package cli is gantry's command line: one file for each command.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/verdict"
)

// Exit statuses of commands for people. The hook command exits with the status of the user's program.
const (
	exitFine     = 0
	exitNegative = 1 // the answer is no: a finding, a leftover, a difference
	exitUsage    = 2
	exitCouldNot = 3
)

// Process is everything that commands may know of the process they run in.
type Process struct {
	Args       []string // without the program's name
	Environ    []string
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	Executable string // absolute path of the running program
	Dir        string // the current directory
	Version    string
	UID, GID   int
	Now        func() time.Time
	// Signals delivers SIGINT and SIGTERM.
	Signals <-chan os.Signal
}

// Getenv is like os.Getenv, of Environ.
func (p *Process) Getenv(name string) string {
	value := ""
	for _, kv := range p.Environ {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			value = kv[len(name)+1:]
		}
	}
	return value
}

// exitError carries an exit status that has been explained already.
type exitError struct{ code int }

func (e *exitError) Error() string { return "" }

// Main runs the command that p.Args name and returns the exit status. It prints errors.
func Main(ctx context.Context, p *Process) (code int) {
	defer func() {
		if broken := recover(); broken != nil {
			verdict.Print(p.Stderr, verdict.Panicked(broken))
			code = exitCouldNot
		}
	}()
	root := newRoot(p)
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	asked, err := root.ExecuteContextC(ctx)
	var exit *exitError
	var usage *usageError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		io.WriteString(p.Stderr, "gantry: "+usage.Error()+"\nhint: see `"+asked.CommandPath()+" --help`\n")
		return exitUsage
	}
	verdict.Print(p.Stderr, err)
	return exitCouldNot
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func newRoot(p *Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "gantry",
		Short: "Run the container work of GitHub Actions jobs on your own machines, with Docker, Podman or Kubernetes",
		Example: `  gantry install --runner ~/actions-runner
  gantry doctor --runner ~/actions-runner`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              onlyFlags,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd, p.Stdout) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().String("config", "", "configuration file (default: $GANTRY_CONFIG, gantry.yaml beside the hook, /etc/gantry/gantry.yaml)")
	root.AddCommand(commands(p)...)
	return root
}
