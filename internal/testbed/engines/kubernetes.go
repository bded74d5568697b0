package engines

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// Ports of the registries, on the node's address.
const (
	openPort    = ":5000"
	privatePort = ":5001"
)

// imagesHost is the first part of all test images' names. The node takes it for the open registry, so that a pull
// policy of "always" finds them too.
const imagesHost = "gantry.test"

func (b *Bed) node() *kubenode.Node {
	open, private := kubenode.Address+openPort, kubenode.Address+privatePort
	return &kubenode.Node{
		Dir:     b.state.Node,
		Pause:   testbed.Pause,
		Archive: filepath.Join(b.Dir, "images.tar"),
		Registries: map[string]string{
			open:       "http://" + open + "/v2",
			private:    "http://" + private + "/v2",
			imagesHost: "http://" + open + "/v2/" + imagesHost,
		},
		Env:  []string{marker + "=" + b.Dir},
		Path: cleanPath,
	}
}

// startKubernetes runs the control plane, and the registries that its node will pull from.
func (b *Bed) startKubernetes(ctx context.Context) error {
	program, err := kubenode.Build(ctx, b.talk)
	if err != nil {
		return err
	}
	if err := b.record(func(s *state) { s.Node = filepath.Join(b.Dir, "kubernetes") }); err != nil {
		return err
	}
	node := b.node()
	node.Program = program
	if err := node.Network(ctx); err != nil {
		return err
	}
	facts, err := b.kubernetesFacts(node)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return node.Start(ctx) })
	for name, server := range map[string]*testbed.RegistryServer{"open-registry": &facts.Registry, "private-registry": &facts.Private} {
		group.Go(func() error { return b.serve(ctx, name, filepath.Join(b.Dir, "node-registry"), server) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.Kubernetes = facts })
}

func (b *Bed) kubernetesFacts(node *kubenode.Node) (*testbed.KubernetesNode, error) {
	facts := &testbed.KubernetesNode{
		Kubeconfig: node.Kubeconfig(),
		Node:       kubenode.Name,
		Address:    kubenode.Address,
		Registry:   testbed.RegistryServer{Addr: kubenode.Address + openPort},
		Private:    testbed.RegistryServer{Addr: kubenode.Address + privatePort, User: "gantry", Password: rand.Text()},
		Share:      filepath.Join(b.Dir, "share"),
		Dir:        node.Dir,
		Shared:     b.state.Keep,
	}
	for _, server := range []*testbed.RegistryServer{&facts.Registry, &facts.Private} {
		server.Image = server.Addr + "/" + testbed.Busybox
	}
	err := os.Mkdir(facts.Share, 0o755)
	if err == nil {
		err = os.Chmod(facts.Share, os.ModeSticky|0o777)
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory for pods: %w", err)
	}
	return facts, nil
}

// joinKubernetes brings the images to the node and into the registry, and waits until pods run.
func (b *Bed) joinKubernetes(ctx context.Context, made *built) error {
	node := b.node()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return node.Join(ctx) })
	group.Go(func() error { return made.pushAll(ctx, &b.state.Facts.Kubernetes.Registry) })
	return group.Wait()
}

// pushAll brings all images into a registry.
func (i *built) pushAll(ctx context.Context, server *testbed.RegistryServer) error {
	for _, image := range i.images {
		name, tag, _ := strings.Cut(image.Name, ":")
		if err := (registryClient{server: server}).push(ctx, name, tag, image); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bed) endKubernetes(ctx context.Context) error {
	if b.state.Node == "" {
		return nil
	}
	return b.node().Down(ctx)
}

// leftInCluster lists what tests have left in the cluster.
func (b *Bed) leftInCluster(ctx context.Context) ([]string, error) {
	if b.state.Facts.Kubernetes == nil {
		return nil, nil
	}
	left, err := b.node().Left(ctx)
	for i := range left {
		left[i] = "kubernetes: " + left[i]
	}
	return left, err
}
