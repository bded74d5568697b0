package imagebuild

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

	"github.com/gantry-ci/gantry/internal/verdict"
)

// helperLimit bounds a credential helper, which may ask a cloud for a token.
const helperLimit = 30 * time.Second

// accounts knows who the runner is at which registry.
type accounts struct {
	configured string   // a file that has to be there, unless ""
	files      []string // files that may be there; earlier ones have precedence
	env        environment
	search     []string // where credential helpers are looked for
}

// newAccounts reads the files where docker and podman look for them.
func newAccounts(configured string, env environment) accounts {
	a := accounts{configured: configured, env: env, search: systemDirectories()}
	home := env.get("HOME")
	add := func(dir string, below ...string) {
		if dir != "" {
			a.files = append(a.files, filepath.Join(append([]string{dir}, below...)...))
		}
	}
	add(env.get("REGISTRY_AUTH_FILE"))
	if env.get("DOCKER_CONFIG") != "" {
		add(env.get("DOCKER_CONFIG"), "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(env.get("XDG_RUNTIME_DIR"), "containers", "auth.json")
	add(home, ".config", "containers", "auth.json")
	return a
}

// dockerConfig is what is read of a config.json.
type dockerConfig struct {
	Auths             map[string]authn.AuthConfig `json:"auths"`
	CredentialHelpers map[string]string           `json:"credHelpers"`
	CredentialStore   string                      `json:"credsStore"`
}

// of is the account for a repository ("registry.example.com/ci/image"): zero if there is none. Errors are verdicts.
func (a *accounts) of(ctx context.Context, repository string) (authn.AuthConfig, error) {
	for _, file := range append([]string{a.configured}, a.files...) {
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

// read gives an empty configuration for a file that need not be there and is not.
func (a *accounts) read(file string) (dockerConfig, error) {
	var config dockerConfig
	if file == "" {
		return config, nil
	}
	text, err := os.ReadFile(file)
	if file != a.configured && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return config, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		hint := "write it like docker's config.json"
		if file == a.configured {
			hint = "kubernetes.build.credentials names this file; " + hint + `, such as a Secret of type kubernetes.io/dockerconfigjson has it under ".dockerconfigjson"`
		}
		return config, verdict.New(verdict.Configuration, hint, "reading accounts of registries from %s: %w", file, err)
	}
	return config, nil
}

// in finds the account that one file has for a repository. A helper for the registry comes first, as in docker.
func (a *accounts) in(ctx context.Context, config dockerConfig, repository string) (authn.AuthConfig, error) {
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
func (a *accounts) ask(ctx context.Context, helper, server string) (authn.AuthConfig, error) {
	const notFound = "credentials not found in native keychain" // the protocol has no other way to say it
	program := "docker-credential-" + helper
	path, err := find(program, a.search)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "get")
	cmd.Env = a.env.with("PATH", strings.Join(a.search, ":"))
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

// file is a config.json with the accounts for some repositories and no others, and without helpers: what a builder may
// know.
func (a *accounts) file(ctx context.Context, repositories []string) (string, error) {
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
		account, err := a.of(ctx, repository)
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
