package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/job"
	"github.com/gantry-ci/gantry/internal/rundir"
)

// tempDir is where folders of runs are made.
func (p *Process) tempDir() string {
	if dir := p.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/tmp"
}

// cleanUpAfterKilled does what runs have not done that were killed: it calls cleanup_job for their jobs, and removes
// their folders. What does not succeed is told, and hinders nothing.
func (p *Process) cleanUpAfterKilled(ctx context.Context, environ []string) {
	dirs, err := rundir.Abandoned(p.tempDir(), p.UID, p.Now())
	if err != nil {
		return // making a folder there fails too, and says why
	}
	ctx, stop := context.WithTimeout(ctx, keptCleanup)
	defer stop()
	for _, dir := range dirs {
		fmt.Fprintf(p.Stderr, "gantry: a run was killed; cleaning up what it has left in %s\n", dir.Path)
		var output bytes.Buffer
		if err := errors.Join(settleJobs(ctx, dir.Path, environ, &output), dir.Remove()); err != nil {
			fmt.Fprintf(p.Stderr, "%sgantry: %v\nhint: `gantry gc` looks for containers that are left\n", &output, err)
		}
	}
}

// settleJobs settles all jobs of a run.
func settleJobs(ctx context.Context, run string, environ []string, output *bytes.Buffer) error {
	jobs, err := os.ReadDir(run)
	errs := []error{err}
	for _, entry := range jobs {
		if entry.IsDir() {
			errs = append(errs, job.Settle(ctx, filepath.Join(run, entry.Name()), environ, output))
		}
	}
	return errors.Join(errs...)
}
