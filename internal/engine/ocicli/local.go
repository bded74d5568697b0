package ocicli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
)

// Local is part of engine.Engine. It works out the API's address as the program would, and runs the program only to
// look into a Docker context.
func (d *Driver) Local(ctx context.Context) (engine.Info, error) {
	address, known, err := d.diff.address(d.env)
	if err != nil {
		return engine.Info{}, err
	}
	if !known {
		answer, err := d.output(ctx, d.diff.info.socketArgs...)
		if err != nil {
			return engine.Info{}, fmt.Errorf("asking %s for its context: %w", d.diff.name, err)
		}
		address = strings.TrimSpace(string(answer))
	}
	return engine.Info{Name: d.diff.name, Path: d.path, Socket: localSocket(address)}, nil
}

// dockerAddress is where docker finds its daemon. It is not known if a context says so.
func dockerAddress(env []string) (address string, known bool, err error) {
	if host := lookup(env, "DOCKER_HOST"); host != "" {
		return host, true, nil
	}
	context := lookup(env, "DOCKER_CONTEXT")
	if context == "" {
		if context, err = currentContext(filepath.Join(dockerConfigDir(env), "config.json")); err != nil {
			return "", false, err
		}
	}
	if context != "" && context != "default" {
		return "", false, nil
	}
	return "unix:///var/run/docker.sock", true, nil
}

// currentContext is the context that docker's configuration chooses, "" for none.
func currentContext(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading docker's configuration: %w", err)
	}
	var config struct{ CurrentContext string }
	if err := json.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return config.CurrentContext, nil
}

// podmanAddress is where Podman's service listens if it runs, see podman-system-service(1). Podman needs none.
func podmanAddress(env []string) (address string, known bool, err error) {
	if host := lookup(env, "CONTAINER_HOST"); host != "" {
		return host, true, nil
	}
	dir := "/run"
	if os.Geteuid() != 0 {
		dir = runtimeDir(env)
	}
	return "unix://" + dir + "/podman/podman.sock", true, nil
}

// runtimeDir is where a user's programs keep what lives as long as they do.
func runtimeDir(env []string) string {
	if dir := lookup(env, "XDG_RUNTIME_DIR"); dir != "" {
		return dir
	}
	return "/run/user/" + strconv.Itoa(os.Geteuid())
}

// lookup is the last value of a variable, "" if it is not set.
func lookup(env []string, name string) string {
	value := ""
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
