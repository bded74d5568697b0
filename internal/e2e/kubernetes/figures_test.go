package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/bench/figures"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// envFigures is "print", or a document that takes the figures. envQuick has everything measured a tenth as often.
const (
	envFigures = "GANTRY_BENCH"
	envQuick   = "GANTRY_BENCH_QUICK"
	envKubectl = "GANTRY_BENCH_KUBECTL"
)

// TestFigures measures gantry beside `kubectl exec` and the start of plain containers, in a runner's pod. It is no test, and
// fails only if something cannot be measured: `make bench` runs it.
func TestFigures(t *testing.T) {
	report := &figures.Report{Where: "mode", Other: "without gantry"}
	everywhere(t, func(t *testing.T, p place) {
		if kubetest.Inside() {
			newMeter(t, p).measure()
			return
		}
		if os.Getenv(envFigures) == "" {
			t.Skip("make bench-kubernetes runs it")
		}
		report.Rows = append(report.Rows, measured(t, p)...)
	})
	if len(report.Rows) == 0 {
		return
	}
	report.Tools = versions(t)
	var table strings.Builder
	report.Print(&table)
	t.Log("\n" + table.String())
	if file := os.Getenv(envFigures); filepath.IsAbs(file) && !t.Failed() {
		must(t, figures.Update(file, map[string]string{"kubernetes": report.Markdown()}))
	}
}

// versions are those of what the figures depend on.
func versions(t *testing.T) []string {
	t.Helper()
	c := kubetest.Open(t)
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.Node}}
	must(t, c.Get(t.Context(), &node))
	info := node.Status.NodeInfo
	return []string{"Kubernetes " + info.KubeletVersion, strings.Replace(info.ContainerRuntimeVersion, "://", " ", 1)}
}

// rowsFile is where a pod leaves its rows.
func rowsFile(r *kubetest.Runner) string { return filepath.Join(r.Dir, "rows.json") }

// measured has a place measured in a runner's pod, which gets kubectl if this machine has it.
func measured(t *testing.T, p place) (rows []figures.Row) {
	c := kubetest.Open(t)
	tools := t.TempDir()
	var more []string
	if path, err := exec.LookPath("kubectl"); err == nil {
		copied := filepath.Join(tools, "kubectl")
		text, err := os.ReadFile(path)
		must(t, errors.Join(err, os.WriteFile(copied, text, 0o755)))
		more = append(more, envKubectl+"="+copied)
	}
	r, env := p.pod(t, func(spec *kubetest.RunnerSpec) { spec.Copy = append(spec.Copy, tools) })
	env = append(append(env, more...), envQuick+"="+os.Getenv(envQuick))
	deedsOfAudit(t, c, r).enter(t, r, env...)
	file, err := r.HostPath(rowsFile(r))
	must(t, err)
	text, err := os.ReadFile(file)
	must(t, errors.Join(err, json.Unmarshal(text, &rows)))
	return rows
}

// meter measures in a runner's pod.
type meter struct {
	*testing.T
	p       place
	c       *kubetest.Cluster
	self    *kubetest.Runner
	r       *fakerunner.Runner
	kubectl string // "": there is none
	rows    []figures.Row
}

func newMeter(t *testing.T, p place) *meter {
	return &meter{
		T: t, p: p, c: kubetest.Open(t), self: kubetest.Self(t), r: p.runner(t, "GANTRY_PULL=missing"), kubectl: os.Getenv(envKubectl),
	}
}

func (m *meter) measure() {
	m.prepare()
	m.scriptStep()
	m.output()
	m.containerStep()
	if m.p.volume == rbac.None {
		m.largeFile()
		m.manyFiles()
	}
	m.ok(m.r.Cleanup(m.Context()))
	m.job()
	if m.p.mode == rbac.Pod {
		m.services()
	}
	for i := range m.rows {
		m.rows[i].Where = m.p.name
	}
	text, err := json.Marshal(m.rows)
	must(m.T, errors.Join(err, os.WriteFile(rowsFile(m.self), text, 0o644)))
}

func (m *meter) add(rows ...figures.Row) { m.rows = append(m.rows, rows...) }

func (m *meter) often(n int) int {
	if os.Getenv(envQuick) != "" {
		return max(n/10, 1)
	}
	return n
}

func (m *meter) ok(res *fakerunner.Result) *fakerunner.Result {
	m.Helper()
	return ok(m.T, res)
}

func (m *meter) inTurns(n int, fs ...func() (time.Duration, error)) []figures.Series {
	m.Helper()
	all, err := figures.InTurns(m.often(n), slices.DeleteFunc(fs, func(f func() (time.Duration, error)) bool { return f == nil })...)
	must(m.T, err)
	return append(all, nil) // where there was nothing to compare with
}

func (m *meter) prepare() {
	m.Helper()
	m.ok(m.r.Prepare(m.Context(), m.r.JobContainer(image(m.T, testbed.Busybox))))
}

// step is a script step, from the start of the hook to its end; the files that the runner writes before are there.
func (m *meter) step(argv ...string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		args, err := m.r.Program(argv...)
		if err != nil {
			return 0, err
		}
		return figures.Timed(func() error { return m.r.Call(m.Context(), hook.RunScriptStep, args).Err })
	}
}

// exec is the same by kubectl; nil if there is none. The job's container is where the last call says.
func (m *meter) exec(out io.Writer, argv ...string) func() (time.Duration, error) {
	if m.kubectl == "" {
		return nil
	}
	var state struct{ Container string }
	must(m.T, json.Unmarshal(m.r.State, &state))
	pod, container, _ := strings.Cut(state.Container, "/")
	args := append([]string{"--kubeconfig", m.c.Kubeconfig, "-n", m.self.Namespace, "exec", pod, "-c", container, "--"}, argv...)
	return func() (time.Duration, error) {
		cmd := exec.CommandContext(m.Context(), m.kubectl, args...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		return figures.Timed(cmd.Run)
	}
}

// most is what a script step of each mode may take.
func (m *meter) most() time.Duration {
	if m.p.volume == rbac.None {
		return 30 * time.Millisecond
	}
	return 12 * time.Millisecond
}

// scriptStep measures a step that does nothing, and what the hook and the agent take for it.
func (m *meter) scriptStep() {
	var all []figures.Series
	requests := asked(m.T, func() { all = m.inTurns(100, m.step("true"), m.exec(nil, "true")) })
	target, tenth := fmt.Sprintf("at most %d ms", m.most().Milliseconds()), m.p.mode == rbac.InPod && m.kubectl != ""
	if tenth {
		target += " and 1/10"
	}
	m.add(figures.Compared("script step; kubectl exec", all[0], all[1], target, func(t, exec time.Duration) bool {
		return t <= m.most() && (!tenth || 10*t <= exec)
	}), figures.Row{
		What: "requests to the API server for these steps", Gantry: fmt.Sprint(len(requests)), Target: "none", Met: len(requests) == 0,
	})
	most, _ := m.watched(io.Discard, "sleep", "0.3")
	m.add(figures.AtMost("memory of the hook, MiB", most, 20<<10), figures.AtMost("memory of the agent, MiB", m.agent("VmRSS"), 20<<10))
	if keeper := m.keeper(); keeper > 0 {
		m.add(figures.AtMost("memory of the keeper of the work folder, MiB", figures.Memory(keeper, "VmRSS"), 20<<10))
	}
}

// watched runs a step and gives the hook's peak memory.
func (m *meter) watched(out io.Writer, argv ...string) (figures.KiB, time.Duration) {
	m.Helper()
	args, err := m.r.Program(argv...)
	must(m.T, err)
	cmd, err := m.r.Process(m.Context(), hook.RunScriptStep, args, out, os.Stderr)
	must(m.T, err)
	most, took, err := figures.Watched(cmd, "gantry-agent")
	must(m.T, err)
	return most, took
}

// agent is a line about the memory of the job container's first process.
func (m *meter) agent(line string) (k figures.KiB) {
	m.Helper()
	res := m.ok(m.r.RunScript(m.Context(), "grep ^"+line+": /proc/1/status"))
	_, err := fmt.Sscanf(res.Stdout, line+": %d", &k)
	must(m.T, err)
	return k
}

// keeper is the process that keeps the work folder in step, 0 if there is none.
func (m *meter) keeper() int {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(m.T, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(text), "gantry-agent\x00keep\x00") {
			var pid int
			_, err := fmt.Sscan(filepath.Base(filepath.Dir(name)), &pid)
			must(m.T, err)
			return pid
		}
	}
	return 0
}

// output measures a step that writes 1 GiB.
func (m *meter) output() {
	const size = 1 << 30
	zeros := []string{"dd", "if=/dev/zero", "bs=64k", fmt.Sprint("count=", size>>16), "status=none"}
	var hookMost figures.KiB
	var n figures.Counter
	all := m.inTurns(3, func() (time.Duration, error) {
		n = 0
		most, took := m.watched(&n, zeros...)
		if hookMost = max(hookMost, most); n != size {
			return 0, fmt.Errorf("%d bytes of output arrived, not %d", n, size)
		}
		return took, nil
	}, m.exec(new(figures.Counter), zeros...))
	m.add(figures.Rates("1 GiB of output, MB/s; kubectl exec", size, all[0], all[1], 0),
		figures.AtMost("memory of the hook at that, MiB", hookMost, 64<<10), figures.AtMost("memory of the agent at that, MiB", m.agent("VmHWM"), 64<<10))
}

// largeFile measures a file that a step changes, on its way to the runner.
func (m *meter) largeFile() {
	const size = 1 << 30
	m.ok(m.r.RunScript(m.Context(), fmt.Sprintf("dd if=/dev/urandom of=large bs=1M count=%d status=none", size>>20)))
	touched, err := m.r.Script("printf x | dd of=large conv=notrunc status=none; echo x >>large")
	must(m.T, err)
	cmd, err := m.r.Process(m.Context(), hook.RunScriptStep, touched, io.Discard, os.Stderr)
	must(m.T, err)
	most, took, err := figures.Watched(cmd, "gantry-agent")
	must(m.T, err)
	large := filepath.Join(m.r.Workspace, "large")
	if info, err := os.Stat(large); err != nil || info.Size() != size+2 {
		m.Fatalf("the runner has %v, %v", info, err)
	}
	m.add(figures.Rates("a changed file of 1 GiB, MB/s", size, figures.Series{took}, nil, 0), figures.AtMost("memory of the hook at that, MiB", most, 64<<10),
		figures.AtMost("memory of the keeper at that, MiB", figures.Memory(m.keeper(), "VmHWM"), 64<<10),
		figures.AtMost("memory of the agent at that, MiB", m.agent("VmHWM"), 64<<10))
	must(m.T, os.Remove(large))
	m.ok(m.r.RunScript(m.Context(), "test ! -e large"))
}

// manyFiles measures steps of a job with 10,000 files in _temp and 50,000 in the workspace, which none of them changes.
func (m *meter) manyFiles() {
	temp := filepath.Join(m.r.Work, "_temp")
	for i := range 60_000 {
		dir := temp
		if i >= 10_000 {
			dir = filepath.Join(m.r.Workspace, "node_modules", fmt.Sprint("package", i/200), fmt.Sprint("lib", i/10%20))
		}
		if i%10 == 0 {
			must(m.T, os.MkdirAll(dir, 0o755))
		}
		must(m.T, os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), []byte(fmt.Sprint(i)), 0o644))
	}
	first, err := m.step("true")()
	must(m.T, err)
	res := m.ok(m.r.RunScript(m.Context(), "find . /__w/_temp -name 'file*' | wc -l"))
	if strings.TrimSpace(res.Stdout) != "60000" {
		m.Fatalf("%s files are in the container", res.Stdout)
	}
	all := m.inTurns(100, m.step("true"))
	m.add(figures.Compared("script step after 60,000 files have come, once", figures.Series{first}, nil, "", func(_, _ time.Duration) bool { return true }),
		figures.Compared("script step with 60,000 unchanged files", all[0], nil, "at most 30 ms", func(t, _ time.Duration) bool { return t <= m.most() }),
		figures.AtMost("memory of the keeper then, MiB", figures.Memory(m.keeper(), "VmHWM"), 0),
		figures.AtMost("memory of the agent then, MiB", m.agent("VmHWM"), 0))
	must(m.T, os.RemoveAll(filepath.Join(m.r.Workspace, "node_modules")))
	for i := range 10_000 {
		must(m.T, os.Remove(filepath.Join(temp, fmt.Sprint("file", i))))
	}
}
