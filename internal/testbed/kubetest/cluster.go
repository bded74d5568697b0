package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Cluster is the testbed's Kubernetes, seen by its administrator.
type Cluster struct {
	testbed.KubernetesNode
	Config *rest.Config

	client *http.Client
}

// limit bounds what the cluster is waited for.
const limit = 2 * time.Minute

// Open finds the testbed's Kubernetes. Without one the test is skipped, or failed when CI=true.
func Open(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{KubernetesNode: *testbed.Kubernetes(t)}
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		t.Fatalf("reading the cluster's kubeconfig: %v", err)
	}
	c.Config.QPS = -1 // no limit of the client's own
	c.Config.UserAgent = "kubetest"
	c.Config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if c.client, err = rest.HTTPClientFor(c.Config); err != nil {
		t.Fatalf("connecting to the cluster: %v", err)
	}
	return c
}

// foreign tells that the cluster is not the testbed's own: somebody's, or seen from inside a pod.
func (c *Cluster) foreign() bool { return c.Dir == "" }

// Own sees that the cluster is the testbed's own, on this machine, for what can only be done there. In somebody's cluster,
// which somebody has chosen, the test is skipped.
func (c *Cluster) Own(t testing.TB) {
	t.Helper()
	if Inside() {
		t.Fatal("this is done outside, not in a pod")
	}
	if c.foreign() {
		t.Skip("this needs a cluster that the testbed has started; as root: testbed run --only kubernetes -- go test …")
	}
}

// Registries sees that there are registries that the cluster's nodes can pull from. In somebody's cluster that has none, the test
// is skipped, or failed when CI=true; the testbed's own has them.
func (c *Cluster) Registries(t testing.TB) {
	t.Helper()
	if c.Registry.Addr != "" && c.Private.Addr != "" {
		return
	}
	const text = "this needs registries of the given cluster: set GANTRY_TEST_CLUSTER_REGISTRY=HOST:PORT and GANTRY_TEST_CLUSTER_PRIVATE=USER:PASSWORD@HOST:PORT"
	if !c.foreign() || os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Namespace makes a namespace with labels (NAME=VALUE), in which pods can be made. It is deleted with all that it has
// when the test ends, which does not wait for it; when the test has failed, what happened there is shown first.
func (c *Cluster) Namespace(t testing.TB, labels ...string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: map[string]string{}}}
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		ns.Labels[name] = value
	}
	c.Create(t, ns)
	t.Cleanup(func() { c.drop(t, ns.Name) })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "default"}}
	eventually(t, "the namespace's service account", func(ctx context.Context) error { return c.Get(ctx, account) })
	return ns.Name
}

// drop deletes a namespace without waiting. Pods get no grace: their namespace would be there as long as they.
func (c *Cluster) drop(t testing.TB, namespace string) {
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	if t.Failed() {
		t.Logf("in the namespace %s:\n%s", namespace, c.Happened(ctx, namespace))
	}
	if err := c.Request("DELETE", namespace, &corev1.Pod{}).Body(noGrace()).Do(ctx).Error(); err != nil {
		t.Errorf("deleting the test's pods: %v", err)
	}
	if err := c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Errorf("deleting the test's namespace: %v", err)
	}
}

// Happened tells, for people, the pods of a namespace with their containers, and its events.
func (c *Cluster) Happened(ctx context.Context, namespace string) string {
	var text strings.Builder
	var pods corev1.PodList
	var events corev1.EventList
	if err := errors.Join(c.List(ctx, namespace, &pods), c.List(ctx, namespace, &events)); err != nil {
		return err.Error()
	}
	for _, pod := range pods.Items {
		fmt.Fprintf(&text, "pod %s: %s %s %s\n", pod.Name, pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
			state, _ := json.Marshal(s.State)
			fmt.Fprintf(&text, "  %s: %s\n", s.Name, state)
		}
	}
	for _, e := range events.Items {
		fmt.Fprintf(&text, "%s %s %s: %s (%d times)\n", e.InvolvedObject.Name, e.Type, e.Reason, e.Message, max(e.Count, 1))
	}
	return text.String()
}

// Logs is what a container has printed.
func (c *Cluster) Logs(t testing.TB, namespace, pod, container string) string {
	t.Helper()
	text, err := c.Request("GET", namespace, &corev1.Pod{}).Name(pod).SubResource("log").Param("container", container).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("reading the log of %s/%s: %v", pod, container, err)
	}
	return string(text)
}

// AwaitPod waits until the pod is as wanted, and returns it.
func (c *Cluster) AwaitPod(t testing.TB, namespace, name, wanted string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	eventually(t, "pod "+name+" "+wanted, func(ctx context.Context) error {
		if err := c.Get(ctx, pod); err != nil {
			return err
		}
		if !is(pod) {
			state, _ := json.Marshal(pod.Status)
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	return pod
}

// Running tells whether all containers of a pod run.
func Running(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running == nil {
			return false
		}
	}
	return pod.Status.Phase == corev1.PodRunning
}

// eventually fails the test when check does not succeed within the limit.
func eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, last)
		}
	}
}

// Inside tells whether this process is a test that Enter has started in a pod.
func Inside() bool { return os.Getenv(envRunner) != "" }
