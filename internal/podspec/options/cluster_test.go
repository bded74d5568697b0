package options_test

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// An API server takes what comes of the options in testdata: nothing is started, it only checks.
func TestKubernetesTakesThem(t *testing.T) {
	c := kubetest.Open(t)
	ns := c.Namespace(t)
	running := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "never", Namespace: ns}, Spec: corev1.PodSpec{
		NodeSelector: map[string]string{"no": "node"}, Containers: []corev1.Container{{Name: "main", Image: "gantry.test/busybox:1"}},
	}}
	c.Create(t, running)
	archive, err := txtar.ParseFile("testdata/translate.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		if strings.HasPrefix(string(file.Data), "error: ") {
			continue
		}
		kind, flags, _ := strings.Cut(file.Name, ": ")
		r := kinds()[kind]
		if err := dryRun(t, c, running, r, flags); err != nil {
			t.Errorf("%s: %v", file.Name, err)
		}
	}
}

// dryRun asks the API server about a pod with a container, or about one more ephemeral container of a pod.
func dryRun(t *testing.T, c *kubetest.Cluster, running *corev1.Pod, r options.Request, flags string) error {
	t.Helper()
	asked, err := createopts.Parse(flags)
	if err != nil {
		t.Fatal(err)
	}
	r.Args = asked.Args
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "asked", Namespace: running.Namespace}}
	container := corev1.Container{Name: "c", Image: "gantry.test/busybox:1"}
	if _, err := options.Apply(r, pod, &container); err != nil {
		t.Fatal(err)
	}
	if r.Target == options.Pod {
		pod.Spec.Containers = []corev1.Container{container}
		return c.Request("POST", running.Namespace, pod).Param("dryRun", "All").Body(pod).Do(t.Context()).Error()
	}
	patch, err := json.Marshal(corev1.Pod{Spec: corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon(container)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Request("PATCH", running.Namespace, pod).Name(running.Name).SubResource("ephemeralcontainers").
		SetHeader("Content-Type", string(types.StrategicMergePatchType)).Param("dryRun", "All").Body(patch).Do(t.Context()).Error()
}
