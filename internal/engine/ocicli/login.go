package ocicli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
)

// credentialStyle is how a program is given credentials for one command.
type credentialStyle struct {
	hub string // what login calls Docker Hub
	// prepare fills dir, which is private and empty, so that a login writes into it and nowhere else.
	prepare func(dir, server string, env []string) error
	// flags are put before the command, and behind its name.
	flags func(dir string) (global, local []string)
}

// login makes a private folder with a login for creds, and gives the flags that make a pull use it. remove deletes
// the folder. A login that the registry refuses is engine.ErrDenied.
func (d *Driver) login(ctx context.Context, creds engine.Credentials) (global, local []string, remove func(), err error) {
	style := d.diff.credentials
	server := creds.Server
	if registryHost(server) == "docker.io" {
		server = style.hub
	}
	parent, err := d.privateDir()
	if err != nil {
		return nil, nil, nil, err
	}
	dir, err := os.MkdirTemp(parent, privateName("login")) // 0700
	if err != nil {
		return nil, nil, nil, privateVerdict(fmt.Errorf("making a folder for credentials: %w", err))
	}
	remove = func() { _ = os.RemoveAll(dir) }
	global, local = style.flags(dir)
	if err = style.prepare(dir, server, d.env); err == nil {
		args := append(append([]string{}, global...), "login")
		args = append(append(args, local...), "-u", creds.Username, "--password-stdin", server)
		_, err = d.run(ctx, command{args: args, stdin: creds.Password, mortal: true})
	}
	if err != nil {
		remove()
		return nil, nil, nil, fmt.Errorf("logging in to %s as %s: %w", server, creds.Username, err)
	}
	return global, local, remove, nil
}

// registryHost is what identifies a registry among the spellings of its address.
func registryHost(server string) string {
	if _, after, ok := strings.Cut(server, "://"); ok {
		server = after
	}
	host, _, _ := strings.Cut(server, "/")
	switch host {
	case "", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return "docker.io"
	}
	return host
}

func dockerConfigFlags(dir string) (global, local []string) { return []string{"--config", dir}, nil }

func authFileFlags(dir string) (global, local []string) {
	return nil, []string{"--authfile", filepath.Join(dir, "auth.json")}
}

// prepareAuthFile leaves an empty authfile: Podman keeps everything else elsewhere.
func prepareAuthFile(dir, _ string, _ []string) error {
	return os.WriteFile(filepath.Join(dir, "auth.json"), []byte("{}\n"), 0o600)
}

// prepareDockerConfig copies the host's config.json (proxies, headers, the chosen context, other registries' helpers)
// without what it knows of server, and links the contexts and plug-ins beside it.
//
// The credential store is left out, and so is a helper for server: login would put the job's password into them,
// which outlive the job. Without a store docker looks for one ("pass", "secretservice") by itself, unless the file
// names an account already; hence the entry for a server that cannot exist.
func prepareDockerConfig(dir, server string, env []string) error {
	host := dockerConfigDir(env)
	config := map[string]json.RawMessage{}
	text, err := os.ReadFile(filepath.Join(host, "config.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading docker's configuration: %w", err)
	default:
		if err := json.Unmarshal(text, &config); err != nil {
			return fmt.Errorf("reading %s: %w", filepath.Join(host, "config.json"), err)
		}
	}
	delete(config, "credsStore")
	for _, table := range []string{"auths", "credHelpers"} {
		if err := forget(config, table, server); err != nil {
			return fmt.Errorf("reading %q in %s: %w", table, filepath.Join(host, "config.json"), err)
		}
	}
	for _, link := range []string{"contexts", "cli-plugins"} {
		if _, err := os.Stat(filepath.Join(host, link)); err == nil {
			if err := os.Symlink(filepath.Join(host, link), filepath.Join(dir, link)); err != nil {
				return fmt.Errorf("linking docker's %s: %w", link, err)
			}
		}
	}
	return writeConfig(filepath.Join(dir, "config.json"), config)
}

// forget drops a server from a table of the configuration, and makes sure that "auths" is not empty.
func forget(config map[string]json.RawMessage, table, server string) error {
	entries := map[string]json.RawMessage{}
	if text, ok := config[table]; ok {
		if err := json.Unmarshal(text, &entries); err != nil {
			return err
		}
	}
	for name := range entries {
		if registryHost(name) == registryHost(server) {
			delete(entries, name)
		}
	}
	if table == "auths" {
		entries["gantry.invalid"] = json.RawMessage("{}")
	}
	text, err := json.Marshal(entries)
	config[table] = text
	return err
}

func writeConfig(path string, config map[string]json.RawMessage) error {
	text, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("writing docker's configuration: %w", err)
	}
	return os.WriteFile(path, text, 0o600)
}

// dockerConfigDir is where docker itself looks.
func dockerConfigDir(env []string) string {
	var home, dir string
	for _, entry := range env {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case "HOME":
			home = value
		case "DOCKER_CONFIG":
			dir = value
		}
	}
	if dir != "" {
		return dir
	}
	return filepath.Join(home, ".docker")
}
