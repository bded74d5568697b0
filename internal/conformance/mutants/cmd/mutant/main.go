// The mutant program is a hook with one broken behaviour, around a good one: mutant NAME GOOD-HOOK.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/gantry-ci/gantry/internal/conformance/mutants"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: mutant NAME GOOD-HOOK")
		os.Exit(2)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	m, err := mutants.Find(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	status, err := m.Run(context.Background(), &mutants.Process{
		Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	}, os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutant:", err)
	}
	os.Exit(status)
}
