package kubenode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// Node is a one-node cluster below a directory.
type Node struct {
	Dir        string            // absolute; short: it holds sockets
	Program    string            // from Build
	Pause      string            // the image of pods' first process, in Archive
	Archive    string            // images, as `docker save` writes them
	Registries map[string]string // host in an image's name -> URL of what is asked instead
	Env        []string          // of every daemon
	Path       string            // where programs of the machine are looked for
}

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.Dir}, parts...)...)
}

// group is the control group of the node's pods: another for each directory.
func (n *Node) group() string {
	sum := sha256.Sum256([]byte(n.Dir))
	return "gantry-" + hex.EncodeToString(sum[:4])
}

// Kubeconfig is the file of the cluster's administrator.
func (n *Node) Kubeconfig() string { return n.path("admin.kubeconfig") }

// Daemons is the directory of the daemons' files, which package daemon reads: NAME.json each.
func (n *Node) Daemons() string { return n.path("daemons") }

// Audit is the API server's log of requests.
func (n *Node) Audit() string { return n.path("audit.log") }

// Runtime is where runc finds the containers of pods.
func (n *Node) Runtime() string { return n.path("runc", "k8s.io") }

// Bundle is the directory in which a container's config.json lies.
func (n *Node) Bundle(container string) string {
	return n.path("containerd", "state", "io.containerd.runtime.v2.task", "k8s.io", container)
}

// EmptyDir is where a pod's volume of that kind lies.
func (n *Node) EmptyDir(podUID, volume string) string {
	return n.path("kubelet", "pods", podUID, "volumes", "kubernetes.io~empty-dir", volume)
}

// Network makes the network in which the node will be: what pods shall reach may listen at Address from then on.
func (n *Node) Network(ctx context.Context) error {
	if err := os.MkdirAll(n.Daemons(), 0o700); err != nil {
		return fmt.Errorf("making the node's directory: %w", err)
	}
	return n.makeNetwork(ctx)
}

// Start starts every part of the cluster, and returns once the API server answers. Network was called before. What an
// error leaves is ended by Down.
func (n *Node) Start(ctx context.Context) error {
	if err := writeCertificates(n.path("pki")); err != nil {
		return err
	}
	if err := n.writeConfigs(); err != nil {
		return err
	}
	if err := makeGroup(n.group()); err != nil {
		return err
	}
	if err := n.startContainerd(); err != nil {
		return err
	}
	for _, p := range n.parts() {
		if err := n.startPart(p); err != nil {
			return err
		}
		if p.name != "kube-apiserver" {
			continue
		}
		if err := n.await(ctx, p.name, func() error { return n.answers(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// Join brings the images in, and returns once pods run.
func (n *Node) Join(ctx context.Context) error {
	if err := n.importImages(ctx); err != nil {
		return err
	}
	return n.await(ctx, "kubelet", func() error { return n.usable(ctx) })
}

// part is one of the node program's.
type part struct {
	name string
	args []string
}

// parts are listed as they are started. Those after the API server wait long before they ask it again.
func (n *Node) parts() []part {
	pki := n.path("pki") + "/"
	return []part{
		{"etcd", flags(
			"data-dir", n.path("etcd"), "log-level", "warn", "unsafe-no-fsync", "true",
			"listen-client-urls", "http://127.0.0.1:"+etcdPort, "advertise-client-urls", "http://127.0.0.1:"+etcdPort,
			"listen-peer-urls", "http://127.0.0.1:"+etcdPeerPort,
			"initial-advertise-peer-urls", "http://127.0.0.1:"+etcdPeerPort,
			"initial-cluster", "default=http://127.0.0.1:"+etcdPeerPort)},
		{"kube-apiserver", n.apiServerArgs()},
		{"kube-controller-manager", append(n.controllerArgs("kube-controller-manager", controllerPort), flags(
			"root-ca-file", pki+"ca.crt", "service-account-private-key-file", pki+"tokens.key",
			"use-service-account-credentials", "true",
			"cluster-signing-cert-file", pki+"ca.crt", "cluster-signing-key-file", pki+"ca.key")...)},
		{"kube-scheduler", n.controllerArgs("kube-scheduler", schedulerPort)},
		{"kubelet", flags("config", n.path("kubelet.yaml"), "kubeconfig", n.path("kubelet.kubeconfig"),
			"hostname-override", Name, "node-ip", Address, "root-dir", n.path("kubelet"))},
		{"kube-proxy", flags("config", n.path("kube-proxy.yaml"))},
	}
}

func (n *Node) startPart(p part) error {
	s := n.spec(p.name, append([]string{n.Program, p.name}, p.args...))
	if p.name == "kubelet" { // it mounts volumes that containerd must see
		s.Mounts = n.file("containerd")
	}
	_, err := s.Start(n.file(p.name))
	return err
}

// startContainerd starts it with mounts of its own, which the kubelet will share.
func (n *Node) startContainerd() error {
	path, err := daemon.Program("containerd", n.Path)
	if err != nil {
		return err
	}
	s := n.spec("containerd", []string{path, "--config", n.path("containerd.toml")})
	return daemon.WithMounts(n.ownMounts, func() error {
		_, err := s.Start(n.file("containerd"))
		return err
	})
}

func (n *Node) spec(name string, args []string) daemon.Spec {
	return daemon.Spec{
		Name: name,
		Args: args,
		Env:  append(slices.Clone(n.Env), "PATH="+n.Path),
		Dir:  n.Dir,
		Log:  n.path(name + ".log"),
	}
}

func (n *Node) file(daemon string) string { return filepath.Join(n.Daemons(), daemon+".json") }

func (n *Node) await(ctx context.Context, name string, check func() error) error {
	s, err := daemon.Read(n.file(name))
	if err != nil {
		return err
	}
	return s.Process.Ready(ctx, check)
}

// importImages brings the archive into containerd, each image marked so that the kubelet takes it for its own.
func (n *Node) importImages(ctx context.Context) error {
	images := func(args ...string) error {
		return n.run(ctx, append([]string{"ctr", "--address", n.path("containerd.sock"), "--namespace", "k8s.io", "images"}, args...)...)
	}
	if err := n.await(ctx, "containerd", func() error { return images("list", "--quiet") }); err != nil {
		return err
	}
	if err := images("import", "--snapshotter", snapshotter(n.Dir), n.Archive); err != nil {
		return err
	}
	return images("label", n.Pause, "io.cri-containerd.image=managed", "io.cri-containerd.pinned=pinned")
}

// run calls a program of the machine; an error has what it said.
func (n *Node) run(ctx context.Context, args ...string) error {
	path, err := daemon.Program(args[0], n.Path)
	if err != nil {
		return err
	}
	_, err = output(ctx, "", append([]string{path}, args[1:]...)...)
	return err
}

// Down ends everything that the node has started and takes away what it has made outside its directory. It goes on
// after errors and may be called again.
func (n *Node) Down(ctx context.Context) error {
	daemons, err := daemon.ReadAll(n.Daemons())
	errs := []error{err}
	for _, p := range slices.Backward(n.parts()) {
		daemons[p.name].Process.End(0) // nothing of the cluster is kept
	}
	errs = append(errs, removeGroup(n.group()))
	daemons["containerd"].Process.End(5 * time.Second)
	return errors.Join(append(errs, n.dropNetwork(ctx))...)
}
