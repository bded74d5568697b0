package registryauth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/gantry-ci/gantry/internal/registryauth"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// auths writes a config.json from KEY=USER:PASSWORD.
func auths(t *testing.T, path string, entries ...string) {
	t.Helper()
	table := map[string]any{}
	for _, entry := range entries {
		key, account, _ := strings.Cut(entry, "=")
		table[key] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(account))}
	}
	text, err := json.Marshal(map[string]any{"auths": table})
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(text), 0o600)
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestWhoTheRunnerIs(t *testing.T) {
	home, run := t.TempDir(), t.TempDir()
	configured := filepath.Join(home, "secret")
	auths(t, configured, "both.example.com=secret:1", "paths.example.com=whole:1", "paths.example.com/ci=ci:1", "paths.example.com/c=c:1")
	auths(t, filepath.Join(home, ".docker/config.json"), "both.example.com=docker:1", "docker.example.com=docker:1", "https://index.docker.io/v1/=hub:1",
		"https://url.example.com/v2/=url:1")
	auths(t, filepath.Join(run, "containers/auth.json"), "docker.example.com=podman:1", "podman.example.com=podman:1")
	a := registryauth.New(configured, []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + run})
	for repository, want := range map[string]string{
		"both.example.com/x":              "secret",
		"paths.example.com/x":             "whole",
		"paths.example.com/ci":            "ci",
		"paths.example.com/ci/x":          "ci",
		"paths.example.com/cx":            "whole",
		"docker.example.com/x":            "docker",
		"podman.example.com/x":            "podman",
		"index.docker.io/library/node":    "hub",
		"url.example.com/x":               "url",
		"example.com/x":                   "",
		"docker.example.com:5000/x":       "",
		"evil.example/docker.example.com": "",
	} {
		if got, err := a.Of(t.Context(), repository); err != nil || got.Username != want {
			t.Errorf("%s: %q, %v, want %q", repository, got.Username, err, want)
		}
	}
}

func TestCredentialHelpersAreAsked(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "docker-credential-cloud"), `#!/bin/sh
read server || [ "$server" ]
case "$server" in
helped.example.com) echo "{\"Username\":\"$CLOUD\",\"Secret\":\"1\"}";;
token.example.com) echo '{"Username":"<token>","Secret":"t"}';;
*) echo credentials not found in native keychain; exit 1;;
esac`, 0o755)
	put(t, filepath.Join(dir, "docker-credential-broken"), "#!/bin/sh\necho the cloud is away\nexit 1", 0o755)
	put(t, filepath.Join(dir, "config.json"), `{"credsStore":"cloud","credHelpers":{"broken.example.com":"broken","none.example.com":"nowhere"},
		"auths":{"plain.example.com":{"auth":"cGxhaW46MQ=="},"helped.example.com":{}}}`, 0o600)
	a := registryauth.New(filepath.Join(dir, "config.json"), []string{"CLOUD=from-the-cloud", "PATH=/job"})
	a.Path = dir + ":" + a.Path
	for repository, want := range map[string]authn.AuthConfig{
		"helped.example.com/x": {Username: "from-the-cloud", Password: "1"},
		"token.example.com/x":  {IdentityToken: "t"},
		"plain.example.com/x":  {Username: "plain", Password: "1"},
		"other.example.com/x":  {},
	} {
		if got, err := a.Of(t.Context(), repository); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", repository, got, err, want)
		}
	}
	for repository, words := range map[string]string{"broken.example.com/x": "the cloud is away", "none.example.com/x": "docker-credential-nowhere"} {
		_, err := a.Of(t.Context(), repository)
		if err == nil || verdict.Of(err).Whose != verdict.Configuration || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", repository, err)
		}
	}
}

func TestTheBuildersFileHasNoMoreThanIsNeeded(t *testing.T) {
	home := t.TempDir()
	var entries []string
	for i := range 3 {
		entries = append(entries, fmt.Sprintf("r%d.example.com=user:%d", i, i))
	}
	auths(t, filepath.Join(home, ".docker/config.json"), append(entries, "docker.io=hub:1")...)
	a := registryauth.New("", []string{"HOME=" + home})
	text, err := a.File(t.Context(), []string{"r0.example.com/a", "r0.example.com/b", "index.docker.io/library/node", "unknown.example.com/x"})
	want := `{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOjE="},"r0.example.com":{"auth":"dXNlcjow"}}}`
	if err != nil || text != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

func TestItIsAKeychain(t *testing.T) {
	home := t.TempDir()
	auths(t, filepath.Join(home, ".docker/config.json"), "r.example.com=user:1")
	a := registryauth.New("", []string{"HOME=" + home})
	for image, want := range map[string]string{"r.example.com/x:1": "user", "other.example.com/x:1": ""} {
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		who, err := authn.Resolve(t.Context(), a, ref.Context())
		if err != nil {
			t.Fatal(err)
		}
		account, err := authn.Authorization(t.Context(), who)
		if err != nil || account.Username != want {
			t.Errorf("%s: %+v, %v, want %q", image, account, err, want)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	home := t.TempDir()
	put(t, filepath.Join(home, ".docker/config.json"), "no json", 0o600)
	for what, a := range map[string]*registryauth.Accounts{
		"config.json":  registryauth.New("", []string{"HOME=" + home}),
		"/nowhere/one": registryauth.New("/nowhere/one", nil),
	} {
		_, err := a.Of(t.Context(), "r.example.com/x")
		if err == nil || verdict.Of(err).Whose != verdict.Configuration || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
