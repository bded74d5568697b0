package engines

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// program finds a program on the clean PATH.
func program(name string) (string, error) {
	for _, dir := range filepath.SplitList(cleanPath) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("looking for %s on %s: %w", name, cleanPath, exec.ErrNotFound)
}

// run calls the engine; an error has the command and what it said.
func run(ctx context.Context, engine *testbed.Engine, args ...string) error {
	_, err := ask(ctx, engine, args...)
	return err
}

// ask is run that returns standard output.
func ask(ctx context.Context, engine *testbed.Engine, args ...string) (string, error) {
	return finish(engine.Command(ctx, args...))
}

func finish(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}

// loadInto loads the images into an engine.
func loadInto(ctx context.Context, engine *testbed.Engine, made *built) error {
	return run(ctx, engine, "load", "--quiet", "--input", made.archive)
}
