package conformance_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// envAll has every case tried, on every engine; that takes a quarter of an hour. Without it a sample is.
const envAll = "GANTRY_TEST_ALL_CASES"

// sampleEvery is how many cases stand for one of the sample.
const sampleEvery = 12

var update = flag.Bool("update", false, "write the table of docs/conformance.md")

// report is what `gantry conform --format json` writes.
type report struct {
	Seconds float64
	Results []struct {
		ID, Note string
		Level    conformance.Level
		Outcome  conformance.Outcome
		Failures []conformance.Failure
	}
}

// gantry's own hook passes every case that must or should pass, on every engine.
func TestGantryConforms(t *testing.T) {
	programs := build(t)
	var rows []string
	for _, e := range testbed.Engines(t) {
		t.Run(e.Label, func(t *testing.T) {
			r := judge(t, e, programs, filepath.Join(programs, "hook.sh"), chosen(t)...)
			for _, c := range r.Results {
				if c.Level != conformance.May && c.Outcome != conformance.Pass && c.Outcome != conformance.Skipped {
					t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
				}
			}
			rows = append(rows, row(e.Label, r))
		})
	}
	if *update && os.Getenv(envAll) != "" && !t.Failed() {
		writeTable(t, rows)
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
	r := judge(t, e, programs, hook, "--case", "exit-status-*", "--case", "container-step-arguments", "--case", "cleanup-leaves-nothing")
	for _, c := range r.Results {
		if c.Outcome != conformance.Pass {
			t.Errorf("%s: %s %s %+v", c.ID, c.Outcome, c.Note, c.Failures)
		}
	}
}

// judge runs gantry conform as the engine's user.
func judge(t *testing.T, e *testbed.Engine, programs, hook string, choice ...string) *report {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conform-state-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	args := []string{"conform", "--hook", hook, "--engine", e.Name, "--format", "json", "--quiet",
		"--image-rewrite", "busybox:1=" + testbed.Busybox, "--image-rewrite", "debian:stable-slim=" + testbed.Bash}
	cmd := e.Program(t.Context(), filepath.Join(programs, "gantry"), append(args, choice...)...)
	cmd.Dir = "/"
	cmd.Env = append(cmd.Env, "GANTRY_ENGINE="+e.Name, "GANTRY_STATE_DIR="+filepath.Join(dir, "state"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := &report{}
	if err := json.Unmarshal(out, r); err != nil || len(r.Results) == 0 {
		t.Fatalf("no report: %v\n%s%s", err, out, stderr.String())
	}
	return r
}

// chosen are the flags that choose the cases.
func chosen(t *testing.T) []string {
	t.Helper()
	if os.Getenv(envAll) != "" {
		return nil
	}
	all, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for i := 0; i < len(all.Cases); i += sampleEvery {
		flags = append(flags, "--case", all.Cases[i].ID)
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

// row is a row of the table: how many cases of each level passed, and what did not.
func row(engine string, r *report) string {
	counts := func(level conformance.Level) string {
		passed, all := 0, 0
		for _, c := range r.Results {
			if c.Level == level && c.Outcome != conformance.Skipped {
				all++
				if c.Outcome == conformance.Pass {
					passed++
				}
			}
		}
		return fmt.Sprintf("%d of %d", passed, all)
	}
	var skipped []string
	for _, c := range r.Results {
		if c.Outcome == conformance.Skipped {
			skipped = append(skipped, "`"+c.ID+"`")
		}
	}
	slices.Sort(skipped)
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %.0f s |\n", engine, counts(conformance.Must), counts(conformance.Should),
		counts(conformance.May), strings.Join(append(skipped, ""), " "), r.Seconds)
}

var tablePlace = regexp.MustCompile(`(?s)(<!-- conformance -->\n).*?(<!-- /conformance -->)`)

func writeTable(t *testing.T, rows []string) {
	t.Helper()
	const page = "../../docs/conformance.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	table := "| engine | must | should | may | skipped | took |\n|---|---|---|---|---|---|\n" + strings.Join(rows, "")
	changed := tablePlace.ReplaceAllString(string(text), "${1}"+strings.ReplaceAll(table, "$", "$$")+"${2}")
	if changed == string(text) && !strings.Contains(changed, table) {
		t.Fatalf("%s has no place for the table", page)
	}
	if err := os.WriteFile(page, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}
