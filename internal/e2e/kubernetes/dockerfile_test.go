package kubernetes

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// envBuildah names a folder with buildah, in the pod as outside.
const envBuildah = "GANTRY_TEST_BUILDAH"

// A Dockerfile action is built in the runner's container, pushed to a private registry, and runs from there with its own
// ENTRYPOINT; the next run finds it built.
func TestADockerfileAction(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if !kubetest.Inside() {
			buildah := kubetest.Portable(t, "buildah", "registry")
			r, env := p.pod(t, func(s *kubetest.RunnerSpec) { s.Copy = append(s.Copy, buildah) })
			r.Enter(t, append(env, envBuildah+"="+buildah)...)
			return
		}
		kubetest.Settle(t, os.Getenv(envBuildah))
		env := buildWithBuildah(t)
		r := p.runner(t, env...)
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
		defer stop()
		file := filepath.Join(r.Work, "_actions/owner/name/v1/Dockerfile")
		writeFile(t, file, "FROM "+testbed.Kubernetes(t).Private.Image+"\nCOPY says /says\nENTRYPOINT [\"sh\", \"-c\", \"cat /says; echo $1 >>made; exit $2\", \"x\"]\n")
		writeFile(t, filepath.Join(filepath.Dir(file), "says"), "built "+p.name+"\n")

		ok(t, r.Prepare(ctx, r.JobContainer(image(t, testbed.Alpine))))
		began := time.Now()
		runsAction(ctx, t, r, file, p, "first")
		first := time.Since(began)
		if refused := r.Call(ctx, hook.RunContainerStep, dockerfileStep(r, file, "failing", "5")); refused.ExitCode != 5 {
			t.Errorf("an action that fails with 5 gives %d: %s", refused.ExitCode, refused.Output())
		}
		ok(t, r.Cleanup(ctx))
		began, r = time.Now(), p.runner(t, env...) // of the next job
		runsAction(ctx, t, r, file, p, "without a job container")
		t.Logf("built, pushed, pulled and run in %v; run again, without a job container, in %v", first, time.Since(began))
		ok(t, r.Cleanup(ctx))
		made, err := os.ReadFile(filepath.Join(r.Workspace, "made"))
		if want := "first\nfailing\nwithout a job container\n"; err != nil || string(made) != want {
			t.Errorf("the workspace has %q (%v), want %q", made, err, want)
		}
	})
}

func runsAction(ctx context.Context, t *testing.T, r *fakerunner.Runner, file string, p place, word string) {
	t.Helper()
	res := ok(t, r.Call(ctx, hook.RunContainerStep, dockerfileStep(r, file, word, "0")))
	if want := "built " + p.name + "\n"; res.Stdout != want {
		t.Errorf("the action printed %q, want %q: %s", res.Stdout, want, res.Output())
	}
}

func dockerfileStep(r *fakerunner.Runner, file string, args ...string) *hook.Container {
	action := r.ContainerStep("", args...)
	action.Dockerfile = file
	return action
}

// buildWithBuildah configures the cluster's private registry for images of actions, each test's under a name of its own.
func buildWithBuildah(t *testing.T) []string {
	t.Helper()
	private := testbed.Kubernetes(t).Private
	accounts := filepath.Join(t.TempDir(), "config.json")
	login := base64.StdEncoding.EncodeToString([]byte(private.User + ":" + private.Password))
	writeFile(t, accounts, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, private.Addr, login))
	return []string{
		"GANTRY_KUBERNETES_BUILD_TOOL=buildah", "GANTRY_KUBERNETES_BUILD_PATH=" + filepath.Join(os.Getenv(envBuildah), "buildah"),
		"GANTRY_KUBERNETES_BUILD_REGISTRY=" + private.Addr + "/" + strings.ToLower(kubetest.Self(t).Namespace),
		"GANTRY_KUBERNETES_BUILD_INSECURE=true", "GANTRY_KUBERNETES_BUILD_CREDENTIALS=" + accounts,
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
