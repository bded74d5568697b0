package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/job"
	"github.com/gantry-ci/gantry/internal/job/process"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// envFake makes this test program the hook: the folder says where it logs its calls and finds its instructions.
const envFake = "GANTRY_TEST_FAKE_HOOK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envFake); dir != "" {
		os.Exit(fakeHook(dir))
	}
	status := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(status)
}

// instruction is what the fake hook does on a command, from the file COMMAND in its folder.
type instruction struct {
	Stdout   string
	Exit     int
	Response string // the response file; "" leaves the default
	Hang     bool   // until SIGINT
}

// fakeHook logs its standard input, and answers. It runs scripts on the host, with the container's paths put back.
func fakeHook(dir string) int {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 90
	}
	input, err := hook.ParseInput(text)
	if err != nil {
		fmt.Println(err)
		return 91
	}
	log, err := os.OpenFile(filepath.Join(dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 92
	}
	log.Write(text)
	log.Close()
	do := instruction{}
	if text, err := os.ReadFile(filepath.Join(dir, string(input.Command))); err == nil {
		json.Unmarshal(text, &do)
	}
	fmt.Print(do.Stdout)
	if do.Hang {
		time.Sleep(time.Minute)
	}
	exit := do.Exit
	switch {
	case do.Response != "":
		os.WriteFile(input.ResponseFile, []byte(do.Response), 0o644)
	case input.Command == hook.PrepareJob:
		os.WriteFile(input.ResponseFile, []byte(`{"isAlpine":false,"state":{"n":1}}`), 0o644)
	case input.Command == hook.RunScriptStep && exit == 0:
		exit = runScript(input)
	}
	return exit
}

func runScript(input *hook.Input) int {
	args, err := hook.DecodeScriptStep(input.Args)
	if err != nil {
		return 93
	}
	work, _, _ := strings.Cut(input.ResponseFile, "/_temp/")
	host := func(path string) string { return strings.ReplaceAll(path, "/__w", work) }
	cmd := exec.Command(args.EntryPoint, hook.SplitCommandLine(host(strings.Join(args.EntryPointArgs, " ")))...)
	cmd.Dir, cmd.Env = host(args.WorkingDirectory), []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range args.EnvironmentVariables {
		cmd.Env = append(cmd.Env, name+"="+host(value))
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if cmd.Run() != nil {
		return max(cmd.ProcessState.ExitCode(), 1)
	}
	if answer := args.EnvironmentVariables["ANSWER"]; answer != "" {
		os.WriteFile(input.ResponseFile, []byte(answer), 0o644)
	}
	return 0
}

// bench is one job that is run in a test.
type bench struct {
	t    *testing.T
	dir  string // of the fake hook
	opts job.Options
	job  job.Job

	mu     sync.Mutex
	events []jobevent.Event
}

// newBench prepares the first job of a workflow file. Its hook is the fake one.
func newBench(t *testing.T, file string) *bench {
	t.Helper()
	w := load(t, file)
	b := &bench{t: t, dir: t.TempDir()}
	shim := filepath.Join(b.dir, "hook.sh")
	write(t, shim, fmt.Sprintf("exec %q\n", os.Args[0]))
	b.opts = job.Options{
		Hook: shim, Root: t.TempDir(), Environ: []string{"PATH=" + os.Getenv("PATH"), envFake + "=" + b.dir, "HOME=" + b.dir,
			"GORACE=atexit_sleep_ms=0"},
		Github: map[string]string{"repository": "octocat/repo"}, Sink: jobevent.Func(b.event),
		Delays: process.Delays{Interrupt: 300 * time.Millisecond, Terminate: 300 * time.Millisecond, Output: 300 * time.Millisecond},
	}
	j := w.Jobs[0]
	b.job = job.Job{Key: j.ID, Name: j.ID, Job: j, Workflow: w, Total: 1, FailFast: true, Inputs: expr.NewMap(), Needs: expr.NewMap(),
		Secrets: map[string]string{}}
	return b
}

// load reads a workflow; lines may begin with tabs for the look of the test.
func load(t *testing.T, file string) *workflow.Workflow {
	t.Helper()
	const name = ".github/workflows/ci.yml"
	w, findings, err := workflow.Load(fstest.MapFS{name: {Data: []byte(dedent(file))}}, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity == workflow.Error {
			t.Fatal(f.Render())
		}
	}
	return w
}

// dedent takes the tabs that all lines begin with, and an empty first line.
func dedent(text string) string {
	text = strings.TrimRight(strings.TrimLeft(text, "\n"), "\t")
	tabs := len(text) - len(strings.TrimLeft(text, "\t"))
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.TrimPrefix(line, strings.Repeat("\t", tabs)))
	}
	return strings.Join(lines, "\n")
}

func (b *bench) event(e jobevent.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// on tells the fake hook what to do.
func (b *bench) on(command hook.Command, do instruction) {
	b.t.Helper()
	text, err := json.Marshal(do)
	if err != nil {
		b.t.Fatal(err)
	}
	write(b.t, filepath.Join(b.dir, string(command)), string(text))
}

// run runs the job and checks its result.
func (b *bench) run(want jobevent.Result) job.Outcome {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.t.Context(), time.Minute)
	defer stop()
	return b.runIn(ctx, want)
}

func (b *bench) runIn(ctx context.Context, want jobevent.Result) job.Outcome {
	b.t.Helper()
	outcome, err := job.Run(ctx, b.opts, b.job)
	if err != nil {
		b.t.Fatal(err)
	}
	if outcome.Result != want {
		b.t.Errorf("result %s, want %s\n%s", outcome.Result, want, b.log())
	}
	return outcome
}

// log is the whole log with the styles of its lines.
func (b *bench) log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text strings.Builder
	for _, e := range b.events {
		switch e.Kind {
		case jobevent.StepStarted:
			fmt.Fprintf(&text, "== %s\n", e.Text)
		case jobevent.StepEnded:
			fmt.Fprintf(&text, "-- %s\n", e.Result)
		case jobevent.Line:
			if e.Style != "" {
				fmt.Fprintf(&text, "##[%s]", e.Style)
			}
			fmt.Fprintln(&text, e.Text)
		}
	}
	return text.String()
}

// results are the steps' names with their results, in the order in which they end.
func (b *bench) results() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := map[int]string{}
	var all []string
	for _, e := range b.events {
		switch e.Kind {
		case jobevent.StepStarted:
			names[e.Step] = e.Text
		case jobevent.StepEnded:
			if name := names[e.Step]; name != "Set up job" && name != "Complete job" {
				all = append(all, name+": "+string(e.Result))
			}
		}
	}
	return all
}

// has fails the test unless the log has all the lines.
func (b *bench) has(lines ...string) {
	b.t.Helper()
	log := b.log()
	all := strings.Split(log, "\n")
	missing := slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(all, line) })
	if len(missing) > 0 {
		b.t.Errorf("no lines %q in:\n%s", missing, log)
	}
}

// calls are the inputs that the hook got.
func (b *bench) calls() []*hook.Input {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if os.IsNotExist(err) {
		return nil
	}
	var all []*hook.Input
	for line := range strings.Lines(string(text)) {
		input, err := hook.ParseInput([]byte(line))
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, input)
	}
	return all
}

// commands are the names of the calls, each with its state.
func (b *bench) commands() []string {
	var all []string
	for _, c := range b.calls() {
		state := string(c.State)
		if state == "" {
			state = "null"
		}
		all = append(all, string(c.Command)+" "+state)
	}
	return all
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// objectOf is a value of expressions.
func objectOf(values map[string]string) *expr.Map {
	m := expr.NewMap()
	for name, value := range values {
		m.Set(name, value)
	}
	return m
}
