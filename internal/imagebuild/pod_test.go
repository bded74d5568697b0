package imagebuild

import (
	"os"
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
		dir := kubetest.Portable(t, "buildah", "registry")
		kubetest.InPod(t, kubetest.RunnerSpec{Copy: []string{dir}}, buildahVariable+"="+filepath.Join(dir, "buildah"))
		return
	}
	kubetest.Settle(t, filepath.Dir(os.Getenv(buildahVariable)))
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
		dir := kubetest.Portable(t, "buildah", "registry")
		kubetest.InPod(t, kubetest.RunnerSpec{Copy: []string{dir}, UID: 1001, Restricted: true, NamespaceLabels: []string{"pod-security.kubernetes.io/enforce=restricted"}},
			buildahVariable+"="+filepath.Join(dir, "buildah"))
		return
	}
	s := podScene(t)
	s.dockerfile("RUN id")
	_, err := s.build(t.Context())
	s.blames(err, verdict.Configuration, "allowPrivilegeEscalation", "kubernetes.build.address")
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
