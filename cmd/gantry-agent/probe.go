package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/signal"
	"syscall"
	"time"
)

// reachFor is how long a service may take to be reached, unless it is said.
const reachFor = 15 * time.Second

// runProbe is the program of the job that `gantry doctor` plays: "probe listen PORT" is its service, "probe reach HOST:PORT
// [DURATION]" the step that needs it.
func runProbe(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 2 && args[0] == "listen":
		return probeListen(ctx, args[1])
	case len(args) == 2 && args[0] == "reach":
		return probeReach(ctx, args[1], reachFor)
	case len(args) == 3 && args[0] == "reach":
		limit, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return probeReach(ctx, args[1], limit)
	}
	return fmt.Errorf("probe wants `listen PORT` or `reach HOST:PORT [DURATION]`, not %q", args)
}

// probeListen greets whoever connects, until ctx ends.
func probeListen(ctx context.Context, port string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		_, _ = io.WriteString(conn, "hello from "+conn.LocalAddr().String()+"\n") // the other side may be gone
		conn.Close()
	}
}

// probeReach prints the greeting of a service. The service may be starting.
func probeReach(ctx context.Context, address string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			greeting, err := io.ReadAll(conn)
			fmt.Print(string(greeting))
			conn.Close()
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reaching %s: %w", address, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
