package ociclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// Listen is loopback: Docker takes registries there without TLS, and Podman is told to.
func (c *Client) Listen() string { return "127.0.0.1" }

// Image reads an image out of the engine's store.
func (c *Client) Image(ctx context.Context, name string) (*images.Image, error) {
	there, err := c.Exists(ctx, "image", name)
	if err != nil {
		return nil, err
	}
	if !there {
		if err := c.Pull(ctx, name); err != nil {
			return nil, err
		}
	}
	archive, err := c.run(ctx, "save", name)
	if err != nil {
		return nil, err
	}
	return images.Read(bytes.NewReader(archive))
}

// Pull is pull.
func (c *Client) Pull(ctx context.Context, image string) error {
	_, err := c.run(ctx, "pull", "--quiet", image)
	return err
}

// Open writes a registries.conf for an engine that wants one.
func (c *Client) Open(dir string, registries []string) ([]string, error) {
	if !dialects()[c.Name].registriesFile {
		return nil, nil
	}
	text, err := os.ReadFile(c.registriesConf())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the engine's registries.conf: %w", err)
	}
	for _, addr := range registries {
		text = fmt.Appendf(text, "\n[[registry]]\nlocation = %q\ninsecure = true\n", addr)
	}
	file := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, fmt.Errorf("writing a registries.conf: %w", err)
	}
	added := []string{"CONTAINERS_REGISTRIES_CONF=" + file}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.environ = slices.Concat(c.environ, added)
	return added, nil
}

// registriesConf is where Podman would look.
func (c *Client) registriesConf() string {
	home := ""
	for _, kv := range c.env() {
		if path, ok := strings.CutPrefix(kv, "CONTAINERS_REGISTRIES_CONF="); ok && path != "" {
			return path
		}
		if dir, ok := strings.CutPrefix(kv, "HOME="); ok {
			home = dir
		}
	}
	own := filepath.Join(home, ".config/containers/registries.conf")
	if _, err := os.Stat(own); err == nil && c.uid != 0 {
		return own
	}
	return "/etc/containers/registries.conf"
}

// Close removes the images that were pulled.
func (c *Client) Close(ctx context.Context, registries []string) error {
	var pulled []string
	out, err := c.run(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}")
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		if slices.ContainsFunc(registries, func(addr string) bool { return strings.HasPrefix(name, addr+"/") }) {
			pulled = append(pulled, name)
		}
	}
	if len(pulled) > 0 && err == nil {
		_, err = c.run(ctx, append([]string{"rmi", "--force"}, pulled...)...)
		if ended(ctx, err) {
			err = nil // images of Dockerfile builds may stand on them
		}
	}
	return err
}
