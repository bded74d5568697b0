package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// audited enters a runner's pod, where `asked` tells what its service account has asked the API server for.
func audited(t *testing.T, p place, change ...func(*kubetest.RunnerSpec)) {
	t.Helper()
	c := kubetest.Open(t)
	r, env := p.pod(t, change...)
	deedsOfAudit(t, c, r).enter(t, r, env...)
}

// deedsOfAudit are what `asked` needs outside of a runner's pod.
func deedsOfAudit(t *testing.T, c *kubetest.Cluster, r *kubetest.Runner) deeds {
	t.Helper()
	c.Own(t)
	var audit *kubetest.Audit
	return deeds{
		"begin to listen": func() string {
			audit = c.Audit(t)
			return ""
		},
		"what was asked": func() string {
			var lines strings.Builder
			for _, q := range audit.Requests(t, r.User) {
				fmt.Fprintln(&lines, strings.TrimSuffix(q.Verb+" "+q.Resource+"/"+q.Subresource, "/"))
			}
			return lines.String()
		},
	}
}

// asked counts the requests, as VERB RESOURCE, that this pod's account makes during something.
func asked(t *testing.T, during func()) map[string]int {
	t.Helper()
	ask(t, "begin to listen")
	during()
	requests := map[string]int{}
	for line := range strings.Lines(ask(t, "what was asked")) {
		requests[strings.TrimSpace(line)]++
	}
	return requests
}

// told is a count of requests for people.
func told(requests map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		all = append(all, fmt.Sprintf("%s %d", name, requests[name]))
	}
	return strings.Join(all, ", ")
}

// A script step does not ask the API server for anything. Where its agent is reached by an exec stream, it reads the job's pod
// and opens the stream.
func TestScriptStepsAskTheAPIServerForNothing(t *testing.T) {
	const steps = 20
	sideBySide(t, func(t *testing.T, p place) {
		if !kubetest.Inside() {
			audited(t, p)
			return
		}
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
		run := func() {
			for range steps {
				ok(t, r.RunScript(t.Context(), "echo x | tee made; echo y=z >>$GITHUB_OUTPUT"))
			}
		}
		got := asked(t, run)
		if len(got) > 0 {
			t.Errorf("%d steps have asked for %s", steps, told(got))
		}
		t.Logf("%s: %d steps, %d requests to the API server", p.name, steps, len(got))
		if p.volume == rbac.None {
			byPipe(t, r)
			got := asked(t, run)
			t.Logf("%s, by an exec stream: %d steps, %s", p.name, steps, told(got))
			if len(got) != 2 || got["get pods"] != steps || got["get pods/exec"] != steps {
				t.Errorf("%d steps that go through an exec stream have asked for %s", steps, told(got))
			}
		}
		ok(t, r.Cleanup(t.Context()))
	})
}
