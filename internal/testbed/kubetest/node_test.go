package kubetest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// This file proves that the node is a whole one: what the tests of other packages take for granted.

// startPod makes a pod of one container, "main", and returns once it runs.
func startPod(t *testing.T, c *kubetest.Cluster, namespace string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: testbed.Busybox,
				Command: []string{"sh", "-c", "echo started; exec sleep 2147483647"},
			}},
		},
	}
	if change != nil {
		change(pod)
	}
	c.Create(t, pod)
	return c.AwaitPod(t, namespace, pod.Name, "running", kubetest.Running)
}

// execIn runs a command through the API server.
func execIn(t *testing.T, c *kubetest.Cluster, pod *corev1.Pod, stdin string, command ...string) (string, error) {
	t.Helper()
	at := c.Request(http.MethodPost, pod.Namespace, pod).Name(pod.Name).SubResource("exec").VersionedParams(
		&corev1.PodExecOptions{Container: "main", Command: command, Stdin: true, Stdout: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(c.Config, http.MethodGet, at.String())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(stdin), Stdout: &out})
	return out.String(), err
}

func TestAPodRunsAndIsReached(t *testing.T) {
	c := kubetest.Open(t)
	pod := startPod(t, c, c.Namespace(t), nil)
	if out, err := execIn(t, c, pod, "in\n", "sh", "-c", "cat; hostname"); out != "in\n"+pod.Name+"\n" || err != nil {
		t.Errorf("exec prints %q: %v", out, err)
	}
	if _, err := execIn(t, c, pod, "", "sh", "-c", "exit 7"); err == nil || !strings.Contains(err.Error(), "7") {
		t.Errorf("exec of exit 7 gives %v", err)
	}
	if log := c.Logs(t, pod.Namespace, pod.Name, "main"); log != "started\n" {
		t.Errorf("the log is %q", log)
	}
}

func TestEveryImageIsThereAndCanBePulled(t *testing.T) {
	c := kubetest.Open(t)
	c.Own(t)
	namespace := c.Namespace(t)
	for _, image := range []string{testbed.Busybox, testbed.Bash, testbed.Alpine, testbed.NonRoot, testbed.Redis, testbed.Runner,
		c.Registry.Addr + "/" + testbed.Busybox} {
		// In this order: what another test has pulled with credentials, the kubelet keeps from those who have none.
		for _, policy := range []corev1.PullPolicy{corev1.PullAlways, corev1.PullNever} {
			t.Run(string(policy)+" "+image, func(t *testing.T) {
				startPod(t, c, namespace, func(pod *corev1.Pod) {
					pod.Spec.Containers[0].Image, pod.Spec.Containers[0].ImagePullPolicy = image, policy
					if image == testbed.Redis {
						pod.Spec.Containers[0].Command = nil
					}
				})
			})
		}
	}
}

func TestTheEphemeralContainerSharesTheVolumes(t *testing.T) {
	c := kubetest.Open(t)
	pod := startPod(t, c, c.Namespace(t), func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}
		pod.Spec.Containers[0].Command = []string{"sh", "-c", "echo shared >/work/file; exec sleep 2147483647"}
	})
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "guest", Image: testbed.Busybox,
			Command:         []string{"sh", "-c", "cat /__w/file; id -u; exit 5"},
			VolumeMounts:    []corev1.VolumeMount{{Name: "work", MountPath: "/__w"}},
			SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1234))},
		},
	})
	if err := c.Request(http.MethodPut, pod.Namespace, pod).Name(pod.Name).SubResource("ephemeralcontainers").Body(pod).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	pod = c.AwaitPod(t, pod.Namespace, pod.Name, "with an ended guest", func(pod *corev1.Pod) bool {
		all := pod.Status.EphemeralContainerStatuses
		return len(all) == 1 && all[0].State.Terminated != nil
	})
	if status := pod.Status.EphemeralContainerStatuses[0].State.Terminated.ExitCode; status != 5 {
		t.Errorf("the guest ended with %d", status)
	}
	if log := c.Logs(t, pod.Namespace, pod.Name, "guest"); log != "shared\n1234\n" {
		t.Errorf("the guest says %q", log)
	}
}

// TestTheServiceAccountMayWhatItsRulesSay runs in the pod, with the account's token.
func TestTheServiceAccountMayWhatItsRulesSay(t *testing.T) {
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}
	if kubetest.InPod(t, kubetest.RunnerSpec{Rules: rules}) {
		return
	}
	get := serviceAccount(t)
	if err := get("pods", kubetest.Self(t).Pod); err != nil {
		t.Errorf("reading its own pod: %v", err)
	}
	if err := get("secrets", "any"); !apierrors.IsForbidden(err) {
		t.Errorf("reading a secret: %v", err)
	}
}

// serviceAccount gives requests of the pod that this test is in: for one object, or all of a kind.
func serviceAccount(t *testing.T) (get func(resource, name string) error) {
	t.Helper()
	self := kubetest.Self(t)
	config, err := rest.InClusterConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return func(resource, name string) error {
		request := client.Get().Namespace(self.Namespace).Resource(resource)
		if name != "" {
			request = request.Name(name)
		}
		return request.Do(t.Context()).Error()
	}
}

func TestAClaimIsSharedByPods(t *testing.T) {
	c := kubetest.Open(t)
	namespace := c.Namespace(t)
	claim := c.Claim(t, namespace, corev1.ReadWriteMany)
	mount := func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", SubPath: "part"}}
	}
	one, two := startPod(t, c, namespace, mount), startPod(t, c, namespace, mount)
	if _, err := execIn(t, c, one, "", "sh", "-c", "echo hello >/data/file"); err != nil {
		t.Fatal(err)
	}
	if out, err := execIn(t, c, two, "", "cat", "/data/file"); out != "hello\n" {
		t.Errorf("the other pod reads %q: %v", out, err)
	}
}

func TestThePrivateRegistryAsksForThePassword(t *testing.T) {
	c := kubetest.Open(t)
	c.Own(t)
	namespace := c.Namespace(t)
	private := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Image, pod.Spec.Containers[0].ImagePullPolicy = c.Private.Image, corev1.PullAlways
	}
	refused := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "refused"},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{Name: "main"}}},
	}
	private(refused)
	c.Create(t, refused)
	c.AwaitPod(t, namespace, refused.Name, "refused its image", func(pod *corev1.Pod) bool {
		for _, s := range pod.Status.ContainerStatuses {
			return s.State.Waiting != nil && strings.Contains(s.State.Waiting.Reason, "Pull")
		}
		return false
	})
	secret := pullSecret(c.Private, namespace)
	c.Create(t, secret)
	startPod(t, c, namespace, func(pod *corev1.Pod) {
		private(pod)
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret.Name}}
	})
}

func TestAnImageThatIsNotThereIsCalledSo(t *testing.T) {
	c := kubetest.Open(t)
	c.Own(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace(t), Name: "absent"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "gantry.test/absent:1"}}},
	}
	c.Create(t, pod)
	c.AwaitPod(t, pod.Namespace, pod.Name, "told that its image is not found", func(pod *corev1.Pod) bool {
		for _, s := range pod.Status.ContainerStatuses {
			return s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, "not found")
		}
		return false
	})
}

func pullSecret(server testbed.RegistryServer, namespace string) *corev1.Secret {
	login := base64.StdEncoding.EncodeToString([]byte(server.User + ":" + server.Password))
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "registry"},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil,
			`{"auths": {%q: {"auth": %q}}}`, server.Addr, login)},
	}
}

func TestLimitsHold(t *testing.T) {
	c := kubetest.Open(t)
	namespace := c.Namespace(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "greedy"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: testbed.Busybox, Command: []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"},
				Resources: kubetest.Limits("500m", "24Mi"),
			}},
		},
	}
	c.Create(t, pod)
	c.AwaitPod(t, namespace, pod.Name, "killed for its memory", func(pod *corev1.Pod) bool {
		for _, s := range pod.Status.ContainerStatuses {
			return s.State.Terminated != nil && s.State.Terminated.Reason == "OOMKilled"
		}
		return false
	})
}

func TestPodsReachPodsServicesAndThisMachine(t *testing.T) {
	c := kubetest.Open(t)
	namespace := c.Namespace(t)
	server := startPod(t, c, namespace, func(pod *corev1.Pod) {
		pod.Labels = map[string]string{"app": "server"}
		pod.Spec.Containers[0].Command = []string{"sh", "-c", "echo page >/tmp/page; exec httpd -f -p 8080 -h /tmp"}
	})
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "server"},
		Spec:       corev1.ServiceSpec{Selector: server.Labels, Ports: []corev1.ServicePort{{Port: 8080}}},
	}
	c.Create(t, service)
	client := startPod(t, c, namespace, nil)
	for name, url := range map[string]string{
		"pod":     "http://" + server.Status.PodIP + ":8080/page",
		"service": "http://" + service.Spec.ClusterIP + ":8080/page",
	} {
		script := "for i in $(seq 100); do timeout 5 wget -q -O - " + url + " && break; usleep 100000; done"
		if out, err := execIn(t, c, client, "", "sh", "-c", script); out != "page\n" {
			t.Errorf("the %s gives %q: %v", name, out, err)
		}
	}
	c.Own(t)
	registry := "wget -q -O - http://" + c.Registry.Addr + "/v2/ && echo found"
	if out, err := execIn(t, c, client, "", "sh", "-c", registry); !strings.HasSuffix(out, "found\n") {
		t.Errorf("the registry gives %q: %v", out, err)
	}
}

// What pods know of the node would be wrong else, and their connections to the API server would hang.
func TestTheBridgeKeepsItsAddressWhilePodsComeAndGo(t *testing.T) {
	c := kubetest.Open(t)
	c.Own(t)
	before := nodesHardwareAddress(t)
	for range 3 {
		pod := startPod(t, c, c.Namespace(t), nil)
		if err := c.Delete(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if now := nodesHardwareAddress(t); now != before {
			t.Fatalf("the bridge has %s, and had %s", now, before)
		}
	}
}

func nodesHardwareAddress(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it was that of a pod, and went with it
		}
		for _, a := range addresses {
			if strings.HasPrefix(a.String(), kubenode.Address+"/") {
				return i.HardwareAddr.String()
			}
		}
	}
	t.Fatalf("no interface has %s", kubenode.Address)
	return ""
}

func TestTheNodeLeavesTheMachineAlone(t *testing.T) {
	kubetest.Open(t).Own(t)
	for _, dir := range []string{"/var/log/containers", "/var/lib/kubelet", "/var/lib/cni"} {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			t.Errorf("%s has %v", dir, filepath.Join(dir, entries[0].Name()))
		}
	}
}
