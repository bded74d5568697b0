package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// thrift has memory collected more often (GOGC) where a copy of the work folder is kept in step: a lot is held, and
// little of it made anew.
const thrift = 20

// syncService is the agent's side.
func syncService() agent.Service {
	server, saving := new(worksync.Server), new(sync.Once)
	return func(ctx context.Context, conn net.Conn, in *bufio.Reader, body json.RawMessage) {
		saving.Do(func() { debug.SetGCPercent(thrift) })
		server.Serve(ctx, conn, in, body)
	}
}

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
