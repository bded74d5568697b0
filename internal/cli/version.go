package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCmd(p *Process) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  gantry version",
		Args:    onlyFlags,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.Stdout, "gantry %s %s/%s %s\n", p.Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
