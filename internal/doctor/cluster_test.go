package doctor_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/doctor"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/imagebuild"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// pod is a runner's pod that is examined, in front of an API server in memory.
type pod struct {
	subject doctor.Subject
	runner  *corev1.Pod // nil: it is not there
	server  *kubefake.Server
	options kube.Options
}

// newPod is a pod of a scale set in which nothing is missing.
func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{subject: machine(t), server: kubefake.New(t)}
	dir := p.subject.Runner.Dir
	put(t, filepath.Join(dir, ".runner"), `{"agentName":"r1","workFolder":"_work","ephemeral":true}`)
	node := filepath.Join(dir, "externals/node20/bin")
	if err := os.MkdirAll(node, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(node, "node"), "")
	p.reopen(t)
	p.subject.Config.Engine = kube.Name
	p.runner = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "runner-1"},
		Spec: corev1.PodSpec{
			NodeName: "node1", ServiceAccountName: "gantry-runner",
			Containers: []corev1.Container{{
				Name: "runner", Image: "runner:1",
				VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: p.subject.Runner.Work}, {Name: "github", MountPath: "/home/runner/_github"}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi")},
				},
			}},
			Volumes: []corev1.Volume{
				{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "github", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSBurstable},
	}
	place := p.server.Place()
	place.Pod = "runner-1"
	p.options = kube.Options{Place: place, Work: p.subject.Runner.Work, AgentProgram: "/opt/gantry/gantry-agent"}
	p.subject.OpenEngine = func(context.Context) (engine.Engine, error) {
		if p.runner != nil {
			p.server.Put(p.runner)
		}
		return kube.New(p.options)
	}
	return p
}

// reopen reads the runner's settings again.
func (p *pod) reopen(t *testing.T) {
	t.Helper()
	r, err := runnerdir.Open(p.subject.Runner.Dir)
	if err != nil {
		t.Fatal(err)
	}
	p.subject.Runner = r
}

// The checks about the cluster, not the job at the end: a cluster in memory runs none.
func clusterCodes() []string {
	return []string{"G101", "G131", "G132", "G133", "G134", "G135", "G136", "G137", "G138"}
}

// Every single thing that is missing in a pod is told, with what to do about it.
func TestWhatIsMissingInAPod(t *testing.T) {
	healthy := examine(t, newPod(t).subject)
	for _, code := range clusterCodes() {
		if f := healthy[code]; f.Status != doctor.OK {
			t.Errorf("%s of a pod that is well: %+v", code, f)
		}
	}
	if f := healthy["G133"]; !strings.Contains(f.Detail, "in-pod") {
		t.Errorf("chosen: %+v", f)
	}
	if f := healthy["G135"]; !strings.Contains(f.Detail, "Burstable") || !strings.Contains(f.Detail, "4Gi, with a limit of 8Gi") || !strings.Contains(f.Detail, "cpu 2 is asked for, with no limit") {
		t.Errorf("resources: %+v", f)
	}
	for name, c := range spoiltPods() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t)
			c.spoil(t, p)
			found := examine(t, p.subject)
			f := found[c.code]
			if f.Status != c.status || !strings.Contains(f.Detail, c.says) || !strings.Contains(f.NextStep, c.next) {
				t.Errorf("%s: %+v, want %s with %q and %q", c.code, f, c.status, c.says, c.next)
			}
			for code, f := range found {
				bad := f.Status == doctor.Warn || f.Status == doctor.Fail
				if bad != (f.Whose != "") || f.Detail == "" || strings.HasPrefix(code, "G13") && bad && f.NextStep == "" {
					t.Errorf("%s is not complete: %+v", code, f)
				}
			}
		})
	}
}

// spoilt is a pod with a mistake, and the check that tells.
type spoilt struct {
	code       string
	status     doctor.Status
	says, next string
	spoil      func(t *testing.T, p *pod)
}

func denied(all ...string) func(*testing.T, *pod) {
	return func(_ *testing.T, p *pod) {
		p.server.Allowed = func(verb, resource string) bool { return !strings.Contains(strings.Join(all, ","), verb+" "+resource) }
	}
}

func onClaim(_ *testing.T, p *pod) {
	p.runner.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "work-1"}}
}

func noVolume(_ *testing.T, p *pod) {
	p.runner.Spec.Containers[0].VolumeMounts[0].MountPath = "/elsewhere"
}

func spoiltPods() map[string]spoilt {
	all := permissionsSpoilt()
	for name, s := range map[string]spoilt{
		"the pod is another one": {"G131", doctor.Warn, `pods "runner-1" not found`, "ACTIONS_RUNNER_POD_NAME", func(_ *testing.T, p *pod) {
			p.runner, p.options.AgentImage = nil, "agent:1"
		}},
		"the pod is another one, and no other mode": {"G131", doctor.Fail, `pods "runner-1" not found`, "ACTIONS_RUNNER_POD_NAME", func(_ *testing.T, p *pod) { p.runner = nil }},
		"no pod": {"G131", doctor.Fail, "not a pod", "kubectl exec", func(_ *testing.T, p *pod) { p.options.Place.Pod = "" }},
		"no namespace": {"G131", doctor.Fail, `namespaces "nowhere" not found`, "ACTIONS_RUNNER_KUBERNETES_NAMESPACE", func(_ *testing.T, p *pod) {
			p.options.Place.Namespace = "nowhere"
		}},
		"no volume":                   {"G133", doctor.Warn, "is not on a volume", "mount a volume", noVolume},
		"no volume, but it is wanted": {"G133", doctor.Fail, "is not on a volume", "mount a volume", func(t *testing.T, p *pod) { noVolume(t, p); p.options.Mode = "in-pod" }},
		"the volume cannot be shared": {"G133", doctor.Fail, "emptyDir", "persistent volume claim", func(_ *testing.T, p *pod) { p.options.Mode, p.options.Volume = "pod", "shared" }},
		"no runner": {"G133", doctor.Fail, "work folder is not known", "folder", func(_ *testing.T, p *pod) {
			p.subject.Runner, p.options.Work, p.options.Mode = nil, "", "in-pod"
		}},
		"in-pod is wanted, after a job": {"G133", doctor.Warn, "in-pod\nalthough the runner's pod has served", "one job", func(t *testing.T, p *pod) {
			servedBefore(t, p)
			p.options.Mode = "in-pod"
		}},
		"an unknown mode": {"G133", doctor.Fail, `"pods"`, "in-pod or pod", func(_ *testing.T, p *pod) { p.options.Mode = "pods" }},
		"one volume only": {"G134", doctor.Warn, "/github", "emptyDir", func(_ *testing.T, p *pod) {
			p.runner.Spec.Containers[0].VolumeMounts = p.runner.Spec.Containers[0].VolumeMounts[:1]
		}},
		"a volume above the work folder": {"G134", doctor.Warn, "cannot have the folder /__w", "mount the volume at", func(_ *testing.T, p *pod) {
			p.runner.Spec.Containers[0].VolumeMounts[0].MountPath = p.subject.Runner.Dir
		}},
		"no resources":         {"G135", doctor.Warn, "QoS", "resources", func(_ *testing.T, p *pod) { p.runner.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }},
		"resources of the pod": {"G135", doctor.OK, "memory 1Gi, with a limit of 2Gi", "", podResources},
		"a runner that stays": {"G136", doctor.Warn, "not ephemeral", "scale set", func(t *testing.T, p *pod) {
			put(t, filepath.Join(p.subject.Runner.Dir, ".runner"), `{"agentName":"r1","workFolder":"_work"}`)
			p.reopen(t)
		}},
		"an earlier job": {"G136", doctor.Warn, "gantry-1-job", "one job", servedBefore},
		"the programs are on a volume, and no other mode": {"G137", doctor.Fail, "not in its image", "kubernetes.agent_image", func(t *testing.T, p *pod) {
			onVolume(t, p)
			p.options.Mode, p.options.Volume = "pod", "none"
		}},
		"the programs are on a volume": {"G137", doctor.OK, "does not need it", "", onVolume},
		"no node": {"G138", doctor.Warn, "no node", "image", func(t *testing.T, p *pod) {
			if err := os.RemoveAll(filepath.Join(p.subject.Runner.Dir, "externals")); err != nil {
				t.Fatal(err)
			}
		}},
		"a builder that is not there": {"G140", doctor.Fail, "buildctl", "kubernetes.build.path", func(_ *testing.T, p *pod) {
			b := &p.subject.Config.Kubernetes.Build
			b.Registry, b.Tool, b.Address, b.Path = "r.example/ci", "buildctl", "tcp://b:1", "/nowhere/buildctl"
		}},
	} {
		all[name] = s
	}
	return all
}

func permissionsSpoilt() map[string]spoilt {
	return map[string]spoilt{
		"no ephemeral containers": {"G132", doctor.Warn, "patch of pods/ephemeralcontainers", "resources: [pods/ephemeralcontainers]\n  verbs: [patch]",
			denied("patch pods/ephemeralcontainers")},
		"no ephemeral containers, and their mode": {"G133", doctor.Warn, "pod, no shared volume\nnot in-pod: the service account may not patch pods/ephemeralcontainers", "gantry rbac",
			denied("patch pods/ephemeralcontainers")},
		"no ephemeral containers, and a claim": {"G133", doctor.Warn, "pod, shared volume\n", "gantry rbac", func(t *testing.T, p *pod) {
			onClaim(t, p)
			denied("patch pods/ephemeralcontainers")(t, p)
		}},
		"no watch":        {"G132", doctor.Warn, "starts are noticed later", "verbs: [watch]", denied("watch pods")},
		"nothing at all":  {"G132", doctor.Fail, "create, delete, list of pods", "verbs: [create, delete, list]", func(_ *testing.T, p *pod) { p.server.Allowed = func(string, string) bool { return false } }},
		"no mode is left": {"G133", doctor.Fail, "there is no way", "gantry rbac", func(_ *testing.T, p *pod) { p.server.Allowed = func(string, string) bool { return false } }},
		"no answer": {"G131", doctor.Fail, "does not accept it: no", "", func(_ *testing.T, p *pod) {
			p.server.Before = func(w http.ResponseWriter, r *http.Request) bool {
				reviews := strings.HasSuffix(r.URL.Path, "reviews")
				if reviews {
					kubefake.Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "no")
				}
				return reviews
			}
		}},
	}
}

func podResources(_ *testing.T, p *pod) {
	p.runner.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	p.runner.Spec.Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")},
	}
}

func onVolume(_ *testing.T, p *pod) {
	p.runner.Spec.Volumes = append(p.runner.Spec.Volumes, corev1.Volume{Name: "gantry"})
	mounts := &p.runner.Spec.Containers[0].VolumeMounts
	*mounts = append(*mounts, corev1.VolumeMount{Name: "gantry", MountPath: "/opt/gantry"})
}

// servedBefore leaves a container of an earlier job in the pod, with the label that the runner's containers have.
func servedBefore(t *testing.T, p *pod) {
	t.Helper()
	c := corev1.EphemeralContainer{}
	c.Name = "gantry-1-job"
	c.Env = []corev1.EnvVar{{Name: "GANTRY_LABELS", Value: `{"name":"x","labels":{"io.gantry.job":"1","io.gantry.runner":"` + handler.RunnerID([]string{p.subject.Runner.Dir}, "") + `"}}`}}
	p.runner.Spec.EphemeralContainers = append(p.runner.Spec.EphemeralContainers, c)
}

// What an earlier examination has left in the pod is no job.
func TestAnEarlierExaminationIsNoJob(t *testing.T) {
	p := newPod(t)
	servedBefore(t, p)
	p.runner.Spec.EphemeralContainers[0].Env[0].Value = `{"name":"x","labels":{"io.gantry.job":"1","io.gantry.runner":"other"}}`
	if f := examine(t, p.subject)["G136"]; f.Status != doctor.OK {
		t.Errorf("%+v", f)
	}
}

// A template with mistakes is told with their places, although no engine opens with it.
func TestATemplateWithMistakes(t *testing.T) {
	p := newPod(t)
	file := filepath.Join(t.TempDir(), "pod.yaml")
	put(t, file, "spec:\n  nodeSelctor: {}\n  containers:\n  - name: $job\n    command: [sh]\n")
	p.subject.Config.Kubernetes.Template = config.Document{File: file}
	p.subject.OpenEngine = func(context.Context) (engine.Engine, error) {
		_, problems := template.Load(p.subject.Config.Kubernetes.Template, os.ReadFile)
		return nil, verdict.New(verdict.Configuration, "", "the pod template:\n%w", problems)
	}
	f := examine(t, p.subject)["G139"]
	for _, says := range []string{file + ":2:3", "nodeSelector", file + ":5"} {
		if f.Status != doctor.Fail || !strings.Contains(f.Detail, says) {
			t.Errorf("%+v, want %q", f, says)
		}
	}
	put(t, file, "spec: {nodeSelector: {pool: ci}}\n")
	parsed, _ := template.Load(p.subject.Config.Kubernetes.Template, os.ReadFile)
	p.options.Template = parsed
	p.subject.OpenEngine = func(context.Context) (engine.Engine, error) {
		p.server.Put(p.runner)
		return kube.New(p.options)
	}
	found := examine(t, p.subject)
	if f := found["G139"]; f.Status != doctor.OK || !strings.Contains(f.Detail, "nodeSelector") {
		t.Errorf("%+v", f)
	}
	if f := found["G133"]; f.Status != doctor.Warn || !strings.Contains(f.Detail, "nodeSelector") {
		t.Errorf("%+v", f)
	}
}

// Where images are to be built, the registry has to answer, and something that builds has to be there.
func TestTheRegistryOfDockerfileActions(t *testing.T) {
	answers := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer answers.Close()
	for _, c := range []struct {
		name, registry string
		status         doctor.Status
		says           string
	}{
		{"it answers", strings.TrimPrefix(answers.URL, "http://") + "/ci", doctor.OK, "buildah"},
		{"nobody is there", "127.0.0.1:1/ci", doctor.Fail, "127.0.0.1:1"},
		{"none is configured", "", doctor.Skipped, "kubernetes.build.registry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(t)
			b := &p.subject.Config.Kubernetes.Build
			b.Registry, b.Tool, b.Path = c.registry, "buildah", "/bin/sh"
			p.options.Builder = imagebuild.New(imagebuild.Config{Registry: b.Registry, Tool: b.Tool, Path: b.Path, Env: []string{"HOME=" + t.TempDir()}})
			if f := examine(t, p.subject)["G140"]; f.Status != c.status || !strings.Contains(f.Detail, c.says) {
				t.Errorf("%+v, want %s with %q", f, c.status, c.says)
			}
		})
	}
}
