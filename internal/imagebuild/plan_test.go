package imagebuild

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
)

func planned(t *testing.T, cfg Config, env ...string) plan {
	t.Helper()
	if cfg.Registry == "" {
		cfg.Registry = "r.example.com/ci"
	}
	image, err := New(cfg).image(tag)
	if err != nil {
		t.Fatal(err)
	}
	return plan{cfg: cfg, env: env, path: "/usr/bin/tool", dir: "/b/1", image: image, accounts: `{"auths":{}}`, spec: engine.BuildSpec{
		Context: "/state/build-1", Dockerfile: "/state/build-1/Dockerfile.v2", Labels: map[string]string{"b": "2", "a": "1 2"},
	}}
}

func TestCommandsOfBuildah(t *testing.T) {
	p := planned(t, Config{})
	ref := "r.example.com/ci/gantry-action:0123456789abcdef0123456789abcdef-" + runtime.GOARCH
	store := []string{"/usr/bin/tool", "--root", "/b/1/root", "--runroot", "/b/1/run/root", "--storage-driver", "overlay"}
	want := [][]string{
		append(slices.Clone(store), "bud", "--isolation", "chroot", "--layers=false", "--format", "docker", "--authfile", "/b/1/auth/config.json", "-t", ref,
			"--label", "a=1 2", "--label", "b=2", "-f", "/state/build-1/Dockerfile.v2", "/state/build-1"),
		append(slices.Clone(store), "push", "--authfile", "/b/1/auth/config.json", ref),
	}
	if diff := cmp.Diff(want, buildahTask(p, true).Commands); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsOfBuildKit(t *testing.T) {
	certs := t.TempDir()
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		writeFile(t, filepath.Join(certs, name), "", 0o600)
	}
	p := planned(t, Config{Address: "tcp://b:1234", Certificates: certs, Insecure: true},
		"HTTP_PROXY=http://proxy:3128", "HTTPS_PROXY=http://me:hunter2@proxy:3128", "NO_PROXY=.svc")
	want := [][]string{{"/usr/bin/tool", "--addr", "tcp://b:1234", "--tlscacert=" + certs + "/ca.crt", "--tlscert=" + certs + "/tls.crt", "--tlskey=" + certs + "/tls.key",
		"build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=/state/build-1", "--local", "dockerfile=/state/build-1",
		"--opt", "filename=Dockerfile.v2", "--opt", "platform=linux/" + runtime.GOARCH, "--opt", "label:a=1 2", "--opt", "label:b=2",
		"--opt", "build-arg:HTTP_PROXY=http://proxy:3128", "--opt", "build-arg:NO_PROXY=.svc",
		"--output", "type=image,name=r.example.com/ci/gantry-action:0123456789abcdef0123456789abcdef-" + runtime.GOARCH + ",push=true,registry.insecure=true"}}
	task := buildkitTask(p, false)
	if diff := cmp.Diff(want, task.Commands); diff != "" {
		t.Error(diff)
	}
	// The daemon is reached without a proxy, the registry's token server with it.
	if !slices.Contains(task.Env, "NO_PROXY=.svc,b") || !slices.Contains(task.Env, "HTTPS_PROXY=http://me:hunter2@proxy:3128") {
		t.Errorf("%q", task.Env)
	}
}

func TestTheJobDoesNotSteerTheBuilder(t *testing.T) {
	p := planned(t, Config{}, "LD_PRELOAD=/x", "PATH=/job", "BUILDAH_ISOLATION=oci", "STORAGE_DRIVER=x", "DOCKER_CONFIG=/job", "https_proxy=http://proxy", "HOME=/home/me")
	for name, env := range map[string]environment{"buildah": buildahTask(p, false).Env, "buildkit": buildkitTask(p, false).Env} {
		for _, variable := range []string{"LD_PRELOAD", "BUILDAH_ISOLATION", "STORAGE_DRIVER"} {
			if env.get(variable) != "" {
				t.Errorf("%s: %s", name, variable)
			}
		}
		if strings.Contains(strings.Join(env, " "), "/job") || env.get("https_proxy") == "" || !strings.HasPrefix(env.get("HOME"), "/b/1/") {
			t.Errorf("%s: %q", name, env)
		}
	}
}

// What the administrator has set up for buildah in the runner's image holds, and what is ours is added.
func TestTheUsersConfigurationOfBuildahHolds(t *testing.T) {
	home := t.TempDir()
	writeFile(t, filepath.Join(home, ".config/containers/storage.conf"), "x", 0o600)
	writeFile(t, filepath.Join(home, ".config/containers/auth.json"), "secret", 0o600)
	writeFile(t, filepath.Join(home, ".config/containers/registries.conf.d/mirror.conf"), "x", 0o600)
	task := buildahTask(planned(t, Config{Insecure: true}, "HOME="+home), false)
	want := map[string]string{}
	for _, name := range []string{"storage.conf", "registries.conf.d/mirror.conf"} {
		want["home/.config/containers/"+name] = filepath.Join(home, ".config/containers", name)
	}
	if diff := cmp.Diff(want, task.Links); diff != "" {
		t.Error(diff)
	}
	dropIn := task.Files["home/.config/containers/registries.conf.d/zz-gantry.conf"]
	if !strings.Contains(dropIn, `location = "r.example.com"`) || !strings.Contains(dropIn, `unqualified-search-registries = ["docker.io"]`) {
		t.Errorf("%s", dropIn)
	}
	if _, err := os.Stat("/etc/containers/policy.json"); err != nil && task.Files["home/.config/containers/policy.json"] == "" {
		t.Error("there is no policy.json, without which nothing is pulled")
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
