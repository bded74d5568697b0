package kubetest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/testbed"
)

func TestALaterVariableWins(t *testing.T) {
	got := merged([]string{"PATH=/bin", "A=1", "B=x=y"}, []string{"A=2", "C=3", "A=4"})
	if want := []string{"PATH=/bin", "A=4", "B=x=y", "C=3"}; !slices.Equal(got, want) {
		t.Errorf("merged to %q, want %q", got, want)
	}
}

func TestTheAuditLogIsReadFromTheMark(t *testing.T) {
	const (
		before = `{"auditID":"0","stage":"ResponseComplete","verb":"get"}` + "\n"
		watch  = `{"auditID":"1","verb":"watch","user":{"username":"system:serviceaccount:ns:runner"},"objectRef":{"resource":"pods","namespace":"ns","name":"p"},"responseStatus":{"code":200},"stage":"`
		half   = `{"auditID":"2","verb":"li`
	)
	file := filepath.Join(t.TempDir(), "audit.log")
	text := before + watch + "ResponseStarted\"}\n" + watch + "ResponseComplete\"}\n" + half
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readAudit(file, int64(len(before)))
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v; want the watch, once", got, err)
	}
	if r := got[0]; r.User != "system:serviceaccount:ns:runner" || r.String() != "watch pods p 200" {
		t.Errorf("%+v", r)
	}
}

func TestWhatARunnerSeesIsFoundOnTheMachine(t *testing.T) {
	spec := RunnerSpec{Work: SharedClaim, Copy: []string{"/opt/programs"}}
	l := &local{
		cluster: &Cluster{KubernetesNode: testbed.KubernetesNode{Dir: "/bed/kubernetes", Share: "/bed/share"}},
		pod:     runnerPod(spec, "account", "claim"),
	}
	l.pod.UID = "uid"
	const empty = "/bed/kubernetes/kubelet/pods/uid/volumes/kubernetes.io~empty-dir/"
	for path, want := range map[string]string{
		"/home/runner/_work/a/b":  "/bed/share/volume-claim/a/b",
		"/gantry-test":            empty + "gantry-test",
		"/opt/programs/hook.sh":   empty + "copy-0/hook.sh",
		"/home/runner/other":      "",
		"/home/runner/_workplace": "",
	} {
		if got, err := l.hostPath(path); got != want || (err != nil) != (want == "") {
			t.Errorf("%s lies at %q (%v), want %q", path, got, err, want)
		}
	}
}

func TestARestrictedRunnerAsksForNothing(t *testing.T) {
	pod := runnerPod(RunnerSpec{UID: 1001, Restricted: true, Work: NoVolume}, "account", "")
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil || v.Name == "work" {
			t.Errorf("it has the volume %+v", v)
		}
	}
	s := pod.Spec.Containers[0].SecurityContext
	if s.Capabilities.Drop[0] != "ALL" || *s.AllowPrivilegeEscalation || !*s.RunAsNonRoot || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("its security context is %+v", s)
	}
}
