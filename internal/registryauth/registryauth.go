// Package registryauth knows the accounts that the user of this process has at image registries. Its Accounts are a
// keychain for github.com/google/go-containerregistry whose credential helpers a job cannot replace, unlike those of
// that module's own.
package registryauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// helperLimit bounds a credential helper, which may ask a cloud for a token.
const helperLimit = 30 * time.Second

// Accounts tells who the user is at which registry. It keeps nothing: every question reads the files.
type Accounts struct {
	// Configured is a file in the format of Docker's config.json that has precedence, and has to be there; "": none.
	Configured string
	// Files may be there; earlier ones have precedence.
	Files []string
	// Env is the environment of credential helpers, but for PATH.
	Env []string
	// Path is where credential helpers are looked for.
	Path string
}

var (
	_ authn.Keychain        = (*Accounts)(nil)
	_ authn.ContextKeychain = (*Accounts)(nil)
)

// New finds the accounts where docker and podman would, for a user with this environment.
func New(configured string, env []string) *Accounts {
	a := &Accounts{Configured: configured, Env: env, Path: programs.Path}
	get := func(name string) string { return value(env, name) }
	home := get("HOME")
	add := func(dir string, below ...string) {
		if dir != "" {
			a.Files = append(a.Files, filepath.Join(append([]string{dir}, below...)...))
		}
	}
	add(get("REGISTRY_AUTH_FILE"))
	if get("DOCKER_CONFIG") != "" {
		add(get("DOCKER_CONFIG"), "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(get("XDG_RUNTIME_DIR"), "containers", "auth.json")
	add(home, ".config", "containers", "auth.json")
	return a
}

// value is that of a variable; the last one of a name counts.
func value(env []string, name string) string {
	found := ""
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			found = v
		}
	}
	return found
}

// dockerConfig is what is read of a config.json.
type dockerConfig struct {
	Auths             map[string]authn.AuthConfig `json:"auths"`
	CredentialHelpers map[string]string           `json:"credHelpers"`
	CredentialStore   string                      `json:"credsStore"`
}

// Of is the account for a repository ("registry.example.com/ci/image"): zero if there is none. Errors are verdicts.
func (a *Accounts) Of(ctx context.Context, repository string) (authn.AuthConfig, error) {
	for _, file := range append([]string{a.Configured}, a.Files...) {
		config, err := a.read(file)
		if err != nil {
			return authn.AuthConfig{}, err
		}
		account, err := a.in(ctx, config, repository)
		if err != nil {
			return authn.AuthConfig{}, verdict.New(verdict.Configuration, "try the credential helper that "+file+" names, as the runner's user",
				"asking for the account for %s: %w", repository, err)
		}
		if account != (authn.AuthConfig{}) {
			return account, nil
		}
	}
	return authn.AuthConfig{}, nil
}

// ResolveContext is part of authn.ContextKeychain.
func (a *Accounts) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	account, err := a.Of(ctx, target.String())
	if err != nil || account == (authn.AuthConfig{}) {
		return authn.Anonymous, err
	}
	return authn.FromConfig(account), nil
}

// Resolve is part of authn.Keychain.
func (a *Accounts) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return a.ResolveContext(context.Background(), target)
}

// read gives an empty configuration for a file that need not be there and is not.
func (a *Accounts) read(file string) (dockerConfig, error) {
	var config dockerConfig
	if file == "" {
		return config, nil
	}
	text, err := os.ReadFile(file)
	if file != a.Configured && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return config, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		hint := "write it like docker's config.json"
		if file == a.Configured {
			hint = "kubernetes.build.credentials names this file; " + hint + `, such as a Secret of type kubernetes.io/dockerconfigjson has it under ".dockerconfigjson"`
		}
		return config, verdict.New(verdict.Configuration, hint, "reading accounts of registries from %s: %w", file, err)
	}
	return config, nil
}

// in finds the account that one file has for a repository. A helper for the registry comes first, as in docker.
func (a *Accounts) in(ctx context.Context, config dockerConfig, repository string) (authn.AuthConfig, error) {
	if key := closest(config.CredentialHelpers, repository); config.CredentialHelpers[key] != "" {
		return a.ask(ctx, config.CredentialHelpers[key], key)
	}
	if config.CredentialStore != "" {
		account, err := a.ask(ctx, config.CredentialStore, serverOf(repository))
		if err != nil || account != (authn.AuthConfig{}) {
			return account, err
		}
	}
	found := config.Auths[closest(config.Auths, repository)]
	found.Auth = "" // it is user and password, once more
	return found, nil
}

// closest is the key that covers a repository best, "" if none does.
func closest[T any](table map[string]T, repository string) string {
	best, most := "", 0
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if n := covers(key, repository); n > most {
			best, most = key, n
		}
	}
	return best
}

// hub are the names of Docker Hub.
func hub(host string) bool {
	return host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io"
}

// serverOf is how credential helpers call the registry of a repository.
func serverOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	if hub(host) {
		return authn.DefaultAuthKey
	}
	return host
}

// covers tells whether a key ("registry.example.com", "https://index.docker.io/v1/", "registry.example.com/ci") is about
// a repository: 0 no, else the more the closer.
func covers(key, repository string) int {
	if _, after, ok := strings.Cut(key, "://"); ok {
		key = after
	}
	host, path, _ := strings.Cut(strings.TrimSuffix(key, "/"), "/")
	ours, below, _ := strings.Cut(repository, "/")
	if host != ours && !(hub(host) && hub(ours)) {
		return 0
	}
	if path == "v1" || path == "v2" {
		path = ""
	}
	if path != "" && below != path && !strings.HasPrefix(below, path+"/") {
		return 0
	}
	return 1 + len(path)
}

// ask runs a credential helper (https://github.com/docker/docker-credential-helpers). Having nothing is no error.
func (a *Accounts) ask(ctx context.Context, helper, server string) (authn.AuthConfig, error) {
	const notFound = "credentials not found in native keychain" // the protocol has no other way to say it
	program := "docker-credential-" + helper
	path, err := programs.Find(program, a.Path)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "get")
	cmd.Env = append(slices.Clip(a.Env), "PATH="+a.Path)
	cmd.Stdin = strings.NewReader(server)
	cmd.Stdout = &said
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if strings.TrimSpace(said.String()) == notFound {
			return authn.AuthConfig{}, nil
		}
		return authn.AuthConfig{}, fmt.Errorf("%s get: %w: %s", program, err, strings.TrimSpace(said.String()))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(said.Bytes(), &answer); err != nil {
		return authn.AuthConfig{}, fmt.Errorf("reading what %s says: %w", program, err)
	}
	if answer.Username == "<token>" {
		return authn.AuthConfig{IdentityToken: answer.Secret}, nil
	}
	return authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// File is the text of a config.json with the accounts for some repositories and no others, and without helpers: what a builder may
// know.
func (a *Accounts) File(ctx context.Context, repositories []string) (string, error) {
	type entry struct {
		Auth          string `json:"auth,omitempty"`
		IdentityToken string `json:"identitytoken,omitempty"`
		RegistryToken string `json:"registrytoken,omitempty"`
	}
	auths := map[string]entry{}
	for _, repository := range repositories {
		server := serverOf(repository)
		if _, known := auths[server]; known {
			continue
		}
		account, err := a.Of(ctx, repository)
		if err != nil {
			return "", err
		}
		if account == (authn.AuthConfig{}) {
			continue
		}
		e := entry{IdentityToken: account.IdentityToken, RegistryToken: account.RegistryToken}
		if account.Username != "" {
			e.Auth = base64.StdEncoding.EncodeToString([]byte(account.Username + ":" + account.Password))
		}
		auths[server] = e
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return "", fmt.Errorf("writing the accounts for the builder: %w", err)
	}
	return string(text), nil
}
