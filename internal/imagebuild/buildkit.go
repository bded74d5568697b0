package imagebuild

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/programs"
)

// buildkit lets a buildkitd build, which runs beside the runner or anywhere else. It fetches base images and pushes by
// itself, with accounts that buildctl shows it, and keeps its cache.
func buildkit() tool {
	return tool{
		name: "BuildKit", program: "buildctl",
		task:     buildkitTask,
		pushes:   func(_ int, complaint string) bool { return strings.Contains(complaint, "failed to push") },
		patterns: buildkitPatterns(),
	}
}

func buildkitTask(p plan, _ bool) buildguard.Task {
	output := "type=image,name=" + p.image.pushed.Name() + ",push=true"
	if p.cfg.Insecure {
		output += ",registry.insecure=true"
	}
	build := append([]string{p.path, "--addr", p.cfg.Address}, p.certificateFlags()...)
	build = append(build, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
		"--local", "context="+p.spec.Context, "--local", "dockerfile="+filepath.Dir(p.spec.Dockerfile),
		"--opt", "filename="+filepath.Base(p.spec.Dockerfile), "--opt", "platform=linux/"+runtime.GOARCH)
	for _, name := range slices.Sorted(maps.Keys(p.spec.Labels)) {
		build = append(build, "--opt", "label:"+name+"="+p.spec.Labels[name])
	}
	for _, entry := range p.openProxies() {
		build = append(build, "--opt", "build-arg:"+entry)
	}
	build = append(build, "--output", output)
	return buildguard.Task{
		Dir:      p.dir,
		Folders:  []string{"auth", "home", "tmp"},
		Files:    map[string]string{"auth/config.json": p.accounts},
		Commands: [][]string{build},
		Env:      p.buildkitEnv(),
	}
}

// openProxies are the proxies that may stand in a command line; RUN lines get them, and the image does not.
func (p plan) openProxies() environment {
	return slices.DeleteFunc(p.env.only(proxies()...), func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		return !strings.EqualFold(name, "NO_PROXY") && hasPassword(value)
	})
}

func (p plan) buildkitEnv() environment {
	env := environment{
		"PATH=" + programs.Path, "HOME=" + p.below("home"), "TMPDIR=" + p.below("tmp"),
		"DOCKER_CONFIG=" + p.below("auth"),
	}
	if proxied := p.env.only(proxies()...); len(proxied) > 0 {
		env = append(env, proxied.besides(p.cfg.Address)...)
	}
	return append(env, p.env.only(certificates()...)...)
}

// certificateFlags name the files of Config.Certificates, by docker's names or by those of a Secret of Kubernetes.
func (p plan) certificateFlags() []string {
	dir := p.cfg.Certificates
	if dir == "" {
		return nil
	}
	names := [3]string{"ca.pem", "cert.pem", "key.pem"}
	if exists(filepath.Join(dir, "tls.crt")) {
		names = [3]string{"ca.crt", "tls.crt", "tls.key"}
	}
	var flags []string
	for i, flag := range []string{"tlscacert", "tlscert", "tlskey"} {
		if file := filepath.Join(dir, names[i]); exists(file) {
			flags = append(flags, fmt.Sprintf("--%s=%s", flag, file))
		}
	}
	return flags
}
