package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/config"
)

// write makes a gantry.yaml and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gantry.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string, environ ...string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Sources{Flag: write(t, text), Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func problems(t *testing.T, s config.Sources) config.Problems {
	t.Helper()
	_, err := config.Load(s)
	var all config.Problems
	if err != nil && !errors.As(err, &all) {
		t.Fatalf("got %v, want Problems", err)
	}
	return all
}

func TestDefaults(t *testing.T) {
	want := &config.Config{
		Engine: "auto", Pull: "always", DockerSocket: "pass", RestoreOwnership: true,
		Timeouts: config.Timeouts{Pull: 15 * time.Minute, Start: 2 * time.Minute, Health: 5 * time.Minute,
			Build: 30 * time.Minute, Cleanup: 2 * time.Minute, Cancel: 4 * time.Second, Schedule: 10 * time.Minute},
		Kubernetes: config.Kubernetes{Mode: "auto", Volume: "auto", GithubVolume: "github", UnsupportedOptions: "warn"},
	}
	for _, text := range []string{"", "\n# nothing\n", "---\n", "timeouts:\n", "engine:\npolicy: {}\nenv: {}\nmounts: []\n"} {
		if diff := cmp.Diff(want, load(t, text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	none, err := config.Load(config.Sources{Candidates: []string{filepath.Join(t.TempDir(), "no")}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, none); diff != "" {
		t.Error(diff)
	}
}

func TestFileIsLookedForInOrder(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("network: "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(dir, "missing")
	flag, env, shim, system := file("flag"), file("env"), file("shim"), file("system")
	for _, tt := range []struct {
		flag, env  string
		candidates []string
		want       string
	}{
		{flag, env, []string{shim, system}, "flag"},
		{"", env, []string{shim, system}, "env"},
		{"", "", []string{shim, system}, "shim"},
		{"", "", []string{missing, system}, "system"},
		{"", "", []string{missing}, ""},
	} {
		s := config.Sources{Flag: tt.flag, Candidates: tt.candidates, Environ: []string{"GANTRY_CONFIG=" + tt.env}}
		c, err := config.Load(s)
		if err != nil || c.Network != tt.want {
			t.Errorf("%+v: read %q, %v; want %q", s, c.Network, err, tt.want)
		}
	}
	for _, s := range []config.Sources{
		{Flag: missing, Candidates: []string{shim}},
		{Candidates: []string{shim}, Environ: []string{"GANTRY_CONFIG=" + missing}},
		{Flag: dir},
	} {
		if all := problems(t, s); len(all) != 1 || all[0].Place.File == "" {
			t.Errorf("%+v: got %v, want one problem of the file", s, all)
		}
	}
}

// Values in YAML need no quotes, may be aliases, and durations are Go's.
func TestReadsValues(t *testing.T) {
	c := load(t, `
engine: podman
limits: {cpus: 2, memory: 1.5g, pids: 0}
env: {ZONE: &zone a, OTHER: *zone, NUMBER: 007, EMPTY: }
timeouts:
  pull: 1h30m
  start: 0
restore_ownership: false
create_args:
  service: [--ulimit, "nofile=1 2"]
`)
	want := config.Default()
	want.Engine, want.RestoreOwnership = "podman", false
	want.Limits = config.Limits{CPUs: "2", Memory: "1.5g"}
	want.Env = map[string]string{"ZONE": "a", "OTHER": "a", "NUMBER": "007", "EMPTY": ""}
	want.Timeouts.Pull, want.Timeouts.Start = 90*time.Minute, 0
	want.CreateArgs.Service = []string{"--ulimit", "nofile=1 2"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	c := load(t, "engine: docker\nmounts: [/a:/b]\ntimeouts: {pull: 1m, health: 1m}\nenv: {A: b}\n",
		"GANTRY_ENGINE=podman", "GANTRY_MOUNTS=/c:/d, v:/e:ro", "GANTRY_TIMEOUTS_PULL=5s", "GANTRY_TIMEOUTS_HEALTH=",
		"GANTRY_ENV=A=c=d,B=", "GANTRY_RESTORE_OWNERSHIP=false", "GANTRY_LIMITS_PIDS=7",
		`GANTRY_CREATE_ARGS_JOB=["--mount", "type=tmpfs,target=/x"]`, "GANTRY_IMAGE_REWRITE={docker.io: m.example.com}",
		"GANTRY_FAILPOINT=x", "NETWORK=x")
	want := config.Default()
	want.Engine, want.Mounts, want.RestoreOwnership, want.Limits.Pids = "podman", []string{"/c:/d", "v:/e:ro"}, false, 7
	want.Timeouts.Pull, want.Timeouts.Health = 5*time.Second, time.Minute
	want.Env = map[string]string{"A": "c=d", "B": ""}
	want.CreateArgs.Job = []string{"--mount", "type=tmpfs,target=/x"}
	want.ImageRewrite = map[string]string{"docker.io": "m.example.com"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if c := load(t, "mounts: [/a:/b]", "GANTRY_MOUNTS=[]"); len(c.Mounts) != 0 {
		t.Errorf("[] left %v", c.Mounts)
	}
}

func TestOfficialNetworkName(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{[]string{"ACTIONS_RUNNER_NETWORK_DRIVER=host"}, "host"},
		{[]string{"ACTIONS_RUNNER_NETWORK_DRIVER=host", "GANTRY_NETWORK=mine"}, "mine"},
		{[]string{"ACTIONS_RUNNER_NETWORK_DRIVER=host", "GANTRY_NETWORK="}, "host"},
		{nil, "file"},
	} {
		if c := load(t, "network: file", tt.environ...); c.Network != tt.want {
			t.Errorf("%v: network %q, want %q", tt.environ, c.Network, tt.want)
		}
	}
}

// Every problem is told, once, at its place: the lines are marked with "!" and the column, once for each problem.
func TestAllProblemsAtOnce(t *testing.T) {
	text := `engines: docker                 #!1
pull: allways                   #!7
network: "a b"                  #!10
mounts:
  - /a:/b
  - ./a:/b                      #!5
  - /a                          #!5
  - [x]                         #!5
env: {1A: b, B: [c]}            #!7 !17
image_rewrite:
  "https://docker.io": m        #!3
limits:
  cpus: two                     #!9
  memory: 2 GB                  #!11
  pids: -1                      #!9
  pods: 1                       #!3
memory: 2g                      #!1
docker_socket: sometimes        #!16
mount_options: [z, "a,b"]       #!20
restore_ownership: perhaps      #!20
timeouts:
  pull: 5 minutes               #!9
  start: 300                    #!10
  health: -1s                   #!11
  pull: 1m                      #!3
policy:
  images: ["a[b"]               #!12
  deny_flags: [privileged, --pirvileged, "--pid host", "--privileged=maybe", --pid=host] #!16 !28 !42 !56
  deny_mounts: [a/b, "/a**/b"]  #!17 !22
overrides:
  prepare_jobs: /x              #!3
  cleanup_job: x                #!3
create_args: [--init]           #!14
trace_dir: ~/traces             #!12
engine_path: podman             #!14
state_dir: [a]                  #!12
`
	var want []string
	for i, line := range strings.Split(text, "\n") {
		for _, mark := range strings.Split(line, "!")[1:] {
			want = append(want, fmt.Sprintf("%d:%s", i+1, strings.TrimSpace(mark)))
		}
	}
	var got []string
	for _, p := range problems(t, config.Sources{Flag: write(t, text)}) {
		got = append(got, fmt.Sprintf("%d:%d", p.Place.Line, p.Place.Col))
		t.Log(p)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProblemsOfVariablesNameThem(t *testing.T) {
	for variable, key := range map[string]string{
		"GANTRY_PULL=x":                            "pull",
		"ACTIONS_RUNNER_NETWORK_DRIVER=a b":        "network",
		"GANTRY_TIMEOUTS_PULL=5":                   "timeouts.pull",
		"GANTRY_POLICY_DENY_FLAGS=--init,--nope":   "policy.deny_flags[1]",
		"GANTRY_OVERRIDES=prepare_job=/x,a=/b":     "overrides.a",
		"GANTRY_ENV=novalue":                       "env",
		"GANTRY_TIMEOUT_PULL=5m":                   "",
		"GANTRY_CREATE_ARGS_JOB={a: b}":            "create_args.job",
		"GANTRY_RESTORE_OWNERSHIP=yes":             "restore_ownership",
		"GANTRY_ENGINE=dokcer":                     "engine",
		"GANTRY_POLICY_REQUIRE_JOB_CONTAINERS=yes": "",
	} {
		name, _, _ := strings.Cut(variable, "=")
		all := problems(t, config.Sources{Environ: []string{"PATH=/bin", variable}})
		if len(all) != 1 || all[0].Place.Env != name || all[0].Key != key {
			t.Errorf("%s: got %v, want one problem of the variable at %q", variable, all, key)
		}
	}
}

func TestHints(t *testing.T) {
	for text, hint := range map[string]string{
		"engin: docker":                         "engine",
		"timeout: {}":                           "timeouts",
		"timeouts: {pul: 1m}":                   "timeouts.pull",
		"memory: 1g":                            "limits.memory",
		"pull: nevr":                            "never",
		"timeouts: {pull: 300}":                 `"300s"`,
		"policy: {deny_flags: [--pirvileged]}":  "--privileged",
		"policy: {deny_flags: ['--pid host']}":  "--pid=host",
		"create_args: {job: ['--cpus 1']}":      `"--cpus", "1"`,
		"overrides: {prepare_jobb: /x}":         "prepare_job",
		"trace_dir: ~/x":                        "~",
		"image_rewrite: {'https://a.io': b.io}": `"a.io"`,
	} {
		all := problems(t, config.Sources{Flag: write(t, text)})
		if len(all) != 1 || !strings.Contains(all[0].Hint, hint) {
			t.Errorf("%s: got %v, want a hint with %s", text, all, hint)
		}
	}
}

func TestNotAMap(t *testing.T) {
	for text, line := range map[string]int{
		"engine: docker\n  pull: x": 2, "- a": 1, "just text": 1, "a: b\n---\nc: d": 2, "engine: [": 1, "\tx: y": 1, "a: *b": 0,
	} {
		all := problems(t, config.Sources{Flag: write(t, text)})
		if len(all) == 0 || line > 0 && all[len(all)-1].Place.Line != line {
			t.Errorf("%q: got %v, want a problem in line %d", text, all, line)
		}
	}
}

// FuzzLoad: reading never panics, every problem has a place, and what was accepted can be written and read again.
func FuzzLoad(f *testing.F) {
	f.Add("engine: docker\nlimits: {cpus: 2}\n", "a,b")
	f.Add("env: {a: b\n", "a=b")
	f.Add("mounts: [/a:/b]\npolicy: {images: ['*']}", "[a, b]")
	f.Fuzz(func(t *testing.T, text, variable string) {
		path := write(t, text)
		environ := []string{"GANTRY_ENV=" + variable, "GANTRY_POLICY_IMAGES=" + variable}
		c, err := config.Load(config.Sources{Flag: path, Environ: environ})
		if err != nil {
			for _, p := range err.(config.Problems) {
				if p.Place.String() == "" || p.Text == "" {
					t.Errorf("%q: a problem without place or text: %+v", text, p)
				}
			}
			return
		}
		roundTrip(t, c)
	})
}

func roundTrip(t *testing.T, c *config.Config) {
	t.Helper()
	written, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(config.Sources{Flag: write(t, string(written))})
	if err != nil {
		t.Fatalf("%v in\n%s", err, written)
	}
	if diff := cmp.Diff(c, again); diff != "" {
		t.Errorf("%s in\n%s", diff, written)
	}
}
