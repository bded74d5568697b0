package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// thrift has the keeper's memory collected more often: it holds a lot, and makes little of it anew.
const thrift = 40

// runKeep keeps a job's work folder in step with the container's copy, as long as there is the job: keep RECORDS JOB.
func runKeep(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("keep wants the folder of the job records and a job, not %q", args)
	}
	store := jobrecord.Store{Dir: args[0]}
	rec, err := store.Load(args[1], "")
	if err != nil {
		return err
	}
	if rec.Sync == nil || rec.Container == nil {
		return errors.New("the job's containers have no copy of the work folder")
	}
	debug.SetGCPercent(thrift)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	return worksync.Keep(ctx, worksync.KeepOptions{
		Options: worksync.Options{
			Work: rec.Work, Root: rec.Sync.Root, Client: scriptstep.Client(rec), Config: rec.Sync.Config, State: rec.Sync.State,
		},
		Alive: func() bool {
			_, err := store.Load(rec.ID, "")
			return err == nil && rec.Owner.Alive()
		},
	})
}
