package handler

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
)

const testJob = "0123456789abcdef0123456789abcdef"

// plan plans one job with a configuration, on a host where only the named files exist.
func plan(t *testing.T, cfg *config.Config, args *hook.PrepareJobArgs, exist ...string) (engine.JobSpec, error) {
	t.Helper()
	var log bytes.Buffer
	h := &Handler{Config: cfg, Log: &log, Store: jobrecord.Store{Dir: "/state"}, Runner: Runner{ID: "abc123", Work: "/r/_work"}}
	p := h.planner(testJob, engine.Info{Name: "docker"})
	p.exists = func(path string) bool {
		for _, name := range exist {
			if name == path {
				return true
			}
		}
		return false
	}
	return p.jobSpec(args, agentDir{work: "/r/_work", rel: "_temp/.gantry-x"})
}

func TestServicesAreNamedByTheirImages(t *testing.T) {
	var services []hook.Container
	for _, image := range []string{"ghcr.io/x/redis:7", "redis", "localhost:5000/redis@sha256:0", "Post_gres:16", "redis:6"} {
		services = append(services, hook.Container{Image: image})
	}
	want := []string{"redis", "redis-1", "redis-2", "post-gres", "redis-3"}
	if diff := cmp.Diff(want, serviceAliases(services)); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentIsTheRunnersOfDockerMode(t *testing.T) {
	for _, tc := range []struct{ configured, requested, want map[string]string }{
		{nil, nil, map[string]string{"CI": "true", "GITHUB_ACTIONS": "true"}},
		{map[string]string{"A": "cfg", "B": "cfg"}, map[string]string{"A": "job", "CI": "false"},
			map[string]string{"A": "job", "B": "cfg", "CI": "false", "GITHUB_ACTIONS": "true"}},
	} {
		if diff := cmp.Diff(tc.want, environment(tc.configured, tc.requested)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTheAdministratorsLimitsStandLast(t *testing.T) {
	cfg := config.Default()
	cfg.Limits = config.Limits{CPUs: "2", Memory: "1g", Pids: 100}
	cfg.CreateArgs.Job = []string{"--init"}
	spec, err := plan(t, cfg, &hook.PrepareJobArgs{Container: &hook.Container{Image: "i", CreateOptions: `--cpus 8 --health-cmd "a b"`}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--init", "--cpus", "8", "--health-cmd", "a b", "--cpus=2", "--memory=1g", "--pids-limit=100"}
	if diff := cmp.Diff(want, spec.Container.Options); diff != "" {
		t.Error(diff)
	}
}

func TestTheEnginesSocketIsMountedOnlyWhereItIsAndMayBe(t *testing.T) {
	args := &hook.PrepareJobArgs{Container: &hook.Container{Image: "i", SystemMountVolumes: []hook.MountVolume{
		{SourceVolumePath: dockerSocket, TargetVolumePath: dockerSocket},
	}}}
	deny := config.Default()
	deny.DockerSocket = "deny"
	for _, tc := range []struct {
		name  string
		cfg   *config.Config
		exist []string
		want  bool
	}{
		{"there", config.Default(), []string{dockerSocket}, true},
		{"not there", config.Default(), nil, false},
		{"denied", deny, []string{dockerSocket}, false},
	} {
		spec, err := plan(t, tc.cfg, args, tc.exist...)
		if err != nil {
			t.Fatal(err)
		}
		if got := spec.Container.Mounts[0].Target == dockerSocket; got != tc.want {
			t.Errorf("%s: mounts %+v", tc.name, spec.Container.Mounts)
		}
	}
}

func TestMistakesOfTheWorkflowNameTheirPlace(t *testing.T) {
	for _, tc := range []struct {
		args hook.PrepareJobArgs
		want string
	}{
		{hook.PrepareJobArgs{Container: &hook.Container{Image: "i", CreateOptions: "--nope"}}, "container.options"},
		{hook.PrepareJobArgs{Container: &hook.Container{Image: "i", PortMappings: []string{"80:x"}}}, "container.ports"},
		{hook.PrepareJobArgs{Services: []hook.Container{{Image: "i"}, {Image: "j", CreateOptions: `--name "`}}}, "services[1].options"},
		{hook.PrepareJobArgs{Services: []hook.Container{{Image: "i", UserMountVolumes: []hook.MountVolume{{UserProvidedValue: "a:b"}}}}}, "services[0].volumes"},
	} {
		if _, err := plan(t, config.Default(), &tc.args); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want it to name %s", err, tc.want)
		}
	}
}

func TestAStepRunsWhatTheEngineWouldRun(t *testing.T) {
	image := &engine.StepContainer{Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"cmd"}}
	for _, tc := range []struct {
		args hook.Container
		want []string
	}{
		{hook.Container{}, []string{"/entry", "-x", "cmd"}},
		{hook.Container{EntryPointArgs: []string{`"a`, `b"`}}, []string{"/entry", "-x", "a b"}},
		{hook.Container{EntryPoint: "/own"}, []string{"/own"}},
		{hook.Container{EntryPoint: "/own", EntryPointArgs: []string{"a"}}, []string{"/own", "a"}},
	} {
		if diff := cmp.Diff(tc.want, stepArgv(image, &tc.args)); diff != "" {
			t.Errorf("%+v: %s", tc.args, diff)
		}
	}
}

func TestTheHashOfABuildContextIsOfAllThatCounts(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]string{}
	note := func(what string) {
		t.Helper()
		hash, err := contextHash(root, "Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		if before, known := seen[hash]; known {
			t.Errorf("%q has the hash of %q", what, before)
		}
		seen[hash] = what
	}
	write("Dockerfile", "FROM x", 0o644)
	note("a Dockerfile")
	write("a", "1", 0o644)
	note("a file more")
	write("a", "2", 0o644)
	note("other content")
	write("a", "2", 0o755)
	note("other mode")
	if err := os.Symlink("a", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	note("a link more")
	first, err := contextHash(root, "Dockerfile")
	second, err2 := contextHash(root, "Dockerfile")
	if err != nil || err2 != nil || first != second {
		t.Errorf("the hash is not stable: %v %v", err, err2)
	}
	copied := t.TempDir()
	if err := copyContext(copied, root); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenRoot(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if third, err := contextHash(other, "Dockerfile"); err != nil || third != first {
		t.Errorf("the copy has another hash (%v)", err)
	}
}

func TestRunnerIDIsTheRunnersOwnLabel(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".runner"), []byte("\ufeff{\"AgentName\": \"X\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	// printf '{"agentname": "x"}' | sha256sum
	if got := RunnerID([]string{"/nowhere", dir}, "name"); got != shortHash(`{"agentname": "x"}`) {
		t.Errorf("got %s", got)
	}
	if RunnerID([]string{"/nowhere"}, "a") == RunnerID([]string{"/nowhere"}, "b") {
		t.Error("without a .runner file the name does not count")
	}
}

func TestWorkFolderIsFound(t *testing.T) {
	mounts := func(source, target string) json.RawMessage {
		raw, err := json.Marshal(map[string]any{"image": "i", "systemMountVolumes": []map[string]any{{"sourceVolumePath": source, "targetVolumePath": target}}})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	job := json.RawMessage(`{"container":` + string(mounts("/a/_work", "/__w")) + `,"services":[]}`)
	for _, tc := range []struct {
		in   hook.Input
		temp string
		want string
	}{
		{hook.Input{Command: hook.PrepareJob, Args: job}, "/b/_temp", "/a/_work"},
		{hook.Input{Command: hook.RunContainerStep, Args: mounts("/a/_work/_temp", "/github/runner_temp")}, "", "/a/_work"},
		{hook.Input{Command: hook.CleanupJob}, "/b/_work/_temp", "/b/_work"},
		{hook.Input{Command: hook.CleanupJob, ResponseFile: "/c/_work/_temp/_runner_hook_responses/x.json"}, "", "/c/_work"},
		{hook.Input{Command: hook.CleanupJob, ResponseFile: "/c/x.json"}, "/b/elsewhere", ""},
	} {
		if got := WorkOf(&tc.in, tc.temp); got != tc.want {
			t.Errorf("%+v with RUNNER_TEMP %q: got %q, want %q", tc.in.Command, tc.temp, got, tc.want)
		}
	}
}

// Each phase of a job has its bound from the configuration.
func TestTimeoutsReachTheEngine(t *testing.T) {
	cfg := config.Default()
	cfg.Timeouts.Schedule, cfg.Timeouts.Pull, cfg.Timeouts.Start, cfg.Timeouts.Health = 1, 2, 3, 4
	spec, err := plan(t, cfg, &hook.PrepareJobArgs{})
	if want := (engine.Timeouts{Schedule: 1, Pull: 2, Start: 3, Health: 4}); err != nil || spec.Timeouts != want {
		t.Errorf("%+v (%v), want %+v", spec.Timeouts, err, want)
	}
}
