package imagebuild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// In a runner's pod buildah builds as root without further capabilities, and the node pulls what it has pushed.
func TestRealPod(t *testing.T) {
	testbed.Kubernetes(t)
	if !kubetest.Inside() {
		dir := portableBuildah(t)
		kubetest.InPod(t, kubetest.RunnerSpec{Copy: []string{dir}}, buildahVariable+"="+filepath.Join(dir, "buildah"))
		return
	}
	settleLibraries(t)
	s := podScene(t)
	s.dockerfile("RUN id -u && mkdir /made && chown 33:44 /made && echo 'from the build' >/made/text", `ENTRYPOINT ["cat", "/made/text"]`)
	ref, err := s.build(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &s.log)
	}
	t.Logf("%s", &s.log)
	creds, err := s.builder().PullCredentials(t.Context())
	if err != nil || creds == nil {
		t.Fatalf("%+v, %v", creds, err)
	}
	c, self := kubetest.Open(t), kubetest.Self(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: self.Namespace, Name: "pull"}, Type: corev1.SecretTypeDockerConfigJson,
		StringData: map[string]string{corev1.DockerConfigJsonKey: configJSON(creds.Server, creds.Username, creds.Password)},
	}
	c.Create(t, secret)
	user := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: self.Namespace, Name: "user"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			Containers: []corev1.Container{{Name: "action", Image: ref}},
		},
	}
	c.Create(t, user)
	c.AwaitPod(t, self.Namespace, "user", "ended well", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
	if said := c.Logs(t, self.Namespace, "user", "action"); said != "from the build\n" {
		t.Errorf("the action said %q", said)
	}
}

// Under the Pod Security level "restricted" the kernel does not let buildah work, and the verdict says so.
func TestRealRestrictedRunner(t *testing.T) {
	testbed.Kubernetes(t)
	if !kubetest.Inside() {
		dir := portableBuildah(t)
		kubetest.InPod(t, kubetest.RunnerSpec{Copy: []string{dir}, UID: 1001, Restricted: true, NamespaceLabels: []string{"pod-security.kubernetes.io/enforce=restricted"}},
			buildahVariable+"="+filepath.Join(dir, "buildah"))
		return
	}
	s := podScene(t)
	s.dockerfile("RUN id")
	_, err := s.build(t.Context())
	s.blames(err, verdict.Configuration, "allowPrivilegeEscalation", "kubernetes.build.address")
}

// settleLibraries puts what buildah links where every program of the pod finds it: buildah starts itself again with an
// empty environment.
func settleLibraries(t *testing.T) {
	t.Helper()
	libraries, err := filepath.Glob(filepath.Join(filepath.Dir(os.Getenv(buildahVariable)), "lib*.so*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries: %v", err)
	}
	for _, library := range libraries {
		text, err := os.ReadFile(library)
		if err != nil {
			t.Fatal(err)
		}
		if to := filepath.Join("/usr/lib", filepath.Base(library)); !exists(to) {
			writeFile(t, to, string(text), 0o755)
		}
	}
}

// buildahVariable tells a test in a pod where buildah is.
const buildahVariable = "GANTRY_TEST_BUILDAH"

// podScene is a scene in a pod, with the cluster's private registry.
func podScene(t *testing.T) *scene {
	t.Helper()
	registry := testbed.Kubernetes(t).Private
	s := sceneWith(t, &registry, Config{Tool: "buildah", Path: os.Getenv(buildahVariable)})
	s.Config.Registry = registry.Addr + "/" + strings.ToLower(kubetest.Self(t).Namespace)
	return s
}

// portableBuildah is a folder with buildah and all that it links, for an image that has neither.
func portableBuildah(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("buildah")
	if err != nil {
		t.Skip("there is no buildah")
	}
	out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := map[string]string{program: "buildah.real"}
	for line := range strings.Lines(string(out)) {
		if _, rest, ok := strings.Cut(line, "=> /"); ok {
			file := "/" + strings.Fields(rest)[0]
			copied[file] = filepath.Base(file)
		}
	}
	for from, to := range copied {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, to), string(text), 0o755)
	}
	writeFile(t, filepath.Join(dir, "buildah"), fmt.Sprintf("#!/bin/sh\nexport LD_LIBRARY_PATH=%s\nexec %s/buildah.real \"$@\"\n", dir, dir), 0o755)
	return dir
}
