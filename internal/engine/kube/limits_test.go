package kube_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// restricted is a runner in a namespace of the Pod Security level "restricted".
func restricted(spec *kubetest.RunnerSpec) {
	spec.UID, spec.Restricted = 1001, true
	spec.NamespaceLabels = []string{"pod-security.kubernetes.io/enforce=restricted"}
}

// Under the Pod Security level "restricted", images whose user is not root work, and others are refused with a reason.
func TestPodSecurityRestricted(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(s *scene) {
		spec, dir := s.jobContainer(testbed.NonRoot)
		job := s.start(&spec)
		c, hello := s.client(dir, job.Container.Agent, job.Container.Env)
		if got := s.run(c, "id -u; touch /github/home/x && echo written"); got != "1234\nwritten\n" {
			s.Errorf("a step prints %q; %+v", got, hello)
		}
		step, stepDir := s.stepContainer(testbed.NonRoot)
		sc, err := s.StartStep(s.Context(), step, job.Network, &s.log)
		s.must(err)
		sc2, _ := s.client(stepDir, sc.Agent, sc.Env)
		if got := s.run(sc2, "id -u"); got != "1234\n" {
			s.Errorf("a container step prints %q", got)
		}
		<-sc.Gone
		s.removeAll()

		spec, _ = s.jobContainer(testbed.Busybox)
		spec.Name += "-root"
		s.id += "b"
		_, err = s.StartJob(s.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: "gantry-" + s.id, Create: true}, Container: &spec, Labels: s.labels}, &s.log)
		v := verdict.Of(err)
		if err == nil || v.Whose != verdict.Workflow || !strings.Contains(err.Error(), "root") || !strings.Contains(v.Hint, "root") {
			s.Errorf("an image of root: %v (%q)", err, v.Hint)
		}
	}, restricted)
}

// What asks for more than any node has waits, says so within seconds, and is removed when the job is cancelled.
func TestAJobThatFitsNowhereWaitsAndSaysWhy(t *testing.T) {
	mode := modes()["pod, no shared volume"]
	if !kubetest.Inside() {
		enterAs(t, mode.work, mode.settings)
		return
	}
	s := newScene(t, mode.settings)
	spec, _ := s.jobContainer(testbed.Busybox)
	spec.Options = []string{"--cpus=1000"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &safeLog{}
	ended := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := s.StartJob(ctx, engine.JobSpec{Network: engine.NetworkSpec{Name: "gantry-" + s.id, Create: true}, Container: &spec, Labels: s.labels}, log)
		ended <- err
	}()
	for !strings.Contains(log.String(), "Insufficient cpu") {
		select {
		case err := <-ended:
			t.Fatalf("it ended with %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(start) > 15*time.Second {
			t.Fatalf("the log does not say why: %s", log.String())
		}
	}
	t.Logf("said after %s", time.Since(start))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, it ended with %v", err)
	}
}

// A quota of processors or memory wants to know of each container what it may have. The administrator's limits say so, of the
// container that brings the agent too; without them the job fails at once, because waiting would not help.
func TestANamespaceThatWantsLimits(t *testing.T) {
	mode := modes()["pod, no shared volume"]
	if !kubetest.Inside() {
		enterAs(t, mode.work, mode.settings)
		return
	}
	cluster, self := kubetest.Open(t), kubetest.Self(t)
	wants := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: self.Namespace, Name: "wants"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("8"), corev1.ResourceLimitsMemory: resource.MustParse("2Gi")}}}
	cluster.Create(t, wants)
	start := func(limits config.Limits) error {
		settings := mode.settings
		settings.Limits = limits
		s := newScene(t, settings)
		spec, _ := s.jobContainer(testbed.Busybox)
		_, err := s.StartJob(t.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: "gantry-" + s.id, Create: true}, Container: &spec, Labels: s.labels}, &s.log)
		return err
	}
	began := time.Now()
	if v := verdict.Of(start(config.Limits{})); v == nil || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "limits.cpus") || time.Since(began) > 20*time.Second {
		t.Errorf("without limits, after %s: %+v", time.Since(began), v)
	}
	if err := start(config.Limits{CPUs: "0.5", Memory: "128m"}); err != nil {
		t.Errorf("with limits: %v", err)
	}
}

// A quota that is used up is waited for: the job goes on when there is room.
func TestAFullNamespace(t *testing.T) {
	mode := modes()["pod, no shared volume"]
	if !kubetest.Inside() {
		enterAs(t, mode.work, mode.settings)
		return
	}
	s := newScene(t, mode.settings)
	cluster, self := kubetest.Open(t), kubetest.Self(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: self.Namespace, Name: "one"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}}}
	cluster.Create(t, quota)
	for start := time.Now(); quota.Status.Used.Pods().Value() != 1; time.Sleep(50 * time.Millisecond) {
		s.must(cluster.Get(t.Context(), quota))
		if time.Since(start) > 30*time.Second {
			t.Fatalf("the quota counts %v", quota.Status)
		}
	}
	spec, dir := s.jobContainer(testbed.Busybox)
	log := &safeLog{}
	ended := make(chan engine.Job, 1)
	go func() {
		job, err := s.StartJob(t.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: "gantry-" + s.id, Create: true}, Container: &spec, Labels: s.labels}, log)
		if err != nil {
			t.Error(err)
		}
		ended <- job
	}()
	for start := time.Now(); !strings.Contains(log.String(), "exceeded quota"); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("the log does not say that it waits: %s", log.String())
		}
	}
	s.must(cluster.Delete(t.Context(), quota))
	job := <-ended
	c, _ := s.client(dir, job.Container.Agent, job.Container.Env)
	if got := s.run(c, "echo ran"); got != "ran\n" {
		t.Errorf("%q", got)
	}
}

// Without any setting the mode is what the cluster allows, and the log says why.
func TestTheModeIsChosenByWhatIsAllowed(t *testing.T) {
	t.Parallel()
	drop := func(resource string, verbs ...string) func(*kubetest.RunnerSpec) {
		return func(spec *kubetest.RunnerSpec) {
			var left []rbacv1.PolicyRule
			for _, r := range spec.Rules {
				if r.Resources[0] == resource {
					r.Verbs = slices.DeleteFunc(slices.Clone(r.Verbs), func(v string) bool { return slices.Contains(verbs, v) })
				}
				if len(r.Verbs) > 0 {
					left = append(left, r)
				}
			}
			spec.Rules = left
		}
	}
	for name, c := range map[string]struct {
		work   kubetest.Work
		change func(*kubetest.RunnerSpec)
		says   []string
	}{
		"everything":              {kubetest.OwnVolume, func(*kubetest.RunnerSpec) {}, []string{"mode in-pod"}},
		"no ephemeral containers": {kubetest.OwnVolume, drop("pods/ephemeralcontainers", "patch"), []string{"mode pod, no shared volume", "patch pods/ephemeralcontainers"}},
		"a claim instead":         {kubetest.SharedClaim, drop("pods/ephemeralcontainers", "patch"), []string{"mode pod, shared volume", "patch pods/ephemeralcontainers"}},
		"no work volume":          {kubetest.NoVolume, func(*kubetest.RunnerSpec) {}, []string{"mode pod, no shared volume", "not on a volume"}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := kube.Settings{Mode: "auto", Volume: "auto"}
			if !kubetest.Inside() {
				enterAs(t, c.work, settings, c.change)
				return
			}
			s := newScene(t, settings)
			spec, dir := s.jobContainer(testbed.Busybox)
			job := s.start(&spec)
			for _, says := range c.says {
				if !strings.Contains(s.log.String(), says) {
					t.Errorf("the log does not say %q: %s", says, s.log.String())
				}
			}
			client, _ := s.client(dir, job.Container.Agent, job.Container.Env)
			if got := s.run(client, "echo ran"); got != "ran\n" {
				t.Errorf("%q", got)
			}
		})
	}
}

// A pod that has served a job is left to that one: the next job gets a pod of its own, and the log says so.
func TestAPodServesOneJob(t *testing.T) {
	settings := kube.Settings{Mode: "auto", Volume: "auto"}
	if !kubetest.Inside() {
		enterAs(t, kubetest.OwnVolume, settings)
		return
	}
	for i, says := range []string{"mode in-pod", "mode pod, no shared volume; not in-pod: the runner's pod has served another job already"} {
		s := newScene(t, settings)
		spec, _ := s.jobContainer(testbed.Busybox)
		s.start(&spec)
		if !strings.Contains(s.log.String(), says) {
			t.Errorf("job %d: the log does not say %q: %s", i, says, s.log.String())
		}
		s.removeAll()
	}
}

// The first request that is forbidden names the rule that is missing.
func TestAForbiddenRequestNamesTheRule(t *testing.T) {
	settings := kube.Settings{Mode: "in-pod"}
	if !kubetest.Inside() {
		enterAs(t, kubetest.OwnVolume, settings, func(spec *kubetest.RunnerSpec) {
			spec.Rules = slices.DeleteFunc(spec.Rules, func(r rbacv1.PolicyRule) bool { return r.Resources[0] == "pods/ephemeralcontainers" })
		})
		return
	}
	s := newScene(t, settings)
	spec, _ := s.jobContainer(testbed.Busybox)
	_, err := s.StartJob(t.Context(), engine.JobSpec{Network: engine.NetworkSpec{Name: "n", Create: true}, Container: &spec, Labels: s.labels}, &s.log)
	v := verdict.Of(err)
	if !errors.Is(err, kubeapi.ErrForbidden) || v.Whose != verdict.Configuration || !strings.Contains(v.Hint, "resources: [pods/ephemeralcontainers]") || !strings.Contains(v.Hint, "verbs: [patch]") {
		t.Errorf("%v\n%s", err, v.Hint)
	}
}

// A template reaches the real pod, and what it adds lives beside what gantry needs.
func TestATemplateOnARealNode(t *testing.T) {
	t.Parallel()
	text := `
metadata: {labels: {team: blue}}
spec:
  containers:
  - name: $job
    env: [{name: FROM_TEMPLATE, value: "yes"}]
    resources: {requests: {cpu: 10m}}
  - name: $redis
    env: [{name: FROM_TEMPLATE, value: service}]
  - name: side
    image: IMAGE
    command: [sh, -c, "while true; do echo side | nc -l -p 7000; done"]
`
	for name, mode := range modes() {
		if name == "in-pod" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !kubetest.Inside() {
				enterAs(t, mode.work, mode.settings)
				return
			}
			settings := mode.settings
			parsed, problems := template.Parse("template.yaml", []byte(strings.Replace(text, "IMAGE", testbed.Kubernetes(t).Registry.Addr+"/"+testbed.Busybox, 1)))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			settings.Template = parsed
			s := newScene(t, settings)
			spec, dir := s.jobContainer(testbed.Busybox)
			job := s.start(&spec, s.service("redis", testbed.Redis))
			c, _ := s.client(dir, job.Container.Agent, job.Container.Env)
			if got := s.run(c, `echo $FROM_TEMPLATE; until nc localhost 7000 </dev/null 2>/dev/null; do sleep 0.1; done; printf 'PING\r\n' | nc redis 6379`); got != "yes\nside\n+PONG\r\n" {
				t.Errorf("a step prints %q", got)
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.Self(t).Namespace, Name: job.Network}}
			s.must(kubetest.Open(t).Get(t.Context(), pod))
			if pod.Labels["team"] != "blue" {
				t.Errorf("labels %v", pod.Labels)
			}
		})
	}
}
