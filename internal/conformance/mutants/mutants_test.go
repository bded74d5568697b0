package mutants_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/mutants"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// innocent are cases that no mutant but one that disturbs may fail, unless it is meant to. They share a job, so they
// are quick.
func innocent() []string { return []string{"exit-status-zero", "output-of-stderr", "env-of-step"} }

// kinds are cases of all kinds, that the mutant which breaks nothing passes.
func kinds() []string {
	return []string{
		"input-pretty-printed", "args-not-expanded", "env-value-with-quotes", "output-bytes", "stdin-of-script-is-empty", "cancel-ends-script",
		"cancel-by-kill", "cancel-twice", "container-step-arguments", "response-forged-by-step", "concurrent-scripts", "cleanup-leaves-nothing",
	}
}

func load(t *testing.T) (*conformance.Collection, []mutants.Mutant) {
	t.Helper()
	all, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	table, err := mutants.All()
	if err != nil {
		t.Fatal(err)
	}
	return all, table
}

// A case that no mutant can fail is not a case.
func TestEveryCaseThatMustPassHasAMutant(t *testing.T) {
	all, table := load(t)
	without := map[conformance.Level][]string{}
	for _, c := range all.Cases {
		if !slices.ContainsFunc(table, func(m mutants.Mutant) bool { return m.Kills(c.ID) }) {
			without[c.Level] = append(without[c.Level], c.ID)
		}
	}
	t.Logf("%d mutants for %d cases; without one: %v", len(table), len(all.Cases), without)
	for _, id := range without[conformance.Must] {
		t.Errorf("no mutant fails %s", id)
	}
}

func TestMutantsNameCasesThatExist(t *testing.T) {
	all, table := load(t)
	for _, m := range table {
		for _, pattern := range m.Fails {
			if !slices.ContainsFunc(all.Cases, func(c conformance.Case) bool { ok, _ := path.Match(pattern, c.ID); return ok }) {
				t.Errorf("%s: there is no case %s", m.Name, pattern)
			}
		}
	}
}

// envAll has every mutant tried; that takes half an hour. Without it a sample is.
const envAll = "GANTRY_TEST_ALL_MUTANTS"

// sampleEvery is how many mutants stand for one of the sample.
const sampleEvery = 20

// Each mutant fails the cases that are meant to find it, and no others. The mutant "none" breaks nothing.
func TestMutantsAreFound(t *testing.T) {
	all, table := load(t)
	if os.Getenv(envAll) == "" {
		table = sample(table)
		t.Logf("a sample of %d; %s=1 tries them all", len(table), envAll)
	}
	e := testbed.Docker(t)
	programs := build(t)
	suite := newSuite(t, e, programs)
	for _, m := range append(table, mutants.Mutant{Name: "none"}) {
		t.Run(m.Name, func(t *testing.T) {
			if !m.Alone {
				t.Parallel()
			}
			check(t, suite.With(shim(t, programs, m.Name)), all, &m)
		})
	}
}

func sample(table []mutants.Mutant) []mutants.Mutant {
	var some []mutants.Mutant
	for i := 0; i < len(table); i += sampleEvery {
		some = append(some, table[i])
	}
	return some
}

func check(t *testing.T, suite *conformance.Suite, all *conformance.Collection, m *mutants.Mutant) {
	t.Helper()
	chosen := func(c *conformance.Case) bool {
		return m.Kills(c.ID) || !m.Disturbs && slices.Contains(innocent(), c.ID) || m.Name == "none" && slices.Contains(kinds(), c.ID)
	}
	for _, r := range suite.Judge(t.Context(), all, chosen) {
		switch {
		case r.Outcome == conformance.Skipped:
			t.Logf("%s: skipped: %s", r.Case.ID, r.Note)
		case r.Outcome == conformance.Error:
			t.Errorf("%s: %s", r.Case.ID, r.Note)
		case m.Kills(r.Case.ID) && r.Outcome == conformance.Pass:
			t.Errorf("%s passed", r.Case.ID)
		case !m.Kills(r.Case.ID) && r.Outcome != conformance.Pass:
			t.Errorf("%s failed, and %s has nothing to do with it: %s %+v", r.Case.ID, m.Name, r.Note, r.Failures)
		}
	}
}

// build builds the mutant program and a good hook.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"./cmd/gantry", "./cmd/gantry-agent", "./internal/conformance/mutants/cmd/mutant"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, program)
		cmd.Dir = "../../.."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	shim, err := os.ReadFile("../../../cmd/gantry-agent/hook.sh")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "hook.sh"), shim, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// shim is a hook for the runner that is the mutant.
func shim(t *testing.T, programs, mutant string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mutant.sh")
	text := fmt.Sprintf("exec %s/mutant %s %s/hook.sh\n", programs, mutant, programs)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func newSuite(t *testing.T, e *testbed.Engine, programs string) *conformance.Suite {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mutants-")
	if err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(slices.Clone(e.Env), func(kv string) bool { return strings.HasPrefix(kv, "GANTRY_TESTBED") })
	env = append(env, "GANTRY_ENGINE="+e.Name, "GANTRY_STATE_DIR="+filepath.Join(dir, "state"), "MUTANT_ENGINE="+e.Path)
	engine, err := conformance.Find(t.Context(), e.Name, env, e.UID)
	if err != nil {
		t.Fatal(err)
	}
	suite := &conformance.Suite{
		Hook: filepath.Join(programs, "hook.sh"), Environ: env, Engine: engine, Dir: dir, UID: e.UID,
		Rewrite: map[string]string{"busybox:1": testbed.Busybox, "debian:stable-slim": testbed.Bash},
	}
	if err := suite.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	suite.Environ = append(suite.Environ, "MUTANT_IMAGE="+suite.Image("busybox"))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(suite.Close(ctx), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return suite
}
