// Bench measures gantry beside the engines' own commands, in one run, in turns, and prints a table. It is no test:
// a missed target is a line of the table.
//
//	make bench    puts the figures into docs/performance.md
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/gantry-ci/gantry/internal/bench/figures"
	"github.com/gantry-ci/gantry/internal/testbed"
)

func main() {
	os.Exit(run())
}

func run() int {
	markdown := flag.Bool("markdown", false, "put the figures into docs/performance.md")
	quick := flag.Bool("quick", false, "measure a tenth as often")
	bin := flag.String("bin", "bin", "folder of the built programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := measure(ctx, *bin, *quick)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		return 1
	}
	report.Print(os.Stdout)
	if !*markdown {
		return 0
	}
	docker, podman := report.Of("docker"), report.Of("podman")
	err = figures.Update("docs/performance.md", map[string]string{"performance": docker.Markdown(), "podman": podman.Table()})
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// measure goes through all engines that are there.
func measure(ctx context.Context, bin string, quick bool) (*figures.Report, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, fmt.Errorf("finding the programs: %w", err)
	}
	if _, err := os.Stat(filepath.Join(bin, "hook.sh")); err != nil {
		return nil, fmt.Errorf("looking for the programs (make build makes them): %w", err)
	}
	engines, err := running()
	if err != nil {
		return nil, err
	}
	r := &figures.Report{Where: "engine", Other: "engine's own command"}
	for _, e := range engines {
		s, err := newScene(ctx, e, bin, quick)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "bench: measuring with %s\n", e.Label)
		err = s.all(r)
		if closing := s.close(); err == nil {
			err = closing
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Label, err)
		}
	}
	return r, nil
}

// running are the testbed's engines that this user drives.
func running() ([]*testbed.Engine, error) {
	var engines []*testbed.Engine
	for _, name := range []string{testbed.EnvDocker, testbed.EnvPodman} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		e := &testbed.Engine{}
		if err := json.Unmarshal([]byte(text), e); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		engines = append(engines, e)
	}
	if len(engines) == 0 {
		return nil, errors.New("no engine runs: start it by `make bench`")
	}
	return engines, nil
}
