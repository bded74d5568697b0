package kube_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/gantry-ci/gantry/internal/builtprograms"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/enginetest"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

func TestMain(m *testing.M) {
	if kubetest.Inside() || os.Getenv(testbed.EnvKubernetes) == "" {
		os.Exit(m.Run())
	}
	status, err := builtprograms.Around(func(dir string) int {
		os.Setenv(envPrograms, dir)
		return m.Run()
	}, "../../..", os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func TestInPod(t *testing.T) { runSuite(t, kubetest.OwnVolume, kube.Settings{Mode: "in-pod"}) }

func TestPodWithASharedVolume(t *testing.T) {
	runSuite(t, kubetest.SharedClaim, kube.Settings{Mode: "pod", Volume: "shared"})
}

func TestPodWithoutASharedVolume(t *testing.T) {
	runSuite(t, kubetest.NoVolume, kube.Settings{Mode: "pod", Volume: "none"})
}

// Variables that tell the test in the pod what was made outside.
const (
	envPrograms = "GANTRY_TEST_PROGRAMS"
	envImage    = "GANTRY_TEST_AGENT_IMAGE"
)

// agentPath is where the agent lies in its image.
const agentPath = "/opt/gantry/gantry-agent"

// runSuite runs the contract in a runner's pod, under the Role that `gantry rbac` prints and nothing else.
func runSuite(t *testing.T, work kubetest.Work, settings kube.Settings) {
	if !kubetest.Inside() {
		enter(t, work, settings)
		return
	}
	cluster := testbed.Kubernetes(t)
	image := func(reference string) string { return cluster.Registry.Addr + "/" + reference }
	fx := enginetest.Fixture{
		Shell: image(testbed.Busybox), Entry: image(testbed.Entry), Healthy: image(testbed.Redis), Sick: image(testbed.Sick), Crash: image(testbed.Crash),
		Registry: enginetest.Registry{Addr: cluster.Private.Addr, User: cluster.Private.User, Password: cluster.Private.Password, Image: cluster.Private.Image},
		Lacks: map[enginetest.Ability]string{
			enginetest.Program: "it is asked through its API", enginetest.Networks: "a pod has its own", enginetest.Store: "the nodes have it",
			enginetest.HostPorts: "ports are those of the pod", enginetest.Builds: "images are built by another program and kept in a registry",
		},
	}
	if settings.Mode == "in-pod" {
		fx.Refusal = 30 * time.Second // the kubelet tells no more than 25 events of a pod, and all checks are in one
	}
	enginetest.Run(t, func(t *testing.T) engine.Engine { return open(t, settings) }, fx)
}

// enter goes on in a runner's pod, beside another test.
func enter(t *testing.T, work kubetest.Work, settings kube.Settings) { enterAs(t, work, settings) }

func enterAs(t *testing.T, work kubetest.Work, settings kube.Settings, change ...func(*kubetest.RunnerSpec)) {
	t.Parallel()
	cluster := kubetest.Open(t)
	cluster.Registries(t)
	programs := os.Getenv(envPrograms)
	spec := kubetest.RunnerSpec{Work: work, Copy: []string{programs}, Rules: rules(settings), Change: func(pod *corev1.Pod) {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "gantry-pull"}}
	}}
	for _, c := range change {
		c(&spec)
	}
	kubetest.InPod(t, spec, envPrograms+"="+programs, envImage+"="+cluster.ImageWith(t, filepath.Join(programs, "gantry-agent"), agentPath))
}

// rules are those that the modes need.
func rules(s kube.Settings) (all []rbacv1.PolicyRule) {
	for _, r := range rbac.Rules(rbac.Need{Mode: s.Mode, Volume: s.Volume}) {
		all = append(all, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}, Verbs: r.Verbs})
	}
	return all
}

// open makes a driver as the hook would have it in this pod.
func open(t *testing.T, settings kube.Settings) *kube.Driver {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	place, err := kubeapi.Find(kubeapi.Sources{Env: os.Environ(), Hostname: host})
	if err != nil {
		t.Fatal(err)
	}
	settings.AgentImage, settings.AgentPath = os.Getenv(envImage), agentPath
	self := kubetest.Self(t)
	d, err := kube.New(kube.Options{
		Settings: settings, Place: place, Work: self.Work, AgentProgram: filepath.Join(os.Getenv(envPrograms), "gantry-agent"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}
