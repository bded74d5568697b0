package kubernetes

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// However often the link to the job's pod is cut, at whatever byte, a step's output is complete and its status its own: by
// TLS to the pod's address, and by an exec stream through the API server, which every request of the hook goes through.
func TestOutputIsCompleteHoweverOftenALinkIsCut(t *testing.T) {
	alongside(t)
	p := place{"pod, no volume", kubetest.NoVolume, rbac.Pod, rbac.None}
	if p.outside(t) {
		return
	}
	r := p.runner(t)
	ok(t, r.Prepare(t.Context(), r.JobContainer(image(t, testbed.Busybox))))
	var direct string
	edit(t, r, func(rec *jobrecord.Record) { direct = rec.Container.Agent.Address })
	tls := newCutter(t, direct, 40<<10)
	edit(t, r, func(rec *jobrecord.Record) { rec.Container.Agent.Address = tls.Addr })
	survives(t, r, "TLS", tls, 200, 2<<20)

	edit(t, r, func(rec *jobrecord.Record) { rec.Container.Agent.Address = direct })
	api := newCutter(t, apiServer(t), 60<<10)
	byPipe(t, r)
	own := r.Client.Env
	r.Client.Env = append(own[:len(own):len(own)], api.Env()...)
	survives(t, r, "exec stream", api, 30, 512<<10)
	r.Client.Env = own
	ok(t, r.Cleanup(t.Context()))
}

// cutter is a proxy that resets every connection after a random number of bytes.
type cutter struct {
	*kubetest.Proxy
}

// newCutter lets connections live for at most so many bytes.
func newCutter(t *testing.T, target string, atMost int64) *cutter {
	t.Helper()
	var mu sync.Mutex
	seeded := rand.New(rand.NewPCG(1, 2))
	return &cutter{kubetest.NewProxy(t, "127.0.0.1", target, func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return seeded.Int64N(atMost)
	})}
}

// apiServer is where this pod finds it.
func apiServer(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(kubetest.Open(t).Config.Host, "https://")
}

// survives runs steps that print size bytes until there were so many cuts.
func survives(t *testing.T, r *fakerunner.Runner, link string, c *cutter, cuts, size int) {
	t.Helper()
	const text = `i=0; while [ $i -lt %d ]; do i=$((i+1)); printf '%%04095d\n' $i; done; echo "$GITHUB_OUTPUT" >made-%d; echo end; exit %d`
	start, steps, bytes := time.Now(), 0, 0
	for ; c.Cuts() < cuts; steps++ {
		if steps == 100 {
			t.Fatalf("%s: %d steps, and only %d cuts", link, steps, c.Cuts())
		}
		status := steps%2*7 + steps%3 // 0 now and then
		res := r.RunScript(t.Context(), fmt.Sprintf(text, size>>12, steps, status))
		if res.ExitCode != status || (res.Err == nil) != (status == 0) {
			t.Fatalf("%s: the step %d ended with %d (%v), want %d: %s", link, steps, res.ExitCode, res.Err, status, res.Stderr)
		}
		var want strings.Builder
		for i := range size >> 12 {
			fmt.Fprintf(&want, "%04095d\n", i+1)
		}
		want.WriteString("end\n")
		if res.Stdout != want.String() {
			t.Fatalf("%s: the step %d printed %d bytes, want %d; after %d cuts", link, steps, len(res.Stdout), want.Len(), c.Cuts())
		}
		bytes += len(res.Stdout)
	}
	t.Logf("%s: %d connections, %d cut at a random byte, %d steps, %d bytes of output complete, every status right, in %s",
		link, c.Connections(), c.Cuts(), steps, bytes, time.Since(start).Round(time.Millisecond))
}
