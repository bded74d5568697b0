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
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/mutants"
	"github.com/gantry-ci/gantry/internal/conformance/ociclient"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/sample"
)

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
func TestEveryCaseHasAMutant(t *testing.T) {
	all, table := load(t)
	for _, c := range all.Cases {
		if !slices.ContainsFunc(table, func(m mutants.Mutant) bool { return m.Kills(c.ID) }) {
			t.Errorf("no mutant fails %s", c.ID)
		}
	}
	t.Logf("%d mutants for %d cases", len(table), len(all.Cases))
}

func TestMutantsNameCasesThatExist(t *testing.T) {
	all, table := load(t)
	for _, m := range table {
		for _, pattern := range slices.Concat(m.Fails, m.Also) {
			if !slices.ContainsFunc(all.Cases, func(c conformance.Case) bool { ok, _ := path.Match(pattern, c.ID); return ok }) {
				t.Errorf("%s: there is no case %s", m.Name, pattern)
			}
		}
	}
}

// Cases of every area are tried beside mutants.
func TestInnocentsOfEveryArea(t *testing.T) {
	all, _ := load(t)
	areas := map[string]bool{}
	for _, c := range innocents(all, &mutants.Mutant{}) {
		areas[c.Area] = true
	}
	for _, c := range all.Cases {
		if !areas[c.Area] {
			t.Errorf("no case of the area %s is tried beside mutants", c.Area)
			areas[c.Area] = true
		}
	}
}

// Every sample is large enough, and covers every area.
func TestSamplesCoverEveryArea(t *testing.T) {
	all, table := load(t)
	areas := map[string]bool{}
	for _, c := range all.Cases {
		areas[c.Area] = true
	}
	for seed := range 100 {
		some := chosen(fmt.Sprint(seed), all, table)
		covered := map[string]bool{}
		for _, m := range some {
			for _, area := range kills(all, &m) {
				covered[area] = true
			}
		}
		if len(covered) != len(areas) || len(some) < sampleSize || len(some) > 2*sampleSize {
			t.Errorf("seed %d: %d mutants find cases of %d areas; there are %d", seed, len(some), len(covered), len(areas))
		}
	}
}

const (
	// envAll has every mutant tried, each beside innocents of every area and every shared job, and those that are about few
	// requests beside fewer; without it a sample is.
	envAll = "GANTRY_TEST_ALL_MUTANTS"
	// sampleSize is how many mutants a sample has, at least.
	sampleSize = 25
	// sampleInnocents is beside how many innocents each of them is tried.
	sampleInnocents = 3
)

// chosen are the mutants of a sample: some for the cases of every area.
func chosen(seed string, all *conformance.Collection, table []mutants.Mutant) []mutants.Mutant {
	shuffled := sample.Shuffled(seed, table, func(m mutants.Mutant) string { return m.Name })
	return sample.Cover(shuffled, sampleSize, func(m mutants.Mutant) []string { return kills(all, &m) })
}

// kills are the areas of the cases that must fail with a mutant.
func kills(all *conformance.Collection, m *mutants.Mutant) []string {
	var areas []string
	for _, c := range all.Cases {
		if m.Kills(c.ID) {
			areas = append(areas, c.Area)
		}
	}
	return areas
}

// innocents are cases that must pass with a mutant although its commands are theirs. They are quick ones: all that only
// run scripts in one of some jobs that they share, and of those that do more some of every area.
func innocents(all *conformance.Collection, m *mutants.Mutant) []conformance.Case {
	return slices.DeleteFunc(slices.Clone(all.Cases), func(c conformance.Case) bool {
		touched := len(m.On) == 0 || slices.ContainsFunc(m.On, func(command string) bool { return c.Commanded(hook.Command(command)) })
		shares := slices.Contains([]string{"plain", "services", "mounts", "nonroot"}, c.Job)
		onlyScripts := !c.Commanded(hook.RunContainerStep) && !c.Commanded(hook.CleanupJob)
		slow := c.Alone || slices.Contains([]string{"cancellation", "concurrency", "secrets"}, c.Area)
		return !touched || !m.Spares(c.ID) || (!shares || !onlyScripts || slow) && !slices.Contains(moreInnocents(), c.ID)
	})
}

func moreInnocents() []string {
	return []string{
		"build-runs", "build-file-missing", "cancel-ends-script-before-kill", "cancel-is-a-failure", "cleanup-twice", "cleanup-without-preparation",
		"concurrent-scripts", "container-of-step-dies", "container-step-arguments", "credentials-of-job", "errors-nothing-to-run",
		"errors-say-something", "health-none", "hostile-image-name", "pull-by-digest", "pull-missing-step-image", "secrets-not-in-inspect",
		"state-null-of-script", "stdin-of-container-step-is-empty", "working-directory-of-container-step",
	}
}

// Each mutant fails the cases that are meant to find it, and no others. The mutant "none" breaks nothing.
func TestMutantsAreFound(t *testing.T) { try(t, testbed.Docker(t), "") }

// Some breaks only show where containers are not those of root.
func TestMutantsAreFoundWithoutRoot(t *testing.T) {
	e := testbed.PodmanRootless(t)
	programs := os.Getenv("MUTANT_PROGRAMS")
	if programs == "" {
		programs = build(t)
	}
	if testbed.RunAs(t, e, "MUTANT_PROGRAMS="+programs, envAll+"="+os.Getenv(envAll), sample.EnvSeed+"="+sample.Seed(t)) {
		return
	}
	try(t, e, programs)
}

// try tries the mutants that are for an engine.
func try(t *testing.T, e *testbed.Engine, programs string) {
	all, table := load(t)
	everything, seed := os.Getenv(envAll) != "", sample.Seed(t)
	table = slices.DeleteFunc(table, func(m mutants.Mutant) bool { return m.Engine != e.Label && (m.Engine != "" || e.Label != "docker") })
	if !everything && e.Label == "docker" {
		table = chosen(seed, all, table)
		t.Logf("%d mutants; %s=1 tries them all", len(table), envAll)
	}
	if programs == "" {
		programs = build(t)
	}
	suite := newSuite(t, e, programs)
	t.Cleanup(func() { removeNetworks(t, e) })
	for _, m := range append(table, mutants.Mutant{Name: "none"}) {
		t.Run(m.Name, func(t *testing.T) {
			if !m.Alone {
				t.Parallel()
			}
			beside := innocents(all, &m)
			beside = sample.Shuffled(seed+m.Name, beside, func(c conformance.Case) string { return c.ID })
			beside = sample.Cover(beside, 0, func(c conformance.Case) []string { return []string{c.Area + " of the job " + c.Job} })
			if !everything || m.If.Regexp != nil {
				beside = beside[:min(len(beside), sampleInnocents)]
			}
			check(t, suite.With(shim(t, programs, m.Name)), all, &m, beside)
		})
	}
}

// removeNetworks removes what broken hooks leave in the end: one that is killed while it asks for a network may have it made
// when its case is over already.
func removeNetworks(t *testing.T, e *testbed.Engine) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ids, err := e.Command(ctx, "network", "ls", "-q", "--filter", "label=io.gantry.runner").Output()
	if left := strings.Fields(string(ids)); err == nil && len(left) > 0 {
		t.Logf("%d networks of broken hooks are removed", len(left))
		err = e.Command(ctx, append([]string{"network", "rm"}, left...)...).Run()
	}
	if err != nil {
		t.Errorf("removing networks of broken hooks: %v", err)
	}
}

// check judges a mutant by the cases that it must fail, and then, in jobs of their own, by others.
func check(t *testing.T, suite *conformance.Suite, all *conformance.Collection, m *mutants.Mutant, beside []conformance.Case) {
	t.Helper()
	results := suite.Judge(t.Context(), all, func(c *conformance.Case) bool { return m.Kills(c.ID) })
	results = append(results, suite.Judge(t.Context(), all, func(c *conformance.Case) bool {
		return slices.ContainsFunc(beside, func(b conformance.Case) bool { return b.ID == c.ID })
	})...)
	for _, r := range results {
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

// build builds the mutant program and a good hook, where every user can run them.
func build(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mutants-bin-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
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
	engine, err := ociclient.Find(t.Context(), e.Name, env, e.UID)
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
