package engines

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// startDocker runs a Docker daemon with everything it owns below the bed.
func (b *Bed) startDocker(ctx context.Context) error {
	engine, err := b.newEngine("docker", "docker")
	if err != nil {
		return err
	}
	dir := filepath.Join(b.Dir, "docker")
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	engine.Env = append(engine.Env, "DOCKER_HOST="+socket)
	daemon, err := program("dockerd")
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "daemon.json") // instead of the machine's
	if err := os.WriteFile(config, []byte("{}\n"), 0o644); err != nil {
		return fmt.Errorf("configuring dockerd: %w", err)
	}
	bridge, err := takeBridge()
	if err != nil {
		return err
	}
	if err := b.record(func(s *state) { s.Bridge = bridge }); err != nil {
		return err
	}
	cmd := exec.Command(daemon,
		"--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"),
		"--config-file", config,
		"--bridge", bridge,
		"--host", socket)
	cmd.Env = engine.Env
	p, err := b.launch("dockerd", cmd)
	if err != nil {
		return err
	}
	if err := p.Ready(ctx, func() error { return run(ctx, engine, "version") }); err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.Docker = engine })
}

// newEngine makes the engine's directory and a home in it, for root.
func (b *Bed) newEngine(name, label string) (*testbed.Engine, error) {
	path, err := program(name)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(b.Dir, label, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, fmt.Errorf("making a home for %s: %w", label, err)
	}
	return &testbed.Engine{
		Name:  name,
		Label: label,
		Path:  path,
		Home:  home,
		Env:   []string{"PATH=" + cleanPath, "HOME=" + home, marker + "=" + b.Dir},
	}, nil
}

// launch starts a daemon and writes it down.
func (b *Bed) launch(name string, cmd *exec.Cmd) (daemon.Process, error) {
	p, err := daemon.Start(name, filepath.Join(b.Dir, name+".log"), cmd)
	if err != nil {
		return p, err
	}
	return p, b.record(func(s *state) { s.Processes = append(s.Processes, p) })
}
