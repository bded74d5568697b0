package cli

import "github.com/spf13/cobra"

// commands are all commands of the program.
func commands(p *Process) []*cobra.Command {
	return []*cobra.Command{
		newInstallCmd(p),
		newHookCmd(p),
		newEndProcessesCmd(p),
		newGuardBuildCmd(p),
		newDoctorCmd(p),
		newGCCmd(p),
		newRunCmd(p),
		newReplayCmd(p),
		newConformCmd(p),
		newConfigCmd(p),
		newRBACCmd(p),
		newRenderCmd(p),
		newVersionCmd(p),
	}
}
