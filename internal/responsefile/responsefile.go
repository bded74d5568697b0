// Package responsefile opens the runner's response files, which lie where jobs can write.
package responsefile

import (
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/safefs"
)

// Opener gives hook.ServeOptions.OpenResponse for a runner with this _work folder ("" if it is not known). Below
// the folder no link is followed at all; elsewhere the last component must not be one.
func Opener(work string) func(path string, flag int, perm os.FileMode) (*os.File, error) {
	return func(path string, flag int, perm os.FileMode) (*os.File, error) {
		base, rel := filepath.Split(path)
		if below, ok := safefs.Rel(work, path); work != "" && ok {
			base, rel = work, below
		}
		return safefs.OpenFile(base, rel, flag, perm)
	}
}
