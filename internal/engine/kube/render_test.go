package kube_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

const renderWork = "/home/runner/_work"

// renderedJob is a job with a bit of everything; canary is in all that may be secret.
func renderedJob() engine.JobSpec {
	agentMount := engine.Mount{Source: renderWork + "/_temp/.gantry/0123/s", Target: "/.gantry"}
	env := map[string]string{"TOKEN": "canary-1"}
	login := &engine.Credentials{Username: "me", Password: "canary-2", Server: "registry.example.com"}
	return engine.JobSpec{
		Network: engine.NetworkSpec{Name: "gantry-0123-net", Create: true},
		Labels:  map[string]string{"io.gantry.job": "0123"},
		Container: &engine.ContainerSpec{
			Name: "gantry-0123-job", Title: "job container", Image: "registry.example.com/node:22", Credentials: login, Env: env,
			Entrypoint: "/.gantry/agent", Args: []string{"serve"}, WorkingDir: "/__w/a/a",
			Mounts: []engine.Mount{{Source: renderWork, Target: "/__w"},
				{Source: renderWork + "/_temp/_github_home", Target: "/github/home"}, agentMount},
			Options: []string{"--cpus", "1", "--memory=64m", "--shm-size", "64m", "--user", "1001", "-e", "MORE=canary-3",
				"--ulimit", "nofile=100:200", "--label", "team=build", "--network-alias", "builder"},
		},
		Services: []engine.ContainerSpec{{
			Name: "gantry-0123-redis", Title: "service redis", Image: "redis:7", Env: env, Aliases: []string{"redis"},
			Options: []string{"--health-cmd", "redis-cli ping"},
		}},
	}
}

// renderings are the modes with the runner's pod that they need.
func renderings() map[string]kube.RenderOptions {
	options := func(mode, volume string, claim bool) kube.RenderOptions {
		return kube.RenderOptions{
			Settings: kube.Settings{Mode: mode, Volume: volume, LinkVolume: "github", Limits: config.Limits{Memory: "32m"}},
			Runner:   kube.StandIn(renderWork, "github", claim), Work: renderWork, AgentProgram: "/opt/gantry/gantry-agent",
		}
	}
	return map[string]kube.RenderOptions{
		"in-pod": options("in-pod", "", false), "shared": options("pod", "shared", true), "none": options("pod", "none", false),
	}
}

// What is printed is the same each time, has every container, and none of what may be secret.
func TestRender(t *testing.T) {
	for name, o := range renderings() {
		pod, _, err := kube.Render(o, renderedJob())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, _, err := kube.Render(o, renderedJob())
		if diff := cmp.Diff(pod, again); diff != "" || err != nil {
			t.Errorf("%s: the second time: %v %s", name, err, diff)
		}
		text, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "canary") {
			t.Errorf("%s: a secret is in the pod: %s", name, text)
		}
		images := []string{}
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			images = append(images, c.Image)
		}
		for _, c := range pod.Spec.EphemeralContainers {
			images = append(images, c.Image)
		}
		for _, want := range []string{"registry.example.com/node:22", "redis:7"} {
			if !slices.Contains(images, want) {
				t.Errorf("%s: no container of %s among %q", name, want, images)
			}
		}
	}
}

// Services reach the job container by the names that its options give it, as they do on Docker.
func TestNamesOfTheJobContainerAreKnown(t *testing.T) {
	for name, o := range renderings() {
		pod, _, err := kube.Render(o, renderedJob())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		known := slices.ContainsFunc(pod.Spec.HostAliases, func(h corev1.HostAlias) bool {
			return h.IP == "127.0.0.1" && slices.Contains(h.Hostnames, "builder")
		})
		for _, c := range pod.Spec.EphemeralContainers { // they are told their agent
			known = known || slices.ContainsFunc(slices.Concat(c.Command, c.Args), func(arg string) bool { return strings.Contains(arg, "builder") })
		}
		if !known {
			t.Errorf("%s: nobody knows the job container by its alias", name)
		}
	}
}

// A template's $job reaches the job container in every mode.
func TestRenderWithTemplate(t *testing.T) {
	parsed, problems := template.Parse("t.yaml", []byte("spec: {containers: [{name: $job, env: [{name: A, value: b}]}]}"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, o := range renderings() {
		o.Template = parsed
		pod, _, err := kube.Render(o, renderedJob())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		containers := pod.Spec.Containers
		for _, c := range pod.Spec.EphemeralContainers {
			containers = append(containers, corev1.Container(c.EphemeralContainerCommon))
		}
		found := slices.ContainsFunc(containers, func(c corev1.Container) bool {
			return strings.HasSuffix(c.Image, "node:22") && slices.Contains(c.Env, corev1.EnvVar{Name: "A", Value: "b"})
		})
		if !found {
			t.Errorf("%s: the template's variable is not in the job container", name)
		}
	}
}

// The runner's node is mounted where a volume has it, an image volume for one; else the agent looks for what is brought.
func TestRenderedJobsFindTheRunnersNode(t *testing.T) {
	spec := renderedJob()
	spec.Container.Mounts = append(spec.Container.Mounts, engine.Mount{Source: "/home/runner/externals", Target: "/__e", ReadOnly: true})
	for name, o := range renderings() {
		brought, mounted := theNode(t, o, spec)
		if !strings.HasPrefix(brought, "/__e=/") || mounted != "" {
			t.Errorf("%s: without a volume it is brought to %q, mounted from %q", name, brought, mounted)
		}
		runner := &o.Runner.Spec.Containers[0]
		runner.VolumeMounts = append(runner.VolumeMounts, corev1.VolumeMount{Name: "node", MountPath: "/home/runner/externals"})
		o.Runner.Spec.Volumes = append(o.Runner.Spec.Volumes, corev1.Volume{Name: "node", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "node:20"}}})
		if brought, mounted = theNode(t, o, spec); brought != "" || mounted != "node" {
			t.Errorf("%s: with an image volume it is brought to %q, mounted from %q", name, brought, mounted)
		}
	}
}

// theNode says how the job container has its externals.
func theNode(t *testing.T, o kube.RenderOptions, spec engine.JobSpec) (brought, mounted string) {
	t.Helper()
	pod, _, err := kube.Render(o, spec)
	if err != nil {
		t.Fatal(err)
	}
	containers := pod.Spec.Containers
	for _, c := range pod.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(c.EphemeralContainerCommon))
	}
	for _, c := range containers {
		if i := slices.Index(c.Args, "--externals"); i >= 0 {
			brought = c.Args[i+1]
		}
		for _, m := range c.VolumeMounts {
			if m.MountPath == "/__e" {
				mounted = m.Name
			}
		}
	}
	return brought, mounted
}

// An API server takes what is printed: nothing is started, it only checks.
func TestKubernetesTakesWhatIsRendered(t *testing.T) {
	c := kubetest.Open(t)
	ns := c.Namespace(t)
	for name, o := range renderings() {
		runner := o.Runner.DeepCopy()
		runner.Namespace, runner.Name = ns, "runner-"+name
		runner.Spec.NodeSelector = map[string]string{"no": "node"}
		c.Create(t, runner)
		o.Runner = runner
		pod, _, err := kube.Render(o, renderedJob())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := dryRun(t, c, runner, pod); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func dryRun(t *testing.T, c *kubetest.Cluster, runner, pod *corev1.Pod) error {
	t.Helper()
	if len(pod.Spec.EphemeralContainers) == 0 {
		pod.Namespace = runner.Namespace
		return c.Request("POST", runner.Namespace, pod).Param("dryRun", "All").Body(pod).Do(t.Context()).Error()
	}
	patch, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{}, Spec: corev1.PodSpec{EphemeralContainers: pod.Spec.EphemeralContainers}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Request("PATCH", runner.Namespace, pod).Name(runner.Name).SubResource("ephemeralcontainers").
		SetHeader("Content-Type", string(types.StrategicMergePatchType)).Param("dryRun", "All").Body(patch).Do(t.Context()).Error()
}
