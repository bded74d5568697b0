package kubernetes

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// The Role that `gantry rbac` prints for a mode allows what jobs ask for, and nothing else. Without any of its verbs something
// fails, and the error says what to add to the Role; or it is worse, as the Role says itself.
func TestTheRoleHasWhatJobsNeedAndNothingElse(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if !kubetest.Inside() {
			audited(t, p, noRegistry)
			return
		}
		refuse(t)
		rules := rbac.Rules(rbac.Need{Mode: p.mode, Volume: p.volume})
		start := time.Now()
		used := asked(t, func() { jobsOfEveryKind(t, p) })
		t.Logf("%s: used within %s: %s", p.name, time.Since(start).Round(time.Millisecond), told(used))
		if used["get pods/exec"] > 0 {
			used["create pods/exec"] = 1 // a WebSocket begins with a get, for which API servers want both
		}
		maps.DeleteFunc(used, func(name string, _ int) bool { return strings.HasPrefix(name, "create selfsubject") }) // everybody may
		for _, rule := range rules {
			for _, verb := range rule.Verbs {
				if name := verb + " " + rule.Resource; used[name] == 0 {
					t.Errorf("the Role allows to %s, and nothing asks for it", name)
				} else {
					delete(used, name)
				}
			}
		}
		if len(used) > 0 {
			t.Errorf("the Role does not allow what was asked for: %s", told(used))
		}
		for _, rule := range rules {
			for _, verb := range rule.Verbs {
				t.Run("without "+verb+" "+strings.ReplaceAll(rule.Resource, "/", "."), func(t *testing.T) { without(t, p, rules, rule, verb) })
			}
		}
	})
}

// noRegistry lets the runner know at once that it cannot ask the registry of the test images' own names. Nodes can.
func noRegistry(spec *kubetest.RunnerSpec) {
	change := spec.Change
	spec.Change = func(pod *corev1.Pod) {
		change(pod)
		pod.Spec.HostAliases = []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"gantry.test"}}}
	}
}

// refuse answers in place of that registry.
func refuse(t *testing.T) {
	t.Helper()
	for _, port := range []string{"80", "443"} {
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.NotFoundHandler()}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
	}
}

// jobsOfEveryKind plays jobs that need all that there is: services of every kind, steps of every kind, and failures.
func jobsOfEveryKind(t *testing.T, p place) {
	r := p.runner(t)
	ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)), services(t)...))
	ok(t, scriptStep(t, r, "echo made >made"))
	ok(t, actionStep(t, r, "test -e made"))
	if p.volume == rbac.None {
		byPipe(t, r)
		ok(t, scriptStep(t, r, "echo made >made"))
	}
	ok(t, r.Cleanup(t.Context()))
	r = p.runner(t)
	fails(t, crashing(t, r))
	fails(t, r.Prepare(t.Context(), r.JobContainer(image(t, "gantry.test/absent:1"))))
	ok(t, r.Cleanup(t.Context()))
	if p.mode == rbac.InPod {
		return // no other runner's pods are for it to remove
	}
	gc := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(envPrograms), "gantry"), "gc")
	gc.Env = r.Client.Env
	if out, err := gc.CombinedOutput(); err != nil {
		t.Errorf("gantry gc: %v\n%s", err, out)
	}
}

// crashing prepares a job with a service that ends while another starts.
func crashing(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	return r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)), hook.Container{Image: image(t, testbed.Crash)}, slow(t))
}

// services are one with a password, one whose image only the node can ask for, and one that wants credentials.
func services(t *testing.T) []hook.Container {
	private := testbed.Kubernetes(t).Private
	return []hook.Container{
		{Image: image(t, testbed.Busybox), EntryPoint: "sleep", EntryPointArgs: []string{"1000"}, EnvironmentVariables: map[string]string{"PASSWORD": "secret"}},
		{Image: testbed.Sick, EnvironmentVariables: map[string]string{"PASSWORD": "secret"}, CreateOptions: "--health-cmd true --health-interval 1s"},
		{Image: private.Addr + "/" + testbed.Busybox, EntryPoint: "sleep", EntryPointArgs: []string{"1000"},
			Registry: &hook.Registry{Username: private.User, Password: private.Password, ServerURL: private.Addr}},
	}
}

// without plays a job under the Role without one of its verbs.
func without(t *testing.T, p place, rules []rbac.Rule, rule rbac.Rule, verb string) {
	left := slices.Clone(rules)
	for i := range left {
		if left[i].Resource == rule.Resource {
			left[i].Verbs = slices.DeleteFunc(slices.Clone(left[i].Verbs), func(v string) bool { return v == verb })
		}
	}
	left = slices.DeleteFunc(left, func(r rbac.Rule) bool { return len(r.Verbs) == 0 })
	allow(t, left, rule.Resource, verb)
	start := time.Now()
	r := p.runner(t)
	said := jobWithout(t, p, r, rule.Resource, verb) + r.Cleanup(t.Context()).Output()
	allow(t, rules, "", "")
	ok(t, r.Cleanup(t.Context()))
	if !p.lives(rule.Resource, verb) {
		for _, word := range []string{fmt.Sprintf("resources: [%s]", rule.Resource), fmt.Sprintf("verbs: [%s]", verb)} {
			if !strings.Contains(said, word) {
				t.Errorf("%q is not said:\n%s", word, said)
			}
		}
	}
	t.Logf("after %s: %s", time.Since(start).Round(time.Millisecond), firstWith(said, rule.Resource))
}

// lives tells that nothing shows when a verb is missing. In pods that share a volume, a secret is read if the answer to its
// creation was lost; what begins as a WebSocket goes on as SPDY.
func (p place) lives(resource, verb string) bool {
	return p.volume == rbac.Shared && resource == "secrets" && verb == "get" || resource == "pods/exec" && verb == "get"
}

func firstWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return "nothing is said"
}

// jobWithout gives what a job says that needs something of a resource. It may fail.
func jobWithout(t *testing.T, p place, r *fakerunner.Runner, resource, verb string) string {
	switch resource {
	case "pods/log":
		return crashing(t, r).Output()
	case "events":
		r.Client.Env = append(r.Client.Env, "GANTRY_TIMEOUTS_PULL=1s", "GANTRY_TIMEOUTS_START=2s")
		return r.Prepare(t.Context(), r.JobContainer(silent(t)+"/image:1")).Output()
	}
	var with []hook.Container
	if resource == "secrets" || resource == "pods/exec" || verb == "watch" {
		with = services(t)
	}
	res := r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox)), with...)
	said := res.Output()
	if res.Err == nil && p.volume == rbac.None {
		byPipe(t, r)
		said += scriptStep(t, r, "echo made >made").Output()
	}
	if res.Err == nil {
		said += actionStep(t, r, "echo made >made").Output()
	}
	return said
}

// silent is the address of a registry that never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ownAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// allow changes the Role of this pod's account, and returns once what is taken away is forbidden.
func allow(t *testing.T, rules []rbac.Rule, resource, verb string) {
	t.Helper()
	c, self := kubetest.Open(t), kubetest.Self(t)
	var roles rbacv1.RoleList
	if err := c.List(t.Context(), self.Namespace, &roles); err != nil || len(roles.Items) != 1 {
		t.Fatalf("%d roles, %v", len(roles.Items), err)
	}
	role := &roles.Items[0]
	role.Rules = policy(rules)
	if err := c.Request("PUT", self.Namespace, role).Name(role.Name).Body(role).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	main, sub, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: self.User,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: self.Namespace, Verb: verb, Resource: main, Subresource: sub}}}
	for end := time.Now().Add(10 * time.Second); resource != ""; time.Sleep(10 * time.Millisecond) {
		if err := c.Request("POST", "", review).Body(review).Do(t.Context()).Into(review); err != nil {
			t.Fatal(err)
		}
		if !review.Status.Allowed {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is still allowed to %s %s", verb, resource)
		}
	}
}

func fails(t *testing.T, res *fakerunner.Result) *fakerunner.Result {
	t.Helper()
	if res.Err == nil {
		t.Errorf("it has succeeded: %s", res.Output())
	}
	return res
}
