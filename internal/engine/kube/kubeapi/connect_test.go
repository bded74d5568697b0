package kubeapi_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/verdict"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u, namespace: ci}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
`

// pod makes what the kubelet gives a pod, and its environment.
func podSources(t *testing.T) kubeapi.Sources {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), "secret")
	write(t, filepath.Join(dir, "namespace"), "arc\n")
	return kubeapi.Sources{
		Env:               []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=6443", "HOME=" + t.TempDir()},
		Hostname:          "runner-1",
		ServiceAccountDir: dir,
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWhereTheClusterIs(t *testing.T) {
	pod := podSources(t)
	file := write(t, filepath.Join(t.TempDir(), "config"), kubeconfig)
	home := t.TempDir()
	write(t, filepath.Join(home, ".kube", "config"), kubeconfig)
	with := func(s kubeapi.Sources, env ...string) kubeapi.Sources {
		s.Env = append(append([]string{}, s.Env...), env...)
		return s
	}
	for name, c := range map[string]struct {
		from                 kubeapi.Sources
		host, namespace, pod string
	}{
		"a pod":                         {pod, "https://10.0.0.1:6443", "arc", "runner-1"},
		"a pod, and a job's kubeconfig": {with(pod, "KUBECONFIG="+file), "https://10.0.0.1:6443", "arc", "runner-1"},
		"a pod of the controller's": {with(pod, "ACTIONS_RUNNER_POD_NAME=named", "ACTIONS_RUNNER_KUBERNETES_NAMESPACE=other"),
			"https://10.0.0.1:6443", "other", "named"},
		"a machine with KUBECONFIG":  {kubeapi.Sources{Env: []string{"KUBECONFIG=" + file}, Hostname: "m"}, "https://192.0.2.1:6443", "ci", ""},
		"a machine with a home":      {kubeapi.Sources{Env: []string{"HOME=" + home}, Hostname: "m"}, "https://192.0.2.1:6443", "ci", ""},
		"a file in the settings":     {kubeapi.Sources{Kubeconfig: file, Namespace: "mine"}, "https://192.0.2.1:6443", "mine", ""},
		"a pod, a file all the same": {func() kubeapi.Sources { s := pod; s.Kubeconfig = file; return s }(), "https://192.0.2.1:6443", "ci", "runner-1"},
	} {
		t.Run(name, func(t *testing.T) {
			place, err := kubeapi.Find(c.from)
			if err != nil {
				t.Fatal(err)
			}
			if place.Config.Host != c.host || place.Namespace != c.namespace || place.Pod != c.pod || place.Source == "" {
				t.Errorf("found %+v, host %q", place, place.Config.Host)
			}
		})
	}
}

func TestNoClusterIsTheConfigurationsProblem(t *testing.T) {
	broken := write(t, filepath.Join(t.TempDir(), "config"), "no: [yaml")
	for name, from := range map[string]kubeapi.Sources{
		"no kubeconfig":      {Env: []string{"HOME=" + t.TempDir()}},
		"one that is absent": {Kubeconfig: filepath.Join(t.TempDir(), "none")},
		"one that is broken": {Env: []string{"KUBECONFIG=" + broken}},
		"a pod, no account":  {Env: []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "HOME=/nowhere"}, ServiceAccountDir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			place, err := kubeapi.Find(from)
			if v := verdict.Of(err); err == nil || v.Whose != verdict.Configuration || v.Hint == "" {
				t.Errorf("found %+v, %v", place, err)
			}
		})
	}
}
