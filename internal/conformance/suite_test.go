package conformance_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// fakeEngine has no containers. What a test does not set works and finds nothing.
type fakeEngine struct {
	meets      func(need string) bool
	containers func() ([]*conformance.Container, error)
	remove     func(conformance.Inventory) error
	pull       error
	added      []string // to the hook's environment
}

var _ conformance.Engine = (*fakeEngine)(nil)

func (e *fakeEngine) Meets(need string) bool { return e.meets == nil || e.meets(need) }

func (e *fakeEngine) Listen() string { return "127.0.0.1" }

func (e *fakeEngine) Image(context.Context, string) (*images.Image, error) {
	return (&images.Image{Architecture: "amd64", OS: "linux"}).With(images.File{Path: "bin/busybox", Content: []byte("program"), Mode: 0o755})
}

func (e *fakeEngine) Open(string, []string) ([]string, error) { return e.added, nil }

func (e *fakeEngine) Pull(context.Context, string) error { return e.pull }

func (e *fakeEngine) Close(context.Context, []string) error { return nil }

func (e *fakeEngine) Containers(context.Context) ([]*conformance.Container, error) {
	if e.containers == nil {
		return nil, nil
	}
	return e.containers()
}

func (e *fakeEngine) Networks(context.Context) ([]conformance.Network, error) { return nil, nil }

func (e *fakeEngine) Exists(context.Context, string, string) (bool, error) { return false, nil }

func (e *fakeEngine) Inspect(context.Context, string) (*conformance.Facts, error) {
	return nil, errors.New("there are no containers")
}

func (e *fakeEngine) Start(context.Context, string, string) error { return nil }

func (e *fakeEngine) Enter(context.Context, string, ...string) (int, error) { return 0, nil }

func (e *fakeEngine) Kill(context.Context, ...string) error { return nil }

func (e *fakeEngine) Remove(_ context.Context, what conformance.Inventory) error {
	if e.remove == nil {
		return nil
	}
	return e.remove(what)
}

func (e *fakeEngine) Empty(context.Context, string, string) error { return nil }

// written is a hook with a text.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// suite judges a hook that is a shell script.
func suite(t *testing.T, e conformance.Engine, script string) *conformance.Suite {
	t.Helper()
	return &conformance.Suite{
		Hook: written(t, "hook.sh", script), Environ: []string{"PATH=/usr/bin:/bin"}, Engine: e, Dir: t.TempDir(), UID: os.Getuid(),
		Patience: 100 * time.Millisecond,
	}
}

// one is a collection of one case, of which all but what it does is as usual.
func one(t *testing.T, calls string) *conformance.Collection {
	t.Helper()
	text := "id: a\ntitle: A case\nlevel: must\narea: input\nrests_on: {source: A.cs, says: so}\n" + calls
	all, err := conformance.Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func everything(*conformance.Case) bool { return true }

// Each outcome, by a hook and an engine that bring it about.
func TestOutcomes(t *testing.T) {
	broken := errors.New("the engine is broken")
	stdin := "calls: [{stdin: x, expect: {output: {has_lines: [done]}}}]"
	for _, c := range []struct {
		name, hook, calls string
		engine            fakeEngine
		want              conformance.Outcome
		note              string // part of the result's note
	}{
		{name: "it does it", hook: "echo done", calls: stdin, want: conformance.Pass},
		{name: "it does something else", hook: "echo nothing", calls: stdin, want: conformance.Fail},
		{name: "it fails", hook: "exit 9", calls: stdin, want: conformance.Fail},
		{
			name: "it says no", hook: "echo 'ports are not supported by this hook'; exit 1", calls: stdin,
			want: conformance.NotSupported, note: "ports are not supported by this hook",
		},
		{name: "it says no and goes on", hook: "echo 'ports are not supported'", calls: stdin, want: conformance.Fail},
		{
			name: "the engine lacks something", hook: "echo done", calls: "needs: [volumes, podman]\n" + stdin,
			engine: fakeEngine{meets: func(need string) bool { return need != "podman" }}, want: conformance.Skipped, note: "it needs podman",
		},
		{
			name: "the engine cannot be looked at", hook: "echo done", calls: "calls: [{stdin: x, expect: {containers: 0}}]",
			engine: fakeEngine{containers: func() ([]*conformance.Container, error) { return nil, broken }}, want: conformance.Error, note: broken.Error(),
		},
		{
			name: "what it leaves cannot be removed", hook: "echo done", calls: stdin,
			engine: fakeEngine{remove: func(conformance.Inventory) error { return broken }}, want: conformance.Error, note: broken.Error(),
		},
		{name: "the case is wrong", hook: "echo done", calls: "calls: [{script: '@{nonsense}'}]", want: conformance.Error, note: "nonsense"},
		{
			name: "a response does not say what a later call is about", hook: "echo done",
			calls: "calls: [{stdin: x}, {host: {kill: ['@{job}']}}]", want: conformance.Fail,
		},
		{
			name: "it does not wait to be cancelled", hook: "exit 1", want: conformance.Fail,
			calls: "calls: [{stdin: x, cancel: {stdout: ready}, expect: {status: nonzero}}]",
		},
		{
			name: "what a second call comes after never happens", hook: "exit 1", want: conformance.Fail,
			calls: "calls: [{together: [{stdin: x, expect: {status: any}}, {stdin: y, after: {stdout: ready}, expect: {status: any}}]}]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			results, err := suite(t, &c.engine, c.hook).Run(t.Context(), one(t, c.calls), everything)
			if err != nil || len(results) != 1 {
				t.Fatalf("%v, %v", results, err)
			}
			if r := results[0]; r.Outcome != c.want || !strings.Contains(r.Note, c.note) {
				t.Errorf("%s (%s) %+v; want %s", r.Outcome, r.Note, r.Failures, c.want)
			}
		})
	}
}

// Where nothing can be pulled nothing is judged: that is an error, and no result.
func TestNothingIsJudgedWithoutImages(t *testing.T) {
	results, err := suite(t, &fakeEngine{pull: errors.New("no")}, "echo done").Run(t.Context(), one(t, "calls: [{stdin: x}]"), everything)
	if err == nil || results != nil {
		t.Errorf("%v, %v", results, err)
	}
}

// A suite that is interrupted has judged nothing more.
func TestAnInterruptedSuite(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := suite(t, &fakeEngine{}, "echo done")
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, r := range s.Judge(ctx, one(t, "calls: [{stdin: x}]"), everything) {
		if r.Outcome != conformance.Error {
			t.Errorf("%s", r.Outcome)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// An engine without networks, as Kubernetes is one, is not asked for any: what cases say of them counts elsewhere.
func TestAnEngineWithoutNetworks(t *testing.T) {
	for _, has := range []bool{true, false} {
		e := &fakeEngine{meets: func(need string) bool { return has || need != "networks" }}
		results, err := suite(t, e, "echo done").Run(t.Context(), one(t, "calls: [{stdin: x, expect: {networks: 1}}]"), everything)
		if err != nil || (results[0].Outcome == conformance.Fail) != has {
			t.Errorf("with networks %v: %+v, %v", has, results, err)
		}
	}
}

// A .js hook is started as the runner does it: by node, with the hook's path alone, in the workspace, with the request on
// standard input.
func TestAJavaScriptHookIsStartedWithNode(t *testing.T) {
	s := suite(t, &fakeEngine{}, "")
	s.Hook = written(t, "index.js", "// not a program that this test can run")
	s.Node = written(t, "node", "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$1\" \"$PWD\" \"$GITHUB_WORKSPACE\"; cat\n")
	all := one(t, "calls: [{stdin: the request, expect: {output: {matches: '^1\\n\\S*/index.js\\n(\\S+)\\n\\S+\\nthe request$', contains: [\"@{workspace}\\n@{workspace}\"]}}}]")
	results, err := s.Run(t.Context(), all, everything)
	if err != nil || results[0].Outcome != conformance.Pass {
		t.Errorf("%+v, %v", results, err)
	}
}

// Runners of the environment that the suite runs in do not reach the hook: it has the suite's own.
func TestTheHooksEnvironmentIsARunners(t *testing.T) {
	s := suite(t, &fakeEngine{}, "env")
	s.Environ = append(s.Environ, "GITHUB_WORKSPACE=/elsewhere", "RUNNER_NAME=mine", "ACTIONS_RUNNER_X=y", "OF_USER=kept")
	all := one(t, "calls: [{stdin: x, expect: {output: {has_lines: [OF_USER=kept, 'GITHUB_WORKSPACE=@{workspace}'], lacks: [elsewhere, mine, ACTIONS_RUNNER_X]}}}]")
	results, err := s.Run(t.Context(), all, everything)
	if err != nil || results[0].Outcome != conformance.Pass {
		t.Errorf("%+v, %v", results, err)
	}
}

// What belongs to a runner is found by what the runner asked for, and by labels that are nobody else's.
func TestWhatBelongsToARunner(t *testing.T) {
	note := filepath.Join(t.TempDir(), "token")
	var looks int
	var removed []string
	e := &fakeEngine{
		containers: func() ([]*conformance.Container, error) {
			token, err := os.ReadFile(note)
			if err != nil {
				return nil, nil // the hook has not run yet
			}
			all := []*conformance.Container{
				{ID: "by its environment", Env: []string{"A=b", "CONFORMANCE_TOKEN=" + string(token)}, Labels: map[string]string{"own": "yes", "all": "x"}},
				{ID: "of another", Env: []string{"CONFORMANCE_TOKEN=other"}, Labels: map[string]string{"all": "x"}},
				{ID: "of nobody"},
			}
			if looks++; looks > 1 {
				all = append(all, &conformance.Container{ID: "by its label", Labels: map[string]string{"own": "yes"}})
			}
			return all, nil
		},
		remove: func(what conformance.Inventory) error { removed = append(removed, what.Containers...); return nil },
	}
	s := suite(t, e, "printf %s \"$RUNNER_NAME\" >"+note)
	results, err := s.Run(t.Context(), one(t, "calls: [{stdin: x, expect: {containers: 2}}]"), everything)
	if err != nil || results[0].Outcome != conformance.Pass {
		t.Errorf("%+v, %v", results, err)
	}
	slices.Sort(removed)
	if diff := cmp.Diff([]string{"by its environment", "by its label"}, slices.Compact(removed)); diff != "" {
		t.Error(diff)
	}
}

// lonely is an engine that serves one runner, and cannot pull from this machine, as a cluster is one.
type lonely struct{ *fakeEngine }

func (lonely) Publish(_ context.Context, image string) (string, error) {
	_, repository, _ := strings.Cut(image, "/")
	return "elsewhere/" + repository, nil
}

func (lonely) Registry() string { return "elsewhere" }

// On an engine that serves one runner all that comes is the hook's, the runner has the folder that it was given, and what
// tells the hook of its surroundings stays in its environment.
func TestAnEngineThatServesOneRunner(t *testing.T) {
	folder := t.TempDir()
	made := filepath.Join(folder, "_work/made")
	var removed []string
	e := lonely{&fakeEngine{
		added: []string{"ACTIONS_RUNNER_POD_NAME=pod"}, meets: func(need string) bool { return need != "runners" },
		containers: func() ([]*conformance.Container, error) {
			all := []*conformance.Container{{ID: "there before", Labels: map[string]string{"a": "b"}}}
			if _, err := os.Stat(made); err == nil {
				all = append(all, &conformance.Container{ID: "new"})
			}
			return all, nil
		},
		remove: func(what conformance.Inventory) error { removed = append(removed, what.Containers...); return nil },
	}}
	s := suite(t, e, "touch "+made+"; cat; echo $ACTIONS_RUNNER_POD_NAME")
	s.Folder, s.Workers = folder, 4
	all := one(t, `calls: [{stdin: "@{registry} @{image.busybox} @{root}\n", expect: {containers: 1, output: {is: "elsewhere elsewhere/conform/busybox:1 `+folder+`\npod\n"}}}]`)
	results, err := s.Run(t.Context(), all, everything)
	if err != nil || results[0].Outcome != conformance.Pass {
		t.Fatalf("%+v, %v", results, err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 || !slices.Equal(removed, []string{"new"}) {
		t.Errorf("%q were removed, and the folder has %v: %v", removed, left, err)
	}
}

// A case that wants what nobody can do is skipped, and keeps no call waiting that goes on at the same time.
func TestWhatIsImpossibleIsSkipped(t *testing.T) {
	e := &fakeEngine{remove: func(what conformance.Inventory) error {
		if slices.Contains(what.Containers, "own") {
			return conformance.ErrImpossible
		}
		return nil
	}}
	calls := "calls: [{together: [{stdin: x}, {host: {remove: [own]}, after: {stdout: begun}}]}]"
	began := time.Now()
	results, err := suite(t, e, "echo begun; exec sleep 100").Run(t.Context(), one(t, calls), everything)
	if err != nil || results[0].Outcome != conformance.Skipped || !strings.Contains(results[0].Note, "ended from outside") {
		t.Errorf("%+v, %v", results, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// The needs of a case are listed, and each stands for something.
func TestNeedsAreListed(t *testing.T) {
	all := one(t, "needs: [volumes, docker]\ncalls: [{stdin: x}]")
	if got := all.Needs(&all.Cases[0]); !slices.Equal(got, []string{"docker", "volumes"}) {
		t.Errorf("%q", got)
	}
	for need, says := range conformance.Needs() {
		if says == "" {
			t.Errorf("%s stands for nothing", need)
		}
	}
}
