package cli

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/imagebuild"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/registryauth"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// kubernetes opens the cluster for a work folder, which may be "". It asks nobody.
func (p *Process) kubernetes(cfg *config.Config, environ []string, work string, log *slog.Logger) (engine.Engine, error) {
	parsed, problems := template.Load(cfg.Kubernetes.Template, os.ReadFile)
	if len(problems) > 0 {
		return nil, verdict.New(verdict.Configuration, "", "the pod template:\n%w", problems)
	}
	place, err := kubeapi.Find(p.clusterSources(cfg, environ))
	if err != nil {
		return nil, err
	}
	return kube.New(kube.Options{
		Settings: p.kubeSettings(cfg, parsed), Place: place, Work: work, AgentProgram: p.bareHandler(cfg, nil, work).AgentPath,
		Registries: registryauth.New("", environ), Builder: p.builder(cfg, environ), Log: log,
	})
}

// builder builds images of Dockerfile actions; nil: there is no registry to keep them in.
func (p *Process) builder(cfg *config.Config, environ []string) kube.Builder {
	b := cfg.Kubernetes.Build
	if b.Registry == "" {
		return nil
	}
	return imagebuild.New(imagebuild.Config{
		Tool: b.Tool, Path: b.Path, Address: b.Address, Certificates: b.Certificates,
		Registry: b.Registry, PullRegistry: b.PullRegistry, Insecure: b.Insecure, Credentials: b.Credentials,
		Env: environ, Dir: filepath.Join(p.stateDir(cfg), "builds"), Guard: []string{p.Executable, guardBuild},
	})
}

func (p *Process) clusterSources(cfg *config.Config, environ []string) kubeapi.Sources {
	name, _ := os.Hostname() // "": the pod must be configured, and the message says so
	return kubeapi.Sources{Env: environ, Namespace: cfg.Kubernetes.Namespace, Pod: cfg.Kubernetes.Pod, Hostname: name}
}
