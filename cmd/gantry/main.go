// Command gantry is the container hook's full program and its tools for people.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/cli"
)

// version is set by the linker.
var version = "devel"

func main() {
	os.Exit(run())
}

func run() int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0]
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "/" // it has been removed
	}
	return cli.Main(context.Background(), &cli.Process{
		Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Executable: executable, Dir: dir, Version: version, Now: time.Now, UID: os.Getuid(), GID: os.Getgid(), Signals: signals,
	})
}
