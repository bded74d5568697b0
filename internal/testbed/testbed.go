package testbed

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// Docker is the testbed's Docker. Without one the test is skipped, or failed when CI=true.
func Docker(t testing.TB) *Engine {
	t.Helper()
	return need[Engine](t, EnvDocker, "docker")
}

// Podman is the testbed's Podman, run as root. Without one the test is skipped, or failed when CI=true.
func Podman(t testing.TB) *Engine {
	t.Helper()
	return need[Engine](t, EnvPodman, "podman")
}

// PodmanRootless is the testbed's Podman of an ordinary user. Without one the test is skipped, or failed when
// CI=true. A test that runs as root drives it with Engine.Command, or goes on in the user's skin with RunAs.
func PodmanRootless(t testing.TB) *Engine {
	t.Helper()
	return need[Engine](t, EnvRootless, "rootless")
}

// Registry is the testbed's registry. Without one the test is skipped, or failed when CI=true.
func Registry(t testing.TB) *RegistryServer {
	t.Helper()
	return need[RegistryServer](t, EnvRegistry, "registry")
}

// Kubernetes is the testbed's cluster; package kubetest works with it. Without one the test is skipped, or failed when
// CI=true.
func Kubernetes(t testing.TB) *KubernetesNode {
	t.Helper()
	return need[KubernetesNode](t, EnvKubernetes, "kubernetes")
}

// BuildKit is the testbed's BuildKit. Without one the test is skipped, or failed when CI=true.
func BuildKit(t testing.TB) *BuildKitDaemon {
	t.Helper()
	return need[BuildKitDaemon](t, EnvBuildKit, "registry,buildkit")
}

// Engines lists the engines of the testbed: all three when CI=true, at the desk those that are running; with none
// the test is skipped.
func Engines(t testing.TB) []*Engine {
	t.Helper()
	if inCI() {
		return []*Engine{Docker(t), Podman(t), PodmanRootless(t)}
	}
	facts := Facts{
		Docker:   lookup[Engine](t, EnvDocker),
		Podman:   lookup[Engine](t, EnvPodman),
		Rootless: lookup[Engine](t, EnvRootless),
	}
	engines := facts.Engines()
	if len(engines) == 0 {
		missing(t, "engine", "docker")
	}
	return engines
}

// Program is the path of a program of this machine that a part of the testbed installs. Without it the test is skipped, or
// failed when CI=true.
func Program(t testing.TB, name, only string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name, only)
	}
	return path
}

func inCI() bool { return os.Getenv("CI") == "true" }

func need[T any](t testing.TB, name, only string) *T {
	t.Helper()
	fact := lookup[T](t, name)
	if fact == nil {
		missing(t, name, only)
	}
	return fact
}

func missing(t testing.TB, what, only string) {
	t.Helper()
	const format = "no %s here; run: go run ./internal/testbed/cmd/testbed run --only %s -- go test ./..."
	if inCI() {
		t.Fatalf(format, what, only)
	}
	t.Skipf(format, what, only)
}

func lookup[T any](t testing.TB, name string) *T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return nil
	}
	fact := new(T)
	if err := json.Unmarshal([]byte(text), fact); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	return fact
}
