package ocicli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/enginetest"
	"github.com/gantry-ci/gantry/internal/engine/ocicli"
	"github.com/gantry-ci/gantry/internal/testbed"
)

func TestDocker(t *testing.T) { runSuite(t, testbed.Docker(t)) }

func TestPodman(t *testing.T) { runSuite(t, testbed.Podman(t)) }

func TestPodmanRootless(t *testing.T) { runSuite(t, testbed.PodmanRootless(t)) }

// runSuite runs the contract, and what only real engines can show, as the engine's user.
func runSuite(t *testing.T, e *testbed.Engine) {
	if testbed.RunAs(t, e) {
		return
	}
	r := testbed.Registry(t)
	fx := enginetest.Fixture{
		Shell: testbed.Busybox, Entry: testbed.Entry, Healthy: testbed.Redis, Sick: testbed.Sick, Crash: testbed.Crash,
		Registry: enginetest.Registry{Addr: r.Addr, User: r.User, Password: r.Password, Image: r.Image},
	}
	t.Run("contract", func(t *testing.T) {
		enginetest.Run(t, func(t *testing.T) engine.Engine { return open(t, e) }, fx)
	})
	for name, check := range map[string]func(*real){
		"services are reached by their names": checkNames,
		"mounts":                              checkMounts,
		"anonymous volumes go with their containers":  checkAnonymousVolumes,
		"a network of the workflow's own":             checkOwnNetwork,
		"aliases where there are no names":            checkNoNames,
		"a foreign container on the job's network":    checkForeignContainer,
		"the workflow cannot replace the entry point": checkEntrypointIsOurs,
		"an image without a shell":                    checkNoShell,
	} {
		t.Run(name, func(t *testing.T) { check(newReal(t, e)) })
	}
}

func open(t *testing.T, e *testbed.Engine) *ocicli.Driver {
	t.Helper()
	temp := t.TempDir()
	d, err := ocicli.New(ocicli.Options{Name: e.Name, Path: e.Path, Env: e.Env, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("left in the folder for secrets: %v (%v)", left, err)
		}
	})
	return d
}

// real is one check of a real engine.
type real struct {
	*testing.T
	*ocicli.Driver
	bed    *testbed.Engine
	labels map[string]string
	prefix string
}

func newReal(t *testing.T, e *testbed.Engine) *real {
	name := "gantry-real-" + strings.ToLower(filepath.Base(t.TempDir())) + "-" + time.Now().Format("150405.000000")
	r := &real{T: t, Driver: open(t, e), bed: e, prefix: name, labels: map[string]string{"io.gantry.test": name}}
	t.Cleanup(r.removeAll)
	return r
}

func (r *real) removeAll() {
	ctx := context.WithoutCancel(r.Context())
	inv, err := r.List(ctx, r.labels)
	if err == nil {
		err = r.Remove(ctx, inv)
	}
	if err != nil {
		r.Error(err)
	}
}

func (r *real) container(name string, args ...string) engine.ContainerSpec {
	return engine.ContainerSpec{
		Name: r.prefix + "-" + name, Title: name, Labels: r.labels, Image: testbed.Busybox, Pull: engine.PullNever,
		Args: args, Aliases: []string{name},
	}
}

func (r *real) start(services ...engine.ContainerSpec) engine.Job {
	r.Helper()
	return r.startOn(engine.NetworkSpec{Name: r.prefix, Create: true}, services...)
}

func (r *real) startOn(network engine.NetworkSpec, services ...engine.ContainerSpec) engine.Job {
	r.Helper()
	job, err := r.StartJob(r.Context(), engine.JobSpec{Network: network, Services: services, Labels: r.labels}, r.Output())
	if err != nil {
		r.Fatal(err)
	}
	return job
}

// says waits until a container's log is this.
func (r *real) says(id, want string) {
	r.Helper()
	var log bytes.Buffer
	for deadline := time.Now().Add(20 * time.Second); log.String() != want; {
		if time.Now().After(deadline) {
			r.Fatalf("the log (-want +got):\n%s", cmp.Diff(want, log.String()))
		}
		time.Sleep(20 * time.Millisecond)
		log.Reset()
		if err := r.Logs(r.Context(), id, 100, &log); err != nil {
			r.Fatal(err)
		}
	}
}

func checkNames(r *real) {
	second := r.container("second", "sh", "-c", "while true; do echo here | nc -l -p 80; done")
	second.Aliases = []string{"redis", "db"}
	job := r.start(second, r.container("asks", "sh", "-c",
		"for n in redis db; do until nc -w 1 $n 80 </dev/null 2>/dev/null | grep -q here; do sleep 0.1; done; echo $n; done; sleep 600"))
	r.says(job.Services[1].ID, "redis\ndb\n")
}

func checkMounts(r *real) {
	base := r.TempDir()
	c := r.container("mounts", "sh", "-c", "")
	for _, name := range []string{"plain", "two words", "it's", `"quoted"`, "a,comma", "a:colon", "ünïcode"} {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			r.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "name"), []byte(name+"\n"), 0o644); err != nil {
			r.Fatal(err)
		}
		c.Mounts = append(c.Mounts,
			engine.Mount{Source: dir, Target: "/m/" + name},
			engine.Mount{Source: dir, Target: "/ro/" + name, ReadOnly: true})
	}
	c.Mounts = append(c.Mounts,
		engine.Mount{Source: r.prefix + "-volume", Target: "/volume"},
		engine.Mount{Source: base, Target: "/labelled", Options: []string{"z"}},
		engine.Mount{Target: "/anonymous"})
	c.Args[2] = `cat /m/*/name; for d in /m/*; do touch "$d/new" || exit; done; echo written
for d in /ro/*; do touch "$d/refused" 2>/dev/null && exit; done; echo refused
touch /volume/x /anonymous/x && echo volumes; ls /labelled | wc -l; sleep 600`
	job := r.start(c)
	r.says(job.Services[0].ID, "\"quoted\"\na,comma\na:colon\nit's\nplain\ntwo words\nünïcode\nwritten\nrefused\nvolumes\n7\n")
	if made, err := filepath.Glob(filepath.Join(base, "*", "new")); err != nil || len(made) != 7 {
		r.Errorf("on the host there are %q (%v)", made, err)
	}
	if made, err := filepath.Glob(filepath.Join(base, "*", "refused")); err != nil || len(made) != 0 {
		r.Errorf("on the host there are %q (%v)", made, err)
	}
	r.removeAll()
	r.command("volume", "rm", r.prefix+"-volume")
}

// command runs the engine's program by hand.
func (r *real) command(args ...string) string {
	r.Helper()
	out, err := r.bed.Command(context.WithoutCancel(r.Context()), args...).Output()
	if err != nil {
		r.Fatalf("%q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func checkAnonymousVolumes(r *real) {
	before := r.command("volume", "ls", "-q")
	c := r.container("volumes", "sleep", "600")
	c.Mounts = []engine.Mount{{Target: "/anonymous"}}
	entry := r.container("entry", "-c", "sleep 600")
	entry.Image, entry.Entrypoint = testbed.Entry, "/bin/sh"
	r.start(c, entry)
	if r.command("volume", "ls", "-q") == before {
		r.Fatal("no volume was made; the check means nothing")
	}
	step := entry
	step.Name, step.Args = r.prefix+"-step", []string{"-c", "exit 0"}
	s, err := r.StartStep(r.Context(), step, r.prefix, r.Output())
	if err != nil {
		r.Fatal(err)
	}
	<-s.Gone
	ctx, cancel := context.WithCancel(r.Context())
	step.Args = []string{"-c", "sleep 600"}
	if s, err = r.StartStep(ctx, step, r.prefix, r.Output()); err != nil {
		r.Fatal(err)
	}
	r.appears(step.Name)
	cancel()
	<-s.Gone
	r.removeAll()
	if after := r.command("volume", "ls", "-q"); after != before {
		r.Errorf("volumes before:\n%s\nafter:\n%s", before, after)
	}
}

// appears waits for a container.
func (r *real) appears(name string) {
	r.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if s, err := r.Inspect(r.Context(), name); err == nil && s.Running {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s does not appear", name)
		}
	}
}

func checkOwnNetwork(r *real) {
	c := r.container("offline", "sleep", "600")
	c.Options = []string{"--network", "none"}
	job := r.start(c)
	if got := job.Services[0].Network; got != "none" {
		r.Errorf("it is on %q, want none", got)
	}
}

func checkNoNames(r *real) {
	for _, network := range []string{"host", "none", "bridge"} {
		c := r.container("on-"+network, "sleep", "600")
		r.startOn(engine.NetworkSpec{Name: network}, c)
	}
}

func checkForeignContainer(r *real) {
	r.start(r.container("ours", "sleep", "600"))
	foreign := r.prefix + "-foreign"
	r.command("run", "-d", "--stop-timeout", "0", "--name", foreign, "--network", r.prefix, testbed.Busybox, "sleep", "600")
	defer r.command("rm", "-f", foreign)
	r.removeAll()
	inv, err := r.List(r.Context(), r.labels)
	if err != nil || len(inv.Networks)+len(inv.Containers) > 0 {
		r.Errorf("left %+v (%v)", inv, err)
	}
	if got := r.command("inspect", "--format", "{{.State.Running}}", foreign); got != "true" {
		r.Errorf("the foreign container runs: %s; it is not ours to end", got)
	}
}

func checkEntrypointIsOurs(r *real) {
	c := r.container("job", "-c", "echo ours; sleep 600")
	c.Entrypoint, c.Env = "/bin/sh", map[string]string{"A": "ours"}
	c.Options = []string{"--entrypoint", "/bin/false", "--env", "A=theirs", "--workdir=/tmp"}
	c.Args[1] = "echo ours; pwd; sleep 600"
	c.WorkingDir = "/etc"
	r.says(r.start(c).Services[0].ID, "ours\n/tmp\n")
}

func checkNoShell(r *real) {
	c := r.container("step", "a b", "c")
	c.Image, c.Env = testbed.Scratch, map[string]string{"EXIT": "7"}
	s, err := r.StartStep(r.Context(), c, "", r.Output())
	if err != nil {
		r.Fatal(err)
	}
	<-s.Gone
	if s.Err() != nil || len(s.Entrypoint) != 1 || s.Entrypoint[0] != "/hello" {
		r.Errorf("%+v %v", s, s.Err())
	}
}

func TestDetect(t *testing.T) {
	e := testbed.Docker(t)
	ctx := t.Context()
	d, err := ocicli.Detect(ctx, ocicli.Options{Env: e.Env, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := d.Info(ctx); err != nil || info.Name != "docker" || info.Socket == "" {
		t.Errorf("found %+v (%v), want docker with its socket", info, err)
	}
	p := testbed.Podman(t)
	d, err = ocicli.Detect(ctx, ocicli.Options{Env: append(p.Env[:len(p.Env):len(p.Env)], "DOCKER_HOST=unix:///nowhere"), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := d.Info(ctx); err != nil || info.Name != "podman" {
		t.Errorf("found %+v (%v), want podman because docker does not answer", info, err)
	}
	broken := []string{"HOME=/nowhere", "DOCKER_HOST=unix:///nowhere", "CONTAINERS_CONF=/dev/null/x", "CONTAINERS_STORAGE_CONF=/dev/null/x"}
	if _, err = ocicli.Detect(ctx, ocicli.Options{Env: broken}); err == nil ||
		!strings.Contains(err.Error(), "docker: ") || !strings.Contains(err.Error(), "podman: ") {
		t.Errorf("%v, want what is wrong with both", err)
	}
}
