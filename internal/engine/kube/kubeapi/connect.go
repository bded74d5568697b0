// Package kubeapi asks the Kubernetes API server for the few things that gantry needs of it: pods, ephemeral containers,
// secrets, events, logs and exec streams, all in one namespace.
//
// It speaks plain JSON over the transport that client-go makes (certificates, tokens that are renewed, exec plugins of a
// kubeconfig). What may pass (too many requests, a server that restarts, a broken connection) is tried again; all
// that is created has a name, so that trying again never makes it twice. A refusal becomes a verdict that names the
// permission that is missing.
package kubeapi

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gantry-ci/gantry/internal/verdict"
)

// serviceAccountDir is where the kubelet puts what a pod needs to reach the API server.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// Place is where the API server is, and which part of the cluster is ours.
type Place struct {
	Config    *rest.Config
	Namespace string
	// Home is the namespace of the pod's service account, "" outside of a pod.
	Home string
	// Pod is the name of the pod that this process runs in, "" outside of the cluster.
	Pod string
	// Source says where all this comes from, for people: "the pod's service account", "/home/me/.kube/config".
	Source string
}

// Sources are what Find looks at.
type Sources struct {
	Env []string // as os.Environ
	// Kubeconfig comes before everything else; "": none is configured.
	Kubeconfig string
	// Namespace and Pod come before what Find would find.
	Namespace, Pod string
	// Hostname is this machine's: a pod's name, unless the pod says otherwise.
	Hostname string
	// ServiceAccountDir is for tests; "" is the kubelet's.
	ServiceAccountDir string
}

// Find finds the cluster: in a pod through its service account, elsewhere through $KUBECONFIG or ~/.kube/config. It
// asks nobody. A pod's account comes before $KUBECONFIG, which a job can have in its environment for the clusters that
// it deploys to.
func Find(s Sources) (*Place, error) {
	var place *Place
	var err error
	switch {
	case s.Kubeconfig != "":
		place, err = fromKubeconfig([]string{s.Kubeconfig})
	case s.InPod():
		place, err = s.fromServiceAccount()
	default:
		place, err = s.fromUsersConfig()
	}
	if err != nil {
		return nil, err
	}
	place.Namespace = firstOf(s.Namespace, s.lookup("ACTIONS_RUNNER_KUBERNETES_NAMESPACE"), place.Namespace, "default")
	place.Pod = firstOf(s.Pod, s.lookup("ACTIONS_RUNNER_POD_NAME"))
	if place.Pod == "" && s.InPod() {
		place.Pod = s.Hostname
	}
	place.Config.QPS = -1 // we are few calls; the server defends itself
	return place, nil
}

// InPod tells whether this process runs in a pod that may ask the API server.
func (s Sources) InPod() bool {
	_, err := os.Stat(filepath.Join(s.accountDir(), "token"))
	return s.lookup("KUBERNETES_SERVICE_HOST") != "" && err == nil
}

func (s Sources) accountDir() string { return firstOf(s.ServiceAccountDir, serviceAccountDir) }

func (s Sources) fromServiceAccount() (*Place, error) {
	dir := s.accountDir()
	namespace, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the namespace of the pod's service account: %w", err)
	}
	address := net.JoinHostPort(s.lookup("KUBERNETES_SERVICE_HOST"), firstOf(s.lookup("KUBERNETES_SERVICE_PORT"), "443"))
	return &Place{
		Config: &rest.Config{
			Host: "https://" + address, BearerTokenFile: filepath.Join(dir, "token"),
			TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
		},
		Namespace: strings.TrimSpace(string(namespace)), Home: strings.TrimSpace(string(namespace)),
		Source: "the pod's service account",
	}, nil
}

// fromUsersConfig reads the files that kubectl would.
func (s Sources) fromUsersConfig() (*Place, error) {
	files := filepath.SplitList(s.lookup("KUBECONFIG"))
	if len(files) == 0 {
		files = []string{filepath.Join(firstOf(s.lookup("HOME"), "/"), ".kube", "config")}
	}
	exists := func(name string) bool {
		_, err := os.Stat(name)
		return err == nil
	}
	if !slices.ContainsFunc(files, exists) {
		return nil, verdict.New(verdict.Configuration,
			"run the runner in a pod with a service account, or set KUBECONFIG to a file that reaches the cluster",
			"no cluster: this is no pod with a service account, and there is no kubeconfig (%s)", strings.Join(files, ", "))
	}
	return fromKubeconfig(files)
}

func fromKubeconfig(files []string) (*Place, error) {
	source := strings.Join(files, ":")
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: files}
	if len(files) == 1 {
		rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: files[0]}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "`kubectl --kubeconfig FILE get pods` must work for the runner's user",
			"reading the kubeconfig %s: %w", source, err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "", "reading the namespace in the kubeconfig %s: %w", source, err)
	}
	return &Place{Config: cfg, Namespace: namespace, Source: source}, nil
}

// lookup is the last value of a variable, "" if it is not set.
func (s Sources) lookup(name string) string {
	for _, entry := range slices.Backward(s.Env) {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value
		}
	}
	return ""
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
