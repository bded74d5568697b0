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
}

// Given finds the cluster of $KUBECONFIG, where the testbed can start none: that needs root on Debian or Ubuntu.
func Given(only []string) (*Cluster, bool) {
	file := os.Getenv("KUBECONFIG")
	if file == "" || !slices.Equal(only, []string{"kubernetes"}) || os.Geteuid() == 0 && debian() {
		return nil, false
	}
	return &Cluster{Kubeconfig: file}, true
}

// ChildEnv is the environment for the tests, beside the caller's.
func (c *Cluster) ChildEnv() ([]string, error) {
	return testbed.Facts{Kubernetes: &testbed.KubernetesNode{Kubeconfig: c.Kubeconfig, Shared: true}}.Environ()
}

// Load brings the images into the nodes of a cluster that kind has made. Into any other somebody has brought them.
func (c *Cluster) Load(ctx context.Context, talk io.Writer) error {
	name, err := finish(exec.CommandContext(ctx, "kubectl", "--kubeconfig", c.Kubeconfig, "config", "current-context"))
	if err != nil {
		return fmt.Errorf("asking for the cluster's name: %w", err)
	}
	cluster, made := strings.CutPrefix(strings.TrimSpace(name), "kind-")
	if !made {
		fmt.Fprintf(talk, "testbed: the cluster %s is not kind's: it is taken to have the images %s, …\n", strings.TrimSpace(name), testbed.Busybox)
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
	images := &built{archive: filepath.Join(dir, "images.tar"), done: make(chan struct{})}
	if err := images.build(ctx); err != nil {
		return err
	}
	if _, err := finish(exec.CommandContext(ctx, "kind", "load", "image-archive", images.archive, "--name", cluster)); err != nil {
		return fmt.Errorf("bringing the images into the cluster: %w", err)
	}
	return nil
}
