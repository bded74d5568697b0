package engines

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// buildkitConfig is the configuration of buildkitd. RUN lines use the machine's network.
const buildkitConfig = `root = %q
[grpc]
  address = [%q]
[worker.containerd]
  enabled = false
[worker.oci]
  enabled = true
  networkMode = "host"
[registry.%q]
  http = true
`

// buildBuildKit makes buildkitd and buildctl and returns the directory that they are in. What is there already is made
// again only if its sources, test/buildkit, have changed.
func buildBuildKit(ctx context.Context, talk io.Writer) (string, error) {
	root, err := finish(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}"))
	if err != nil {
		return "", fmt.Errorf("finding the project: %w", err)
	}
	root = strings.TrimSpace(root)
	dir := filepath.Join(root, ".cache", "buildkit")
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintln(talk, "testbed: building BuildKit from test/buildkit: minutes, the first time")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("building BuildKit: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/", "tool")
	cmd.Dir = filepath.Join(root, "test", "buildkit")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if _, err := finish(cmd); err != nil {
		return "", fmt.Errorf("building BuildKit: %w", err)
	}
	return dir, nil
}

// startBuildKit runs a buildkitd that may use the registry without TLS.
func (b *Bed) startBuildKit(ctx context.Context) error {
	programs, err := buildBuildKit(ctx, b.talk)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.Dir, "buildkit")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("configuring BuildKit: %w", err)
	}
	fact := &testbed.BuildKitDaemon{Address: "unix://" + filepath.Join(dir, "sock"), Buildctl: filepath.Join(programs, "buildctl")}
	config := filepath.Join(dir, "buildkitd.toml")
	text := fmt.Sprintf(buildkitConfig, filepath.Join(dir, "data"), fact.Address, b.registryAddr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return fmt.Errorf("configuring BuildKit: %w", err)
	}
	cmd := exec.Command(filepath.Join(programs, "buildkitd"), "--config", config)
	cmd.Env = []string{"PATH=" + cleanPath, marker + "=" + b.Dir}
	p, err := b.launch("buildkitd", cmd)
	if err != nil {
		return err
	}
	err = p.Ready(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return exec.CommandContext(ctx, fact.Buildctl, "--addr", fact.Address, "debug", "workers").Run()
	})
	if err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.BuildKit = fact })
}
