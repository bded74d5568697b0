package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// What keeps a job from starting is shown within seconds, in the cluster's own words, with whose problem it is. What passes
// is waited for: here, for as long as the runner's configuration says.
func TestWhatKeepsAJobFromStartingIsShown(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if p.outside(t) {
			return
		}
		for name, c := range troubles(p, testbed.Kubernetes(t).Node) {
			t.Run(name, func(t *testing.T) {
				r := p.runner(t, "GANTRY_TIMEOUTS_SCHEDULE=3s", "GANTRY_TIMEOUTS_START=4s", "GANTRY_TIMEOUTS_PULL=1s")
				if c.template != "" {
					file := filepath.Join(t.TempDir(), "template.yaml")
					if err := os.WriteFile(file, []byte(c.template), 0o644); err != nil {
						t.Fatal(err)
					}
					r.Client.Env = append(r.Client.Env, "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE="+file)
				}
				job, services := r.JobContainer(image(t, testbed.Busybox)), []hook.Container{}
				c.change(t, job, &services)
				shown(t, r, c.words, c.whose, job, services)
			})
		}
	})
}

// obstacle is something that keeps a job from starting.
type obstacle struct {
	change   func(t *testing.T, job *hook.Container, services *[]hook.Container)
	template string
	words    string // of the cluster
	whose    string
}

func troubles(p place, node string) map[string]obstacle {
	all := map[string]obstacle{
		"crash": {words: "exited with status", whose: "workflow", change: func(t *testing.T, _ *hook.Container, services *[]hook.Container) {
			*services = append(*services, hook.Container{Image: image(t, testbed.Crash)},
				slow(t))
		}},
		"ImagePullBackOff": {words: "not found", whose: "workflow", change: func(t *testing.T, job *hook.Container, _ *[]hook.Container) {
			job.Image = image(t, "gantry.test/absent:1")
		}},
		"no credentials": {words: "401", whose: "workflow", change: func(t *testing.T, job *hook.Container, _ *[]hook.Container) {
			job.Image = testbed.Kubernetes(t).Private.Addr + "/" + testbed.Busybox
		}},
		"a health check that cannot be started": {words: "no such file", whose: "workflow", change: func(t *testing.T, _ *hook.Container, services *[]hook.Container) {
			*services = append(*services, hook.Container{Image: image(t, testbed.Redis), CreateOptions: "--health-cmd true --health-interval 1s --health-retries 2"})
		}},
		"no such program": {words: "nowhere", whose: "workflow", change: func(t *testing.T, _ *hook.Container, services *[]hook.Container) {
			*services = append(*services, hook.Container{Image: image(t, testbed.Busybox), EntryPoint: "/nowhere"})
		}},
	}
	if p.mode == rbac.InPod {
		return all
	}
	big := func(_ *testing.T, job *hook.Container, _ *[]hook.Container) { job.CreateOptions = "--cpus 1000" }
	all["Unschedulable"] = obstacle{words: "Insufficient cpu", whose: "infrastructure", change: big}
	if node != "" { // of a given cluster it is not known
		all["OutOfcpu"] = obstacle{words: "OutOfcpu", whose: "infrastructure", change: big, template: "spec: {nodeName: " + node + "}\n"}
	}
	none := func(*testing.T, *hook.Container, *[]hook.Container) {}
	all["FailedMount"] = obstacle{words: `FailedMount: MountVolume.SetUp failed for volume "extra"`, whose: "configuration", change: none, template: `
spec:
  volumes: [{name: extra, secret: {secretName: absent}}]
  containers: [{name: $job, volumeMounts: [{name: extra, mountPath: /extra}]}]
`}
	all["CreateContainerConfigError"] = obstacle{words: `secret "absent" not found`, whose: "configuration", change: none, template: `
spec:
  containers: [{name: $job, env: [{name: X, valueFrom: {secretKeyRef: {name: absent, key: x}}}]}]
`}
	return all
}

// slow is a service that becomes unhealthy only after many seconds.
func slow(t *testing.T) hook.Container {
	return hook.Container{Image: image(t, testbed.Sick), CreateOptions: "--health-cmd false --health-interval 1s --health-retries 9"}
}

// shown prepares a job that cannot start.
func shown(t *testing.T, r *fakerunner.Runner, words, whose string, job *hook.Container, services []hook.Container) {
	t.Helper()
	start := time.Now()
	seen := make(chan time.Duration, 1)
	said := &notice{at: []byte(words), noticed: make(chan bool, 1)}
	go func() {
		if <-said.noticed {
			seen <- time.Since(start)
		}
	}()
	r.Client.Stdout, r.Client.Stderr = said, said
	res := r.Prepare(t.Context(), job, services...)
	took := time.Since(start)
	r.Client.Stdout, r.Client.Stderr = nil, nil
	ok(t, r.Cleanup(t.Context()))
	if res.Err == nil {
		t.Fatalf("the job was prepared: %s", res.Output())
	}
	lines := slices.Collect(strings.Lines(res.Output()))
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "gantry: "+whose+": ") }) {
		t.Errorf("it is not the %s's problem:\n%s", whose, res.Output())
	}
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, words) }); i >= 0 && !strings.Contains(lines[i], whose) {
		t.Errorf("what is shown first does not say whose problem it is: %s", lines[i])
	}
	select {
	case after := <-seen:
		t.Logf("%q was shown after %s, and the call failed after %s", words, after.Round(time.Millisecond), took.Round(time.Millisecond))
		if after > 10*time.Second {
			t.Errorf("it was shown only after %s", after)
		}
	case <-time.After(time.Second):
		t.Errorf("%q is not shown:\n%s", words, res.Output())
	}
}

// The image that brings the agent may fail to come at first; the job starts all the same, once it comes.
func TestAnAgentWhoseImageComesLate(t *testing.T) {
	alongside(t)
	p := places()[2]
	if !kubetest.Inside() {
		r, env := p.pod(t)
		registry := troubledRegistry(t)
		i := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, envImage+"=") })
		env[i] = strings.Replace(env[i], testbed.Kubernetes(t).Registry.Addr, registry, 1)
		r.Enter(t, env...)
		return
	}
	r := p.runner(t)
	start := time.Now()
	res := ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
	t.Logf("the job was prepared after %s:\n%s", time.Since(start).Round(time.Millisecond), res.Output())
	if !strings.Contains(res.Output(), "the agent did not come at once") {
		t.Error("the log does not tell that it came late")
	}
	if res := ok(t, r.RunScript(t.Context(), "echo there")); !strings.Contains(res.Output(), "there") {
		t.Errorf("the step prints %q", res.Output())
	}
	ok(t, r.Cleanup(t.Context()))
}

// troubledRegistry is the cluster's, at an address of the node at which it is out of order until it has been asked.
func troubledRegistry(t *testing.T) string {
	t.Helper()
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: testbed.Kubernetes(t).Registry.Addr})
	var recovers atomic.Pointer[time.Time]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		soon := time.Now().Add(time.Second)
		recovers.CompareAndSwap(nil, &soon)
		if time.Now().Before(*recovers.Load()) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
