package ocicli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

var update = flag.Bool("update", false, "write testdata/plans.golden")

// plans are specs and the command lines that they become, in testdata/plans.golden.
func plans() []struct {
	title   string
	network string
	spec    engine.ContainerSpec
} {
	full := engine.ContainerSpec{
		Name: "job_1", Labels: map[string]string{"io.gantry.role": "job", "io.gantry.job": "0123"}, Image: "node:22",
		Entrypoint: "/.gantry/agent", Args: []string{"serve", "a b", ""}, WorkingDir: "/__w/my repo",
		Env:   map[string]string{"B": "two\nlines", "A": "secret", "PATH": "/bin", "DOCKER_TOKEN": "x", "https_proxy": "http://p"},
		Ports: []string{"8080:80/tcp", "6379"}, Aliases: []string{"job", "other"},
		Mounts: []engine.Mount{
			{Source: "/home/r/_work", Target: "/__w"},
			{Source: "/home/r/a b,\"c\"", Target: "/spaces"},
			{Source: "/home/r/externals", Target: "/__e", ReadOnly: true, Options: []string{"z"}},
			{Source: "cache", Target: "/cache", Options: []string{"nocopy"}},
			{Target: "/anonymous"},
			{Target: "/anonymous-ro", ReadOnly: true},
			{Source: "/with:colon", Target: "/colon", ReadOnly: true, Options: []string{"rslave"}},
			{Source: "/with:colon,comma", Target: "/colon"},
		},
		Options: []string{"--cpus", "1", "--workdir=/elsewhere"},
	}
	plain := engine.ContainerSpec{Name: "redis_1", Image: "redis", Aliases: []string{"redis"}}
	own, joined := plain, plain
	own.Options = []string{"--network", "mine", "--network-alias", "r"}
	joined.Options = []string{"--net=host"}
	return []struct {
		title   string
		network string
		spec    engine.ContainerSpec
	}{
		{"everything", "net", full},
		{"the image's defaults", "net", plain},
		{"a network of the workflow's", "net", own},
		{"another spelling of it", "net", joined},
		{"a network without names: host", "host", plain},
		{"a network without names: bridge", "bridge", plain},
		{"a network without names: podman", "podman", plain},
		{"a network without names: another container's", "container:abc", plain},
		{"a network without names: slirp4netns with options", "slirp4netns:mtu=1500", plain},
		{"no network", "", plain},
	}
}

func TestPlans(t *testing.T) {
	var got strings.Builder
	for _, d := range []*differences{docker(), podman()} {
		for _, c := range plans() {
			p, err := d.planContainer(c.spec, c.network)
			if err != nil {
				t.Fatal(err)
			}
			file := ""
			if len(p.env.file) > 0 {
				file = "ENVFILE"
			}
			fmt.Fprintf(&got, "-- %s: %s --\n", d.name, c.title)
			for _, arg := range p.args([]string{d.name, "run", "-d"}, file) {
				fmt.Fprintln(&got, programs.Typed(arg, nil))
			}
			fmt.Fprintf(&got, "environment: %q\nENVFILE: %q\n", p.env.values, p.env.file)
		}
	}
	const golden = "testdata/plans.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("plans (-want +got; -update writes them):\n%s", diff)
	}
}

// A value must never be seen in the process list.
func TestValuesAreNotInCommandLines(t *testing.T) {
	env := map[string]string{}
	for _, name := range []string{"A", "PATH", "DOCKER_HOST", "CONTAINERS_CONF", "HTTP_PROXY", "WITH_*", "AWS_SECRET_ACCESS_KEY"} {
		env[name] = "the-secret"
	}
	for _, d := range []*differences{docker(), podman()} {
		p, err := d.planContainer(engine.ContainerSpec{Image: "i", Env: env}, "n")
		if err != nil {
			t.Fatal(err)
		}
		if line := strings.Join(p.args(nil, "f"), " "); strings.Contains(line, "the-secret") {
			t.Errorf("%s: %s", d.name, line)
		}
	}
}

func TestWhatSteersTheProgramIsNotInItsEnvironment(t *testing.T) {
	steering := []string{
		"PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_ANYTHING_NEW",
		"CONTAINERS_CONF", "CONTAINER_HOST", "XDG_RUNTIME_DIR", "HTTP_PROXY", "no_proxy", "LD_PRELOAD", "BUILDKIT_HOST",
		"REGISTRY_AUTH_FILE", "TMPDIR", "PODMAN_USERNS", "STORAGE_DRIVER", "SSL_CERT_FILE", "GODEBUG",
	}
	env := map[string]string{"FREE": "1"}
	for _, name := range steering {
		env[name] = "x"
	}
	union := map[string]bool{}
	for _, d := range []*differences{docker(), podman()} {
		passed, err := d.passEnv(env)
		if err != nil {
			t.Fatal(err)
		}
		if len(passed.names)+len(passed.file) != len(env) {
			t.Errorf("%s: of %d variables there are %d and %d", d.name, len(env), len(passed.names), len(passed.file))
		}
		for _, entry := range passed.file {
			name, _, _ := strings.Cut(entry, "=")
			union[name] = true
		}
	}
	for _, name := range steering {
		if !union[name] {
			t.Errorf("%s steers one of the programs", name)
		}
	}
	if union["FREE"] {
		t.Error("FREE steers nothing")
	}
}

func TestSeveralLines(t *testing.T) {
	for name, ok := range map[string]bool{
		"KEY": true, "SSH_PRIVATE_KEY": true, "GOOGLE_CREDENTIALS": true, "DOCKER_AUTH_JSON": true,
		"DOCKER_HOST": false, "PATH": false, "LD_PRELOAD": false, "http_proxy": false,
	} {
		passed, err := docker().passEnv(map[string]string{name: "one\ntwo"})
		if ok && (err != nil || len(passed.values) != 1) {
			t.Errorf("%s: %v %+v", name, err, passed)
		}
		if !ok && (err == nil || verdict.Of(err).Whose != verdict.Workflow || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v, want an error of the workflow's that names it", name, err)
		}
	}
	for _, name := range []string{"", "A=B", "A\x00"} {
		if _, err := docker().passEnv(map[string]string{name: "x"}); err == nil {
			t.Errorf("%q is no name", name)
		}
	}
}

func TestImpossibleMounts(t *testing.T) {
	for _, m := range []engine.Mount{
		{Source: "/a"},
		{Source: "/with:colon", Target: "/b", Options: []string{"z"}},
		{Target: "/b", Options: []string{"what"}},
	} {
		_, err := docker().planContainer(engine.ContainerSpec{Image: "i", Mounts: []engine.Mount{m}}, "n")
		if err == nil || verdict.Of(err).Whose != verdict.Workflow {
			t.Errorf("%+v: %v, want an error of the workflow's", m, err)
		}
	}
}
