package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// The runner pods of the values that docs/kubernetes.md has, in an image as it says, with the Role that it says: the doctor
// finds nothing to complain of, and plays a job in the mode that the page is about. All that under the Pod Security level
// restricted.
func TestDocumentedScaleSets(t *testing.T) {
	alongside(t)
	c := kubetest.Open(t)
	image := runnerImage(t, c)
	for mode, s := range documentedScaleSets(t) {
		t.Run(mode, func(t *testing.T) {
			alongside(t)
			namespace := c.Namespace(t, "pod-security.kubernetes.io/enforce=restricted")
			c.Create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gantry-pod"},
				Data: map[string]string{"pod.yaml": "metadata: {labels: {team: build}}\n"}})
			r := c.Runner(t, kubetest.RunnerSpec{
				Namespace: namespace, UID: 1001, Work: s.work, Rules: policy(rbac.Rules(s.need)),
				Change: func(pod *corev1.Pod) { s.into(pod, image) },
			})
			found := diagnose(t, r)
			for code, f := range found {
				if f.Status == doctor.Fail || f.Status == doctor.Warn || strings.HasPrefix(code, "G50") && code != "G501" && f.Status != doctor.OK {
					t.Errorf("%s: %+v", code, f)
				}
			}
			if f := found["G133"]; !strings.HasPrefix(f.Detail, mode+" ") {
				t.Errorf("the mode is %+v, want %s", f, mode)
			}
		})
	}
}

// scaleSet is what the page has: the pod of a runner, and what its mode needs.
type scaleSet struct {
	spec corev1.PodSpec
	work kubetest.Work
	need rbac.Need
}

// documentedScaleSets are the page's, by their modes.
func documentedScaleSets(t *testing.T) map[string]scaleSet {
	t.Helper()
	page, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]scaleSet{
		"in-pod":                {work: kubetest.OwnVolume, need: rbac.Need{Mode: rbac.InPod}},
		"pod, no shared volume": {work: kubetest.OwnVolume, need: rbac.Need{Mode: rbac.Pod, Volume: rbac.None}},
		"pod, shared volume":    {work: kubetest.SharedClaim, need: rbac.Need{Mode: rbac.Pod, Volume: rbac.Shared}},
	}
	for _, block := range regexp.MustCompile("(?s)```yaml values\n(.*?)```").FindAllSubmatch(page, -1) {
		var v struct{ Template struct{ Spec corev1.PodSpec } }
		if err := yaml.Unmarshal(block[1], &v); err != nil {
			t.Fatal(err)
		}
		mode := "in-pod"
		switch {
		case bytes.Contains(block[1], []byte("value: none")):
			mode = "pod, no shared volume"
		case bytes.Contains(block[1], []byte("volumeClaimTemplate")):
			mode = "pod, shared volume"
		}
		s := all[mode]
		s.spec = v.Template.Spec
		all[mode] = s
	}
	return all
}

// into makes the suite's pod the page's, in an image that the cluster has, restricted, and asking for no more than the node
// has. Nobody in the cluster makes volumes for claims, so the suite's claim takes the place of the page's.
func (s scaleSet) into(pod *corev1.Pod, image string) {
	spec := s.spec.DeepCopy()
	spec.ServiceAccountName, spec.RestartPolicy, spec.TerminationGracePeriodSeconds = pod.Spec.ServiceAccountName, pod.Spec.RestartPolicy, pod.Spec.TerminationGracePeriodSeconds
	for i, v := range spec.Volumes {
		if v.Ephemeral == nil {
			continue
		}
		for _, own := range pod.Spec.Volumes {
			if own.PersistentVolumeClaim != nil {
				spec.Volumes[i].VolumeSource = own.VolumeSource
			}
		}
	}
	runner := &spec.Containers[0]
	runner.Image, runner.Command = image, pod.Spec.Containers[0].Command
	runner.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	yes, no := true, false
	runner.SecurityContext = &corev1.SecurityContext{
		RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec = *spec
}

// runnerImage has a runner that is configured, and gantry's programs.
func runnerImage(t *testing.T, c *kubetest.Cluster) string {
	t.Helper()
	dir, programs := t.TempDir(), os.Getenv(envPrograms)
	settings, script := filepath.Join(dir, "settings"), filepath.Join(dir, "script")
	err := errors.Join(os.WriteFile(settings, []byte(`{"agentName": "runner-1", "ephemeral": true}`), 0o644),
		os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return c.Image(t, testbed.Runner, "1001", map[string]string{
		"/opt/gantry/gantry": filepath.Join(programs, "gantry"), "/opt/gantry/gantry-agent": filepath.Join(programs, "gantry-agent"),
		"/opt/gantry/hook.sh":  filepath.Join(programs, "hook.sh"),
		"/home/runner/.runner": settings, "/home/runner/run.sh": script, "/home/runner/externals/node20/bin/node": script,
	})
}

// diagnose runs the doctor in the runner's container.
func diagnose(t *testing.T, r *kubetest.Runner) map[string]doctor.Finding {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	cmd, err := r.Command(ctx, kubetest.Program{Args: []string{"/opt/gantry/gantry", "doctor", "--json", "--runner", "/home/runner"}, Dir: "/home/runner"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := cmd.Output()
	return findings(t, text, err)
}

// findings reads what the doctor prints for programs.
func findings(t *testing.T, text []byte, err error) map[string]doctor.Finding {
	t.Helper()
	var exit *exec.ExitError
	var said struct{ Findings []doctor.Finding }
	if jsonErr := json.Unmarshal(text, &said); jsonErr != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v, %v\n%s", err, jsonErr, text)
	}
	found := map[string]doctor.Finding{}
	for _, f := range said.Findings {
		found[f.Code] = f
	}
	return found
}
