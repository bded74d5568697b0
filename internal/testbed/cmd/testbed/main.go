// Testbed starts real container engines for tests, and ends them.
//
//	testbed run [--only docker,podman,rootless,registry,…] -- COMMAND…
//	testbed run --only kubernetes -- COMMAND…
//	testbed up --dir DIR [--only …]
//	testbed down --dir DIR
//	testbed build --only kubernetes,buildkit
//
// See the package documentation of internal/testbed.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(dispatch(ctx, os.Args[1:]))
}
