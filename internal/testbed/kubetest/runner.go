package kubetest

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Work says where a runner's work folder lies.
type Work int

// Places of the work folder.
const (
	OwnVolume   Work = iota // an emptyDir named work
	SharedClaim             // a volume claim, which another pod can mount too
	NoVolume                // the runner's container itself: nobody else sees it
)

// RunnerSpec describes the pod of a self-hosted runner.
type RunnerSpec struct {
	Namespace string // "": a new one, with NamespaceLabels
	// NamespaceLabels are NAME=VALUE, such as pod-security.kubernetes.io/enforce=restricted.
	NamespaceLabels []string
	Work            Work
	Rules           []rbacv1.PolicyRule // what its service account may do in the namespace
	UID             int64               // user and group of the runner; 0: root
	Restricted      bool                // all that the Pod Security level restricted asks for; needs UID
	Env             []string            // NAME=VALUE
	// Copy names folders of this machine that the runner finds under the same paths, copied when it starts.
	Copy   []string
	Change func(*corev1.Pod) // has the last word about the pod
}

// Runner is the running pod of a self-hosted runner, with one container, "runner". Its file system is one of
// gantry.test/runner:1.
type Runner struct {
	Namespace string
	Pod       string
	User      string // its service account, as the API server calls it
	UID       int64
	Work      string // the work folder, as the runner sees it
	Claim     string // the volume claim that it lies on, or ""
	Dir       string // a folder for the test, as the runner sees it, on no other volume

	cluster *Cluster
	inside  inside
}

// Paths and names in a runner's pod.
const (
	Container  = "runner"
	workFolder = "/home/runner/_work"
	testFolder = "/gantry-test"
)

// Runner starts the pod and returns once its container runs. It goes with the test.
func (c *Cluster) Runner(t testing.TB, spec RunnerSpec) *Runner {
	t.Helper()
	if Inside() {
		t.Fatal("a runner's pod is made outside, not in another")
	}
	if spec.Namespace == "" {
		spec.Namespace = c.Namespace(t, spec.NamespaceLabels...)
	}
	r := &Runner{Namespace: spec.Namespace, UID: spec.UID, Work: workFolder, Dir: testFolder, cluster: c}
	if spec.Work == SharedClaim {
		r.Claim = c.Claim(t, spec.Namespace, corev1.ReadWriteMany)
	}
	account := c.allow(t, spec.Namespace, spec.Rules)
	r.User = "system:serviceaccount:" + spec.Namespace + ":" + account
	pod := runnerPod(spec, account, r.Claim)
	c.Create(t, pod)
	r.Pod = pod.Name
	pod = c.AwaitPod(t, r.Namespace, r.Pod, "running", Running)
	r.inside = &local{cluster: c, pod: pod, temp: t.TempDir()}
	if c.foreign() {
		r.inside = &remote{cluster: c, namespace: r.Namespace, pod: r.Pod}
	}
	for _, dir := range spec.Copy {
		if err := r.inside.copyIn(t.Context(), dir, dir, spec.UID); err != nil {
			t.Fatalf("copying %s into the runner's pod: %v", dir, err)
		}
	}
	return r
}

// allow makes a service account with a role of the given rules, and returns its name.
func (c *Cluster) allow(t testing.TB, namespace string, rules []rbacv1.PolicyRule) string {
	t.Helper()
	name := metav1.ObjectMeta{Namespace: namespace, GenerateName: "runner-"}
	account := &corev1.ServiceAccount{ObjectMeta: name}
	c.Create(t, account)
	role := &rbacv1.Role{ObjectMeta: name, Rules: rules}
	c.Create(t, role)
	c.Create(t, &rbacv1.RoleBinding{
		ObjectMeta: name,
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: namespace}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	})
	return account.Name
}

func runnerPod(spec RunnerSpec, account, claim string) *corev1.Pod {
	runner := corev1.Container{
		Name:            Container,
		Image:           testbed.Runner,
		Command:         []string{"sleep", "2147483647"},
		SecurityContext: &corev1.SecurityContext{},
		Env: []corev1.EnvVar{{Name: "ACTIONS_RUNNER_POD_NAME", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
	}
	if claim != "" {
		runner.Env = append(runner.Env, corev1.EnvVar{Name: "ACTIONS_RUNNER_CLAIM_NAME", Value: claim})
	}
	for _, line := range spec.Env {
		name, value, _ := strings.Cut(line, "=")
		runner.Env = append(runner.Env, corev1.EnvVar{Name: name, Value: value})
	}
	if spec.UID != 0 {
		runner.SecurityContext.RunAsUser, runner.SecurityContext.RunAsGroup = &spec.UID, &spec.UID
	}
	if spec.Restricted {
		restrict(runner.SecurityContext)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: spec.Namespace, GenerateName: "runner-"},
		Spec: corev1.PodSpec{
			ServiceAccountName:            account,
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64),
		},
	}
	for _, v := range volumes(spec, claim) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v.Volume)
		runner.VolumeMounts = append(runner.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: v.at})
	}
	pod.Spec.Containers = []corev1.Container{runner}
	if spec.Change != nil {
		spec.Change(pod)
	}
	return pod
}

// volume is one that the runner mounts.
type volume struct {
	corev1.Volume
	at string
}

// volumes are the pod's. What a test needs beside a runner's own is no hostPath, which the level restricted forbids.
func volumes(spec RunnerSpec, claim string) []volume {
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	all := []volume{{corev1.Volume{Name: "gantry-test", VolumeSource: empty}, testFolder}}
	if spec.Work != NoVolume {
		work := empty
		if claim != "" {
			work = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}
		}
		all = append(all,
			volume{corev1.Volume{Name: "work", VolumeSource: work}, workFolder},
			volume{corev1.Volume{Name: "github", VolumeSource: empty}, "/github"})
	}
	for i, dir := range spec.Copy {
		all = append(all, volume{corev1.Volume{Name: fmt.Sprintf("copy-%d", i), VolumeSource: empty}, dir})
	}
	return all
}

// restrict sets what the Pod Security level restricted asks for.
func restrict(s *corev1.SecurityContext) {
	yes, no := true, false
	s.RunAsNonRoot, s.AllowPrivilegeEscalation = &yes, &no
	s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
}
