package ocicli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
)

func TestDockerConfigForALogin(t *testing.T) {
	host, dir := t.TempDir(), t.TempDir()
	write(t, filepath.Join(host, "config.json"), `{
		"auths": {"ghcr.io": {"auth": "b2xk"}, "https://ghcr.io/v2/": {}, "other.example": {"auth": "a2VwdA=="}},
		"credsStore": "desktop",
		"credHelpers": {"ghcr.io": "gh", "ecr.example": "ecr-login"},
		"proxies": {"default": {"httpProxy": "http://p"}},
		"HttpHeaders": {"X": "y"}, "currentContext": "far", "cliPluginsExtraDirs": ["/plugins"]
	}`)
	if err := os.MkdirAll(filepath.Join(host, "contexts", "meta"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := prepareDockerConfig(dir, "ghcr.io", []string{"HOME=/nowhere", "DOCKER_CONFIG=" + host}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"auths":       map[string]any{"other.example": map[string]any{"auth": "a2VwdA=="}, "gantry.invalid": map[string]any{}},
		"credHelpers": map[string]any{"ecr.example": "ecr-login"},
		"proxies":     map[string]any{"default": map[string]any{"httpProxy": "http://p"}},
		"HttpHeaders": map[string]any{"X": "y"}, "currentContext": "far", "cliPluginsExtraDirs": []any{"/plugins"},
	}
	if diff := cmp.Diff(want, readJSON(t, filepath.Join(dir, "config.json"))); diff != "" {
		t.Errorf("config.json (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "contexts", "meta")); err != nil {
		t.Errorf("the host's contexts are not there: %v", err)
	}
	if stat, err := os.Stat(filepath.Join(dir, "config.json")); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", stat, err)
	}
}

func TestDockerConfigOfAHostWithoutOne(t *testing.T) {
	dir := t.TempDir()
	if err := prepareDockerConfig(dir, "ghcr.io", []string{"HOME=" + t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"auths": map[string]any{"gantry.invalid": map[string]any{}}, "credHelpers": map[string]any{}}
	if diff := cmp.Diff(want, readJSON(t, filepath.Join(dir, "config.json"))); diff != "" {
		t.Errorf("config.json (-want +got):\n%s", diff)
	}
}

func TestDockerConfigThatIsBroken(t *testing.T) {
	for _, text := range []string{"{", `{"auths": []}`, `{"credHelpers": 1}`} {
		host := t.TempDir()
		write(t, filepath.Join(host, "config.json"), text)
		if err := prepareDockerConfig(t.TempDir(), "x", []string{"DOCKER_CONFIG=" + host}); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// The password goes through standard input, into a folder that is private and does not outlive the pull.
func TestLoginKeepsThePassword(t *testing.T) {
	d := scripted(t, `case "$*" in
*" login "*) cat >"$0.stdin"; stat -c %a "$2" >"$0.mode"; echo secret >"$2/secret";;
*pull*) cat "$2/secret" >"$0.pulled";;
esac`)
	w := wanted{image: "ghcr.io/x", policy: engine.PullAlways, login: true,
		credentials: engine.Credentials{Username: "me", Password: "the-password", Server: "https://ghcr.io"}}
	var log strings.Builder
	if err := d.fetch(t.Context(), w, &log); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{".stdin": "the-password", ".mode": "700\n", ".pulled": "secret\n"} {
		if got, err := os.ReadFile(d.path + file); err != nil || string(got) != want {
			t.Errorf("%s: %q (%v), want %q", file, got, err, want)
		}
	}
	lines := strings.Join(calls(t, d), "\n")
	if strings.Contains(lines+log.String(), "the-password") || !strings.Contains(lines, "login -u me --password-stdin https://ghcr.io") {
		t.Errorf("calls:\n%s\nlog:\n%s", lines, log.String())
	}
	if left, err := os.ReadDir(d.tempDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestRegistryHost(t *testing.T) {
	for server, want := range map[string]string{
		"": "docker.io", "docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io", "index.docker.io": "docker.io",
		"ghcr.io": "ghcr.io", "https://ghcr.io/v2/": "ghcr.io", "127.0.0.1:5000": "127.0.0.1:5000", "http://r:1/x": "r:1",
	} {
		if got := registryHost(server); got != want {
			t.Errorf("%q is %q, want %q", server, got, want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	return got
}
