package kubernetes

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// Steps go on while the API server and the kubelet are away: their output is what they have printed, and their status what
// they have ended with.
func TestStepsOutliveTheClustersOwnParts(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		if !kubetest.Inside() {
			enterToBreak(t, p)
			return
		}
		r := p.runner(t)
		ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
		outlives(t, r, scriptStep, "the API server is killed, and away until the step has ended", func() { ask(t, "kill API server") })
		ask(t, "start API server")
		outlives(t, r, scriptStep, "the kubelet is restarted", func() {
			ask(t, "kill kubelet")
			ask(t, "start kubelet")
		})
		outlives(t, r, actionStep, "both are restarted", func() {
			ask(t, "kill API server")
			ask(t, "kill kubelet")
			ask(t, "start API server")
			ask(t, "start kubelet")
		})
		if p.volume == rbac.None {
			byPipe(t, r)
			outlives(t, r, scriptStep, "the API server is restarted, and the agent is reached through it", func() {
				ask(t, "kill API server")
				ask(t, "start API server")
			})
		}
		ok(t, r.Cleanup(t.Context()))
	})
}

// An action goes on while packets to its agent are lost: for a moment, and for so long that its connection is given up.
func TestAnActionOutlivesTheLinkToItsAgent(t *testing.T) {
	alongside(t)
	p := places()[2]
	if !kubetest.Inside() {
		r, env := p.pod(t)
		var end func()
		deeds{
			"drop packets":     func() string { end = r.DropTo(t, 7443, 8500); return "" }, // where agents listen
			"let them through": func() string { end(); return "" },
		}.enter(t, r, env...)
		return
	}
	r := p.runner(t)
	ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
	for _, away := range []time.Duration{5 * time.Second, 25 * time.Second} {
		outlives(t, r, actionStep, fmt.Sprintf("packets to the agent are lost for %s", away), func() {
			ask(t, "drop packets")
			time.Sleep(away)
			ask(t, "let them through")
		})
	}
	ok(t, r.Cleanup(t.Context()))
}

// enterToBreak enters a runner's pod, where API server and kubelet can be broken.
func enterToBreak(t *testing.T, p place) {
	c := kubetest.Open(t)
	api, kubelet := c.Part(t, kubetest.APIServer), c.Part(t, kubetest.Kubelet)
	r, env := p.pod(t)
	done := func(do func(testing.TB)) func() string {
		return func() string {
			do(t)
			return ""
		}
	}
	deeds{
		"kill API server": done(api.Kill), "start API server": done(api.Start),
		"kill kubelet": done(kubelet.Kill), "start kubelet": done(kubelet.Start),
	}.enter(t, r, env...)
}

// byPipe has the job's steps reach the agent by an exec stream, as prepare_job does where it finds no other way.
func byPipe(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	edit(t, r, func(rec *jobrecord.Record) { rec.Container.Agent.Network, rec.Full = agent.NetworkPipe, true })
}

// edit changes the record of the runner's job.
func edit(t *testing.T, r *fakerunner.Runner, change func(*jobrecord.Record)) {
	t.Helper()
	store := jobrecord.Store{Dir: stateDir(r.Root)}
	all, err := store.All()
	if err != nil || len(all) != 1 {
		t.Fatalf("%d records: %v", len(all), err)
	}
	change(all[0])
	if err := store.Save(all[0]); err != nil {
		t.Fatal(err)
	}
}

// loop prints numbered lines until a page is there, then their number, and ends with 3.
const loop = `i=0; until [ $i -ge 2000 ] || wget -q -O /dev/null http://%s/ 2>/dev/null; do i=$((i+1)); printf '%%04000d\n' $i; sleep 0.02; done; ` +
	`echo "$i lines"; exit 3`

// scriptStep and actionStep run a shell script as a step.
func scriptStep(t *testing.T, r *fakerunner.Runner, text string) *fakerunner.Result {
	return r.RunScript(t.Context(), text)
}

func actionStep(t *testing.T, r *fakerunner.Runner, text string) *fakerunner.Result {
	return r.Call(t.Context(), hook.RunContainerStep, shellStep(t, r, text))
}

// outlives breaks something while a step runs.
func outlives(t *testing.T, r *fakerunner.Runner, run func(*testing.T, *fakerunner.Runner, string) *fakerunner.Result, what string, fault func()) {
	t.Helper()
	page := newPage(t)
	out := &notice{at: []byte("3\n"), noticed: make(chan bool, 1)}
	r.Client.Stdout = out
	defer func() { r.Client.Stdout = nil }()
	start := time.Now()
	broken := make(chan time.Duration, 1)
	go func() {
		<-out.noticed
		begin := time.Now()
		fault()
		broken <- time.Since(begin)
		page.there.Store(true)
	}()
	res := run(t, r, fmt.Sprintf(loop, page.addr))
	if res.ExitCode != 3 {
		t.Errorf("%s: the step ended with %d (%v): %s", what, res.ExitCode, res.Err, res.Stderr)
	}
	select {
	case took := <-broken:
		n := counted(t, what, res.Stdout)
		t.Logf("%s: the fault took %s of a step of %s, %d lines (%d bytes) are as they were printed", what, took.Round(time.Millisecond),
			time.Since(start).Round(time.Millisecond), n, len(res.Stdout))
	default:
		t.Fatalf("%s: the step has ended before the fault was over, after %s: %s", what, time.Since(start), res.Stderr)
	}
}

// counted checks what a loop has printed, and gives the number of lines.
func counted(t *testing.T, what, printed string) int {
	t.Helper()
	lines := slices.Collect(strings.Lines(printed))
	var want strings.Builder
	for i := range len(lines) - 1 {
		fmt.Fprintf(&want, "%04000d\n", i+1)
	}
	fmt.Fprintf(&want, "%d lines\n", len(lines)-1)
	if printed != want.String() {
		t.Errorf("%s: %d bytes were printed, want %d; the last line is %q", what, len(printed), want.Len(), last(lines))
	}
	return len(lines) - 1
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// page is one that containers of this job can ask for, and is there only from a moment on.
type page struct {
	addr  string
	there atomic.Bool
}

func newPage(t *testing.T) *page {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ownAddress(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{addr: listener.Addr().String()}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !p.there.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return p
}

// ownAddress is that of this pod.
func ownAddress(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.LookupHost(name)
	if err != nil || len(all) == 0 {
		t.Fatalf("the address of %s: %v", name, err)
	}
	return all[0]
}

// notice tells once that something was written.
type notice struct {
	mu      sync.Mutex
	at      []byte
	seen    []byte
	noticed chan bool
}

var _ io.Writer = (*notice)(nil)

func (n *notice) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, p...)
	if n.at != nil && bytes.Contains(n.seen, n.at) {
		n.at, n.seen = nil, nil
		n.noticed <- true
	}
	if n.at == nil {
		n.seen = nil
	}
	return len(p), nil
}
