package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gantry-ci/gantry/internal/install"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func checkConfig(_ context.Context, e *exam) Finding {
	from := "no gantry.yaml: defaults and environment variables"
	if e.ConfigFile != "" {
		from = e.ConfigFile
	}
	if e.ConfigErr != nil {
		return fail(verdict.Configuration, "correct these lines; `gantry config --check` reads them again", "%v", e.ConfigErr)
	}
	return ok("%s", from)
}

// checkState looks at the folder of job records, or at where it would be made.
func checkState(_ context.Context, e *exam) Finding {
	const next = "set GANTRY_STATE_DIR in the runner's .env file to a folder that only the runner's user can write, outside of _work"
	if e.Runner != nil && install.Within(e.StateDir, e.Runner.Work) {
		return fail(verdict.Configuration, next, "%s lies in the work folder, where jobs can write", e.StateDir)
	}
	info, err := os.Stat(e.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		parent := existing(e.StateDir)
		if err := syscall.Access(parent, 2); err != nil {
			return fail(verdict.Configuration, next, "%s cannot be made: no permission to write to %s", e.StateDir, parent)
		}
		return ok("%s will be made by the first job", e.StateDir)
	}
	if err != nil {
		return fail(verdict.Configuration, next, "%v", err)
	}
	sys, isStat := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fail(verdict.Configuration, next, "%s is not a folder", e.StateDir)
	case isStat && int(sys.Uid) != e.UID:
		return fail(verdict.Configuration, next, "%s belongs to user %d, not to %d", e.StateDir, sys.Uid, e.UID)
	case info.Mode().Perm()&0o022 != 0:
		return fail(verdict.Configuration, "chmod 700 "+e.StateDir, "%s can be written by other users", e.StateDir)
	}
	return ok("%s is private", e.StateDir)
}

// existing is the nearest folder above a path that is there, or the path itself.
func existing(path string) string {
	for _, dir := range runnerdir.Above(filepath.Clean(path)) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return "/"
}
