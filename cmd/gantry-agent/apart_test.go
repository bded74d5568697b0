package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// apart is a job whose container shares nothing with the runner's machine: the hook, the keeper and the agent are
// processes of the real program, and the container is a folder.
type apart struct {
	programs string
	work     string // the runner's work folder
	pod      string // the container's
	state    string
	record   *jobrecord.Record
	copied   *scriptstep.Copy
	steps    int
}

const jobID = "0123456789abcdef0123456789abcdef"

// envPrograms names the folder of the built programs.
const envPrograms = "GANTRY_TEST_PROGRAMS"

// TestMain builds the programs that all tests run: this test binary never stands in for them.
func TestMain(m *testing.M) {
	status, err := withPrograms(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func withPrograms(run func() int) (status int, err error) {
	dir, err := os.MkdirTemp("", "gantry-agent-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building: %w: %s", err, out)
	}
	shim, err := os.ReadFile("hook.sh")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "hook.sh"), shim, 0o755), os.Setenv(envPrograms, dir)); err != nil {
		return 0, err
	}
	return run(), nil
}

// newApart prepares a job as prepare_job does. Files are what lies in the work folder before.
func newApart(t testing.TB, files func(work string)) *apart {
	t.Helper()
	base := t.TempDir()
	a := &apart{programs: os.Getenv(envPrograms), work: filepath.Join(base, "work"), pod: filepath.Join(base, "pod"), state: filepath.Join(base, "state")}
	for _, dir := range []string{"_temp/_runner_file_commands", "_temp/_runner_hook_responses", "r/r"} {
		must(t, os.MkdirAll(filepath.Join(a.work, dir), 0o755))
	}
	must(t, errors.Join(os.Mkdir(a.pod, 0o755), os.Mkdir(filepath.Join(base, "agent"), 0o755)))
	if files != nil {
		files(a.work)
	}
	address := a.startAgent(t, filepath.Join(base, "agent"))
	a.record = &jobrecord.Record{
		ID: jobID, Runner: "runner", Work: a.work, Created: time.Now(), Owner: jobrecord.Self(), CancelGrace: time.Second,
		Container: &jobrecord.Container{ID: "container", Token: "token", Agent: &address, Externals: &externals.Spec{
			Source: filepath.Join(base, "externals"), Prefix: "/__e", Root: filepath.Join(base, "agent", externals.Dir), State: externals.StateDir(a.state, jobID),
		}},
		Sync: &worksync.Spec{
			Root: a.pod, Config: worksync.Defaults(), State: worksync.StateDir(a.state, jobID),
			Keeper: []string{filepath.Join(a.programs, "gantry-agent"), "keep", a.state, jobID},
		},
	}
	store := jobrecord.Store{Dir: a.state}
	must(t, store.Save(a.record))
	client := scriptstep.Client(a.record)
	if _, err := client.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.copied = scriptstep.NewCopy(a.record, client, os.Environ(), os.Stderr)
	must(t, a.copied.Start(t.Context()))
	t.Cleanup(func() {
		must(t, a.copied.Stop(context.Background()))
		must(t, store.Delete(jobID))
	})
	return a
}

// startAgent runs the container's first process until the test ends.
func (a *apart) startAgent(t testing.TB, dir string) agent.Address {
	t.Helper()
	certs, err := agent.NewCertificates(time.Now())
	must(t, err)
	for name, text := range certs.Files() {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := free.Addr().String()
	must(t, free.Close())
	config := agent.ServeConfig{Dir: dir, Listen: address, TLS: dir, Externals: agent.Externals{Prefix: "/__e", Dir: filepath.Join(dir, externals.Dir)}}
	cmd := exec.Command(filepath.Join(a.programs, "gantry-agent"), config.Args()...)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	return certs.Client(address)
}

// hook is a run_script_step call, not started yet. Commands of the script are in $OUT (GITHUB_OUTPUT) and $WORK.
func (a *apart) hook(t testing.TB, script string) (cmd *exec.Cmd, output string) {
	t.Helper()
	a.steps++
	n := strconv.Itoa(a.steps)
	output = filepath.Join("_temp/_runner_file_commands", "set_output_"+n)
	response := filepath.Join(a.work, "_temp/_runner_hook_responses", n+".json")
	for name, text := range map[string]string{response: "", filepath.Join(a.work, output): "", filepath.Join(a.work, "_temp", n+".sh"): script} {
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	input, err := json.Marshal(map[string]any{
		"command": "run_script_step", "responseFile": response, "state": map[string]any{"gantry": 1, "job": jobID},
		"args": map[string]any{
			"entryPoint": "sh", "entryPointArgs": []string{"-e", filepath.Join(a.pod, "_temp", n+".sh")}, "prependPath": []string{},
			"environmentVariables": map[string]string{"OUT": filepath.Join(a.pod, output), "WORK": a.pod}, "workingDirectory": filepath.Join(a.pod, "r/r"),
		},
	})
	must(t, err)
	cmd = exec.Command(filepath.Join(a.programs, "hook.sh"))
	cmd.Stdin = bytes.NewReader(input)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GANTRY_STATE_DIR=" + a.state}
	return cmd, output
}

// step runs a script, and gives what the hook printed, its status, and what the runner reads as the step's output.
func (a *apart) step(t testing.TB, script string) (printed string, status int, output string) {
	t.Helper()
	cmd, file := a.hook(t, script)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode(), read(t, filepath.Join(a.work, file))
}

func TestAFailingStepReturnsItsFiles(t *testing.T) {
	a := newApart(t, func(work string) {
		must(t, os.WriteFile(filepath.Join(work, "r/r/source"), []byte("from the runner"), 0o644))
	})
	printed, status, output := a.step(t, `cat source; echo x=y >> $OUT; mkdir -p made; echo hello > made/file; chmod 755 made/file; rm source; echo; exit 7`)
	if !strings.HasPrefix(printed, "from the runner\n") || status != 7 || output != "x=y\n" {
		t.Errorf("status %d, output %q: %s", status, output, printed)
	}
	info, err := os.Stat(filepath.Join(a.work, "r/r/made/file"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(a.work, "r/r/source")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the step has removed is there: %v", err)
	}
}

func TestStepsGoOnWithoutTheKeeper(t *testing.T) {
	a := newApart(t, nil)
	for i := range 3 {
		if pid := a.keeper(t); pid > 0 {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		printed, status, output := a.step(t, fmt.Sprintf("echo x=%d >> $OUT; ls $WORK/_temp/_runner_file_commands | wc -l", i))
		if want := fmt.Sprintf("x=%d\n", i); status != 0 || output != want || !strings.HasPrefix(printed, strconv.Itoa(i+1)) {
			t.Errorf("status %d, output %q: %s", status, output, printed)
		}
	}
}

// keeper is the keeper's pid, 0 if there is none.
func (a *apart) keeper(t testing.TB) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(string(text), "keep\x00"+a.state+"\x00"+jobID+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			must(t, err)
			return pid
		}
	}
	return 0
}

func TestACancelledStepReturnsItsFiles(t *testing.T) {
	a := newApart(t, nil)
	cmd, output := a.hook(t, `trap 'echo cleaned=up >> $OUT; exit 9' INT; touch $WORK/ready; sleep 100 & wait`)
	must(t, cmd.Start())
	waitFor(t, "the step", func() bool { _, err := os.Stat(filepath.Join(a.pod, "ready")); return err == nil })
	must(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // it fails, as it should
	if text := read(t, filepath.Join(a.work, output)); cmd.ProcessState.ExitCode() != 9 || text != "cleaned=up\n" {
		t.Errorf("status %d, output %q", cmd.ProcessState.ExitCode(), text)
	}
}

// The network could be away for a minute; a hook that is killed is not.
func TestAStepWhoseHookIsKilledIsEndedSoon(t *testing.T) {
	a := newApart(t, nil)
	// The shell may see its child's end before the signal that is meant for both.
	cmd, _ := a.hook(t, `trap 'touch $WORK/ended' EXIT; trap exit TERM; touch $WORK/ready; sleep 100 & wait`)
	must(t, cmd.Start())
	waitFor(t, "the step", func() bool { _, err := os.Stat(filepath.Join(a.pod, "ready")); return err == nil })
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	waitFor(t, "its end", func() bool { _, err := os.Stat(filepath.Join(a.pod, "ended")); return err == nil })
}

func TestNothingOfAJobIsLeft(t *testing.T) {
	a := newApart(t, nil)
	a.step(t, "true")
	must(t, a.copied.Stop(t.Context()))
	if left, err := filepath.Glob(filepath.Join(a.state, "sync-*")); err != nil || len(left) > 0 || a.keeper(t) != 0 {
		t.Errorf("%q, %v, keeper %d", left, err, a.keeper(t))
	}
}

// BenchmarkStep is a whole hook call, with the files that the runner writes before it, for a job of 10,000 files in _temp
// and 50,000 in the workspace.
func BenchmarkStep(b *testing.B) {
	for name, files := range map[string]func(string){"few files": nil, "60000 files": func(work string) { manyFiles(b, work) }} {
		b.Run(name, func(b *testing.B) {
			a := newApart(b, files)
			for range 3 {
				a.step(b, "true") // what came of the preparation is over then
			}
			var took []time.Duration
			for b.Loop() {
				cmd, _ := a.hook(b, "echo x=y >> $OUT")
				began := time.Now()
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
		})
	}
}

func manyFiles(b *testing.B, work string) {
	b.Helper()
	for i := range 10_000 {
		must(b, os.WriteFile(filepath.Join(work, "_temp", fmt.Sprint("file", i)), []byte(fmt.Sprint(i)), 0o644))
	}
	for d := range 5_000 {
		dir := filepath.Join(work, "r/r/node_modules", fmt.Sprint("package", d/20), fmt.Sprint("lib", d%20))
		must(b, os.MkdirAll(dir, 0o755))
		for i := range 10 {
			must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint("module", i, ".js")), []byte(fmt.Sprint(d, i)), 0o644))
		}
	}
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
