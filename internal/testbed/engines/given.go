package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Cluster is a Kubernetes that somebody else has started.
type Cluster struct {
	Kubeconfig string
	// Registry and Private are registries without TLS that its nodes and this machine know under the same address; without an
	// address there is none, and tests that pull skip themselves.
	Registry, Private testbed.RegistryServer
}

// Variables that tell of the registries of a given cluster: HOST:PORT, and USER:PASSWORD@HOST:PORT.
const (
	givenRegistry = "GANTRY_TEST_CLUSTER_REGISTRY"
	givenPrivate  = "GANTRY_TEST_CLUSTER_PRIVATE"
)

// Given finds the cluster of $KUBECONFIG, where the testbed can start none: that needs root on Debian or Ubuntu.
func Given(only []string) (*Cluster, bool) {
	file := os.Getenv("KUBECONFIG")
	if file == "" || !slices.Contains(only, "kubernetes") || os.Geteuid() == 0 && debian() {
		return nil, false
	}
	return given(file, os.Getenv(givenRegistry), os.Getenv(givenPrivate)), true
}

func given(kubeconfig, registry, private string) *Cluster {
	c := &Cluster{Kubeconfig: kubeconfig}
	c.Registry.Addr = registry
	if account, addr, found := strings.Cut(private, "@"); found {
		c.Private.User, c.Private.Password, _ = strings.Cut(account, ":")
		c.Private.Addr, c.Private.Image = addr, addr+"/"+testbed.Busybox
	}
	return c
}

// ChildEnv is the environment for the tests, beside the caller's.
func (c *Cluster) ChildEnv() ([]string, error) {
	node := &testbed.KubernetesNode{Kubeconfig: c.Kubeconfig, Shared: true, Registry: c.Registry, Private: c.Private}
	return testbed.Facts{Kubernetes: node}.Environ()
}

// Load brings the images into the cluster's registries, and into the nodes of a cluster that kind has made. Into any other
// somebody has brought them.
func (c *Cluster) Load(ctx context.Context, talk io.Writer) error {
	name, err := finish(exec.CommandContext(ctx, "kubectl", "--kubeconfig", c.Kubeconfig, "config", "current-context"))
	if err != nil {
		return fmt.Errorf("asking for the cluster's name: %w", err)
	}
	cluster, kind := strings.CutPrefix(strings.TrimSpace(name), "kind-")
	pulls := c.Registry.Addr != "" && c.Private.Addr != ""
	if !kind {
		fmt.Fprintf(talk, "testbed: the cluster %s is not kind's: it is taken to have the images %s, …\n", cluster, testbed.Busybox)
	}
	if !pulls {
		fmt.Fprintf(talk, "testbed: tests whose nodes pull images are skipped: set %s and %s\n", givenRegistry, givenPrivate)
	}
	if !kind && !pulls {
		return nil
	}
	if missing := planPackages([]string{"none"}, present); len(missing) > 0 {
		return errors.New("making images for the cluster" + toInstall(missing))
	}
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return fmt.Errorf("making images for the cluster: %w", err)
	}
	defer os.RemoveAll(dir)
	made := &built{archive: filepath.Join(dir, "images.tar"), done: make(chan struct{})}
	err = made.build(ctx)
	if err == nil && pulls {
		err = errors.Join(made.pushAll(ctx, &c.Registry), made.pushAll(ctx, &c.Private))
	}
	if err == nil && kind {
		_, err = finish(exec.CommandContext(ctx, "kind", "load", "image-archive", made.archive, "--name", cluster))
	}
	if err != nil {
		return fmt.Errorf("bringing the images into the cluster: %w", err)
	}
	return nil
}
