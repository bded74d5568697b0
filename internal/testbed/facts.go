package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Environment variables through which the testbed command hands its facts to the tests. Each holds JSON.
const (
	EnvDocker     = "GANTRY_TEST_DOCKER"
	EnvPodman     = "GANTRY_TEST_PODMAN"
	EnvRootless   = "GANTRY_TEST_ROOTLESS"
	EnvRegistry   = "GANTRY_TEST_REGISTRY"
	EnvKubernetes = "GANTRY_TEST_KUBERNETES"
	EnvBuildKit   = "GANTRY_TEST_BUILDKIT"
)

// Engine is a running container engine.
type Engine struct {
	Name  string   // "docker" or "podman", as GANTRY_ENGINE says it
	Label string   // "docker", "podman" or "podman-rootless"
	Path  string   // absolute path of its command line program
	Env   []string // the whole environment in which to run that program, or gantry
	UID   int      // whom to run it as
	GID   int
	Home  string // HOME of that user, a directory of the testbed's
}

// Command is one call of the engine's own program, with its environment, as its user. The caller must be root or
// that user.
func (e *Engine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return e.Program(ctx, e.Path, args...)
}

// Program is a call of any program with the engine's environment, as the engine's user, in a directory that this
// user can enter. It is killed when ctx ends.
func (e *Engine) Program(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append([]string(nil), e.Env...)
	cmd.Dir = e.Home
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() != e.UID {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(e.UID), Gid: uint32(e.GID)}
	}
	return cmd
}

// RegistryServer is a registry without TLS. Engines may use it.
type RegistryServer struct {
	Addr     string // host:port
	User     string // "": it asks for no password
	Password string
	Image    string // an image that is there
}

// BuildKitDaemon is a running buildkitd, which takes the registry without TLS. It is for root.
type BuildKitDaemon struct {
	Address  string // for buildctl --addr
	Buildctl string // absolute path
}

// KubernetesNode is a running cluster of one node; package kubetest works with it.
type KubernetesNode struct {
	Kubeconfig string // file of the cluster's administrator
	Node       string // the node's name in the cluster
	// Address is the node's: what listens there is reached by pods, by the kubelet and from here.
	Address  string
	Registry RegistryServer // has all images, as ADDR/gantry.test/busybox:1; no password
	Private  RegistryServer // the same images, with a password
	Share    string         // a directory that pods may have under the same path, by hostPath
	Dir      string         // the node's own; see package kubenode
	Shared   bool           // others use it at the same time: its daemons are left alone
}

func encode(name string, fact any) (string, error) {
	text, err := json.Marshal(fact)
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", name, err)
	}
	return name + "=" + string(text), nil
}

// Facts is everything a testbed has running; what is nil was not asked for.
type Facts struct {
	Docker   *Engine
	Podman   *Engine
	Rootless *Engine
	Registry *RegistryServer

	Kubernetes *KubernetesNode
	BuildKit   *BuildKitDaemon
}

// Environ renders the facts as NAME=JSON, for the tests' environment.
func (f Facts) Environ() ([]string, error) {
	named := []struct {
		name    string
		fact    any
		present bool
	}{
		{EnvDocker, f.Docker, f.Docker != nil},
		{EnvPodman, f.Podman, f.Podman != nil},
		{EnvRootless, f.Rootless, f.Rootless != nil},
		{EnvRegistry, f.Registry, f.Registry != nil},
		{EnvKubernetes, f.Kubernetes, f.Kubernetes != nil},
		{EnvBuildKit, f.BuildKit, f.BuildKit != nil},
	}
	var env []string
	for _, n := range named {
		if !n.present {
			continue
		}
		line, err := encode(n.name, n.fact)
		if err != nil {
			return nil, err
		}
		env = append(env, line)
	}
	return env, nil
}

// Engines lists the engines that are there.
func (f Facts) Engines() []*Engine {
	var list []*Engine
	for _, e := range []*Engine{f.Docker, f.Podman, f.Rootless} {
		if e != nil {
			list = append(list, e)
		}
	}
	return list
}
