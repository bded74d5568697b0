package conformance_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/figures"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/sample"
)

const (
	// envAll has every case tried, on every engine; that takes a quarter of an hour. Without it a sample is.
	envAll = "GANTRY_TEST_ALL_CASES"
	// sampleSize is how many cases are tried on each engine, at least: some of every area.
	sampleSize = 40
)

var update = flag.Bool("update", false, "write the table of docs/conformance.md")

// gantry's own hook passes every case that must or should pass, on every engine.
func TestGantryConforms(t *testing.T) {
	programs, seed := build(t), sample.Seed(t)
	var rows []string
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			r, status := judge(t, e, programs, filepath.Join(programs, "hook.sh"), append(chosen(t, seed+e.Label), "--jobs", "2")...)
			if status != 0 {
				t.Errorf("status %d", status)
			}
			for _, c := range r.Bad() {
				t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
			}
			rows = append(rows, r.Row(e.Label))
		})
	}
	if *update && os.Getenv(envAll) != "" && !t.Failed() {
		if err := figures.Write("../../docs/conformance.md", "conformance", rows); err != nil {
			t.Fatal(err)
		}
	}
}

// A hook in JavaScript is started with node, as the runner does.
func TestAHookInJavaScript(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("there is no node here")
	}
	e := testbed.Docker(t)
	programs := build(t)
	hook := filepath.Join(programs, "index.js")
	text := fmt.Sprintf(`const r = require("child_process").spawnSync("/bin/bash", ["-e", %q], {stdio: "inherit"}); process.exit(r.status)`,
		filepath.Join(programs, "hook.sh"))
	if err := os.WriteFile(hook, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, _ := judge(t, e, programs, hook, "--case", "exit-status-*", "--case", "container-step-arguments", "--case", "cleanup-leaves-nothing")
	for _, c := range r.Results {
		if c.Outcome != conformance.Pass {
			t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
		}
	}
}

// What becomes of a case decides the exit status, whatever the format of the report: only what must pass counts, and
// trouble of the suite never counts as a pass.
func TestExitStatuses(t *testing.T) {
	e := testbed.Docker(t)
	programs := build(t)
	good := filepath.Join(programs, "hook.sh")
	script := func(text string) string { return written(t, "hook.sh", "cat >/dev/null\n"+text+"\n") }
	broken := written(t, "docker", "#!/bin/sh\ncase \"$1 $2\" in 'network ls') echo the engine is broken >&2; exit 1 ;; esac\nexec "+e.Path+" \"$@\"\n")
	for _, c := range []struct {
		name, hook string
		args       []string
		path       string // of the suite, before that of the engine
		outcome    conformance.Outcome
		status     int
		formats    []string
	}{
		{
			name: "pass", hook: good, args: []string{"--case", "exit-status-one"}, outcome: conformance.Pass, status: 0,
			formats: []string{"text", "junit"},
		},
		{
			name: "fail", hook: script("echo '<script>x</script>'; exit 1"), args: []string{"--case", "exit-status-zero"},
			outcome: conformance.Fail, status: 1, formats: []string{"text", "json", "junit", "html"},
		},
		{
			name: "fail of what may be", hook: script("exit 1"), args: []string{"--case", "path-one-string"},
			outcome: conformance.Fail, status: 0, formats: []string{"json"},
		},
		{
			name: "not supported", hook: script("echo jobs are not supported; exit 1"), args: []string{"--case", "exit-status-zero"},
			outcome: conformance.NotSupported, status: 1, formats: []string{"text", "junit"},
		},
		{
			name: "skipped", hook: good, args: []string{"--case", "args-bash", "--image-rewrite", "debian:stable-slim=127.0.0.1:1/no/such:1"},
			outcome: conformance.Skipped, status: 0, formats: []string{"json"},
		},
		{
			name: "error", hook: good, args: []string{"--case", "cleanup-leaves-nothing"}, path: filepath.Dir(broken),
			outcome: conformance.Error, status: 3, formats: []string{"junit", "html"},
		},
	} {
		for _, format := range c.formats {
			t.Run(c.name+" "+format, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "report")
				cmd := conform(t, e, programs, append([]string{"--hook", c.hook, "--format", format, "--output", file}, c.args...)...)
				cmd.Env = append(cmd.Env, "PATH="+c.path+":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
				out, status := run(t, cmd)
				if status != c.status || out != "" {
					t.Errorf("status %d, want %d\n%s", status, c.status, out)
				}
				if got := outcomeIn(t, format, file); got != c.outcome {
					t.Errorf("the report says %s, want %s", got, c.outcome)
				}
			})
		}
	}
}

// outcomeIn is the outcome of the only case of a report.
func outcomeIn(t *testing.T, format, file string) conformance.Outcome {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	switch format {
	case "json":
		r, err := figures.Read(text)
		if err != nil || len(r.Results) != 1 {
			t.Fatalf("%v\n%s", err, text)
		}
		return r.Results[0].Outcome
	case "junit":
		var suites struct {
			Cases []struct {
				Notes []struct {
					Message string `xml:"message,attr"`
				} `xml:",any"`
			} `xml:"testsuite>testcase"`
		}
		if err := xml.Unmarshal(text, &suites); err != nil || len(suites.Cases) != 1 {
			t.Fatalf("%v\n%s", err, text)
		}
		outcome := conformance.Pass
		for _, note := range suites.Cases[0].Notes {
			says, _, _ := strings.Cut(note.Message, " (")
			outcome = conformance.Outcome(says)
		}
		return outcome
	case "html":
		page := file + ".html"
		if err := os.Rename(file, page); err != nil {
			t.Fatal(err)
		}
		dom, complaints := testbed.Page(t, testbed.Browser(t), page, "--dump-dom")
		if complaints != "" {
			t.Errorf("the browser complains:\n%s", complaints)
		}
		return firstOf(t, `<summary><b>([a-z ]+)</b>`, dom)
	}
	return firstOf(t, `(?m)^  (pass|fail|not supported|skipped|error) `, string(text))
}

func firstOf(t *testing.T, pattern, text string) conformance.Outcome {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no outcome in\n%.2000s", text)
	}
	return conformance.Outcome(found[1])
}

// judge is gantry conform on an engine, with its report.
func judge(t *testing.T, e *testbed.Engine, programs, hook string, choice ...string) (*figures.Report, int) {
	t.Helper()
	out, status := run(t, conform(t, e, programs, append([]string{"--hook", hook, "--format", "json"}, choice...)...))
	r, err := figures.Read([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return r, status
}

// conform is gantry conform as the engine's user.
func conform(t *testing.T, e *testbed.Engine, programs string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conform-state-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	args = append([]string{"conform", "--engine", e.Name, "--quiet",
		"--image-rewrite", "busybox:1=" + testbed.Busybox, "--image-rewrite", "debian:stable-slim=" + testbed.Bash}, args...)
	cmd := e.Program(t.Context(), filepath.Join(programs, "gantry"), args...)
	cmd.Dir = "/"
	cmd.Env = append(cmd.Env, "GANTRY_ENGINE="+e.Name, "GANTRY_STATE_DIR="+filepath.Join(dir, "state"))
	return cmd
}

// run gives what a program prints, and its status.
func run(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Logf("%s", stderr.String())
		return string(out), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(out), 0
}

// chosen are the flags that choose the cases.
func chosen(t *testing.T, seed string) []string {
	t.Helper()
	if os.Getenv(envAll) != "" {
		return nil
	}
	all, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	shuffled := sample.Shuffled(seed, all.Cases, func(c conformance.Case) string { return c.ID })
	var flags []string
	for _, c := range sample.Cover(shuffled, sampleSize, func(c conformance.Case) []string { return []string{c.Area} }) {
		flags = append(flags, "--case", c.ID)
	}
	return flags
}

func build(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conform-bin-") // where every user can run them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", dir, "./cmd/gantry", "./cmd/gantry-agent")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	shim, err := os.ReadFile("../../cmd/gantry-agent/hook.sh")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "hook.sh"), shim, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}
