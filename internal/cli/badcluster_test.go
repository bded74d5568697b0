package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/cli"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// creates tells requests that make an object of a resource.
func creates(resource string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/"+resource)
	}
}

// A job on a cluster that does not take it ends with a reason that says whose problem it is, and what to do.
func TestClustersThatDoNotTakeAJob(t *testing.T) {
	const agent = "GANTRY_KUBERNETES_AGENT_IMAGE=agent:1"
	for name, c := range map[string]struct {
		env    []string
		refuse func(w http.ResponseWriter, r *http.Request) bool
		says   []string
	}{
		"no kubeconfig":             {[]string{"KUBECONFIG=/nowhere/config"}, nil, []string{"configuration: no cluster", "/nowhere/config", "hint: run the runner in a pod"}},
		"a kubeconfig that is none": {[]string{"KUBECONFIG=" + os.DevNull}, nil, []string{"gantry: configuration: ", os.DevNull}},
		"an unknown mode":           {[]string{"GANTRY_KUBERNETES_MODE=sidecar"}, nil, []string{"gantry: configuration: ", "GANTRY_KUBERNETES_MODE", "in-pod"}},
		"an unknown key in the template": {[]string{`GANTRY_KUBERNETES_TEMPLATE={spec: {nodeSelctor: {}}}`}, nil,
			[]string{"gantry: configuration: the pod template", "nodeSelctor", "did you mean nodeSelector?"}},
		"a template that breaks the job container": {[]string{`GANTRY_KUBERNETES_TEMPLATE={spec: {containers: [{name: $job, command: [sh]}]}}`}, nil,
			[]string{"gantry: configuration: the pod template", "command"}},
		"a template that is not there": {[]string{`ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE=/nowhere/pod.yaml`}, nil,
			[]string{"gantry: configuration: ", "/nowhere/pod.yaml", "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE"}},
		"a mode that cannot be had": {[]string{"GANTRY_KUBERNETES_MODE=in-pod"}, nil, []string{"gantry: configuration: ", "not a pod of the cluster"}},
		"a namespace that is not there": {[]string{agent, "GANTRY_KUBERNETES_NAMESPACE=nowhere"}, nil,
			[]string{"gantry: configuration: ", `namespaces "nowhere" not found`, "ACTIONS_RUNNER_KUBERNETES_NAMESPACE"}},
		"a forbidden request": {[]string{agent}, func(w http.ResponseWriter, r *http.Request) bool {
			if creates("pods")(r) {
				kubefake.Forbid(w, "create", "pods")
			}
			return creates("pods")(r)
		}, []string{"gantry: configuration: ", "hint: allow it", "# create: to start the job's pod", "resources: [pods]", "verbs: [create]"}},
		"a quota that is used up": {[]string{agent, "GANTRY_TIMEOUTS_SCHEDULE=1s"}, func(w http.ResponseWriter, r *http.Request) bool {
			if creates("pods")(r) {
				kubefake.Refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=9, limited: pods=9`)
			}
			return creates("pods")(r)
		}, []string{"gantry: waiting for room in the namespace: ", "gantry: infrastructure: ", "within 1s (timeouts.schedule)", "exceeded quota: small", "ResourceQuota"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := kubefake.New(t)
			server.Before = c.refuse
			code, output := prepareOn(t, server, c.env)
			if code == 0 {
				t.Errorf("it succeeds: %s", output)
			}
			for _, says := range c.says {
				if !strings.Contains(output, says) {
					t.Errorf("not said: %q in\n%s", says, output)
				}
			}
		})
	}
}

// prepareOn has the hook begin a job on a cluster, from a machine that is no pod.
func prepareOn(t *testing.T, server *kubefake.Server, env []string) (code int, output string) {
	t.Helper()
	dir := t.TempDir()
	work, kubeconfig := filepath.Join(dir, "_work"), filepath.Join(dir, "kubeconfig")
	err := errors.Join(
		os.MkdirAll(filepath.Join(work, "_temp"), 0o755),
		os.WriteFile(filepath.Join(dir, "gantry-agent"), nil, 0o755),
		os.WriteFile(kubeconfig, fmt.Appendf(nil, `{clusters: [{name: c, cluster: {server: %q}}], contexts: [{name: c, context: {cluster: c, namespace: %s}}], current-context: c}`,
			server.Place().Config.Host, kubefake.Namespace), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(map[string]any{
		"command": hook.PrepareJob, "responseFile": filepath.Join(work, "_temp", "response"), "state": map[string]any{},
		"args": hook.PrepareJobArgs{Container: &hook.Container{Image: "registry.invalid/node:22", SystemMountVolumes: []hook.MountVolume{
			{SourceVolumePath: work, TargetVolumePath: "/__w"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code = cli.Main(t.Context(), &cli.Process{
		Args: []string{"hook"}, Stdin: bytes.NewReader(input), Stdout: &out, Stderr: &out, Dir: dir, Executable: filepath.Join(dir, "gantry"),
		Environ: append([]string{"HOME=" + dir, "GANTRY_ENGINE=kubernetes", "KUBECONFIG=" + kubeconfig, "GANTRY_STATE_DIR=" + filepath.Join(dir, "state")}, env...),
		Version: "1", Now: time.Now, UID: os.Getuid(), GID: os.Getgid(),
	})
	return code, out.String()
}
