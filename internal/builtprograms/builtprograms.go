// Package builtprograms builds gantry's programs for tests that run them as processes.
package builtprograms

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Around builds them into a folder that is there while run runs, and gives run's status. For a TestMain.
func Around(run func(dir string) int, root string, environ []string) (status int, err error) {
	dir, err := os.MkdirTemp("", "gantry-bin-")
	if err != nil {
		return 1, fmt.Errorf("building the programs: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := Build(context.Background(), root, dir, environ); err != nil {
		return 1, err
	}
	return run(dir), nil
}

// Build puts gantry, gantry-agent and hook.sh into a folder, which every user can enter afterwards. Root is the folder
// of the module. It gives the path of hook.sh.
func Build(ctx context.Context, root, dir string, environ []string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir, "./cmd/gantry", "./cmd/gantry-agent")
	cmd.Dir = root
	cmd.Env = append(append([]string{}, environ...), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	shim, err := os.ReadFile(filepath.Join(root, "cmd/gantry-agent/hook.sh"))
	if err != nil {
		return "", fmt.Errorf("copying the shim: %w", err)
	}
	path := filepath.Join(dir, "hook.sh")
	if err := os.WriteFile(path, shim, 0o755); err != nil {
		return "", fmt.Errorf("copying the shim: %w", err)
	}
	return path, os.Chmod(dir, 0o755)
}
