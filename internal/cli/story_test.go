package cli_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gantry-ci/gantry/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gantry": func() { os.Exit(gantry()) }})
}

// gantry is the program, but for its place: a story says with $EXECUTABLE where it lies.
func gantry() int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return cli.Main(context.Background(), &cli.Process{
		Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Executable: os.Getenv("EXECUTABLE"), Dir: dir, Version: "1.0", Now: time.Now,
		UID: os.Getuid(), GID: os.Getgid(), Signals: signals,
	})
}

// Each file in testdata is what somebody does in a terminal, and what comes of it.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("EXECUTABLE", e.WorkDir+"/dist/gantry")
			e.Setenv("GANTRY_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("TMPDIR", e.WorkDir)
			return nil
		},
	})
}
