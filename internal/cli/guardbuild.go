package cli

import (
	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// guardBuild is the command's name, for the hook to start.
const guardBuild = "guard-build"

// newGuardBuildCmd is for hooks that build an image without an engine, and may be killed meanwhile.
func newGuardBuildCmd(p *Process) *cobra.Command {
	return &cobra.Command{
		Use:    guardBuild,
		Short:  "Run the programs of an image build (started by the hook)",
		Long:   "Reads what to run from standard input, and ends it all when that ends.",
		Hidden: true,
		Args:   onlyFlags,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := buildguard.Run(cmd.Context(), p.Stdin, p.Stdout, p.Stderr); err != nil {
				return verdict.New(verdict.Bug, "", "%w", err)
			}
			return nil
		},
	}
}
