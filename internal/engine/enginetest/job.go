package enginetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func checkInfo(v *env) {
	info, err := v.Info(v.Context())
	if err != nil {
		v.Fatal(err)
	}
	told := map[string]string{"name": info.Name, "client version": info.ClientVersion, "server version": info.ServerVersion}
	if v.has(Program) {
		maps.Copy(told, map[string]string{"path": info.Path, "storage driver": info.StorageDriver, "storage root": info.StorageRoot})
	}
	for what, value := range told {
		if value == "" {
			v.Errorf("no %s: %+v", what, info)
		}
	}
	if v.has(Program) && !slices.Contains([]string{"1", "2"}, info.CgroupVersion) {
		v.Errorf("cgroup version %q", info.CgroupVersion)
	}
	local, err := v.Local(v.Context())
	if want := (engine.Info{Name: info.Name, Path: info.Path, Socket: info.Socket, FoldersByPath: info.FoldersByPath}); err != nil || local != want {
		v.Errorf("known without asking: %+v, %v; want %+v", local, err, want)
	}
}

func checkBefore(v *env) {
	main := v.shell("job", "echo job")
	main.Title = "job container"
	spec := v.job(&main)
	refused := errors.New("refused")
	spec.Before = func(ctx context.Context) error {
		inv, err := v.List(ctx, v.labels)
		if err != nil || len(inv.Containers) > 0 {
			v.Errorf("there is %+v already (%v)", inv.Containers, err)
		}
		return refused
	}
	if _, err := v.StartJob(v.Context(), spec, &v.log); !errors.Is(err, refused) {
		v.Errorf("started: %v", err)
	}
	if inv, err := v.List(v.Context(), v.labels); err != nil || len(inv.Containers) > 0 {
		v.Errorf("containers were made all the same: %+v (%v)", inv.Containers, err)
	}
}

func checkJob(v *env) {
	main := v.shell("job", "echo job")
	main.Title = "job container"
	web := v.shell("web", "echo web")
	web.Ports = []string{"80", "127.0.0.1::53/udp"}
	before := time.Now()
	spec := v.job(&main, web, v.shell("db", "echo db"))
	job := v.start(spec)

	inv, err := v.List(v.Context(), v.labels)
	if err != nil {
		v.Fatal(err)
	}
	running := map[string]string{}
	for _, c := range inv.Containers {
		if !c.Running || c.Labels["io.gantry.test"] != v.id || c.Image == "" {
			v.Errorf("listed as %+v", c)
		}
		if c.Created.Before(before.Add(-5*time.Second)) || c.Created.After(time.Now().Add(5*time.Second)) {
			v.Errorf("%s was created at %s, and now it is %s", c.Name, c.Created, time.Now())
		}
		running[c.Name] = c.ID
	}
	want := map[string]string{main.Name: job.Container.ID, spec.Services[0].Name: job.Services[0].ID, spec.Services[1].Name: job.Services[1].ID}
	if diff := cmp.Diff(want, running); diff != "" {
		v.Errorf("listed containers (-want +got):\n%s", diff)
	}
	if v.has(Networks) && (len(inv.Networks) != 1 || inv.Networks[0].Name != spec.Network.Name || inv.Networks[0].Created.IsZero()) {
		v.Errorf("listed networks %+v", inv.Networks)
	}
	checkStarted(v, job, spec)
}

func checkStarted(v *env, job engine.Job, spec engine.JobSpec) {
	for _, s := range append([]engine.Started{*job.Container}, job.Services...) {
		if s.Network != job.Network || v.has(Networks) && s.Network != spec.Network.Name || s.Network == "" || s.Name == "" || s.Ports == nil {
			v.Errorf("started as %+v", s)
		}
		status, err := v.Inspect(v.Context(), s.ID)
		if err != nil || !status.Running || status.ID != s.ID || status.Health != "" || status.Labels["io.gantry.test"] != v.id {
			v.Errorf("its status is %+v (%v)", status, err)
		}
	}
	ports := job.Services[0].Ports
	if got := slices.Sorted(maps.Keys(ports)); !slices.Equal(got, []string{"53", "80"}) || ports["53"] == "" || ports["80"] == "" {
		v.Errorf("ports of the first service: %v", ports)
	}
	titles := map[string]bool{}
	for _, p := range job.Phases {
		titles[p.Title] = true
		if p.Start.IsZero() || p.Took < 0 {
			v.Errorf("phase %+v", p)
		}
	}
	for _, title := range []string{"network", "start job container", "start service web", "start service db"} {
		if !titles[title] && (title != "network" || v.has(Networks)) {
			v.Errorf("no phase %q among %v", title, job.Phases)
		}
	}
}

func checkServicesOnly(v *env) {
	job := v.start(v.job(nil, v.shell("db", "echo db")))
	if job.Container != nil || len(job.Services) != 1 {
		v.Errorf("started %+v", job)
	}
}

func checkExistingNetwork(v *env) {
	spec := v.job(nil, v.shell("db", "echo db"))
	spec.Network = engine.NetworkSpec{Name: "host"}
	job := v.start(spec)
	inv, err := v.List(v.Context(), v.labels)
	if err != nil || len(inv.Networks) != 0 {
		v.Errorf("networks %v (%v), want none made", inv.Networks, err)
	}
	if job.Services[0].Network != "host" {
		v.Errorf("on network %q", job.Services[0].Network)
	}
}

func checkMissingNetwork(v *env) {
	spec := v.job(nil, v.shell("db", "echo db"))
	spec.Network = engine.NetworkSpec{Name: "gantry-no-such-network"}
	_, err := v.StartJob(v.Context(), spec, &v.log)
	if err == nil || verdict.Of(err).Whose != verdict.Configuration || !strings.Contains(err.Error(), spec.Network.Name) {
		v.Errorf("error is %v, want one of the configuration's that names the network", err)
	}
}

func checkEnvironment(v *env) {
	env := map[string]string{
		"PLAIN": "value", "EMPTY": "", "QUOTED": `it's "quoted" $HOME \n`, "LINES": "one\ntwo", "SPACES": "  a  ",
		"PATH": "/bin:/custom", "HOME": "/github/home", "DOCKER_HOST": "unix:///nowhere", "CONTAINER_HOST": "unix:///nowhere",
		"HTTPS_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "LD_PRELOAD": "/nowhere.so", "XDG_RUNTIME_DIR": "/nowhere",
		"DOCKER_CONFIG": "/nowhere", "TMPDIR": "/nowhere", "REGISTRY_AUTH_FILE": "/nowhere", "UMLAUT": "ü",
	}
	names := slices.Sorted(maps.Keys(env))
	script, want := "", ""
	for _, name := range names {
		script += `echo "` + name + `=[$` + name + `]"; `
		want += name + "=[" + env[name] + "]\n"
	}
	spec := v.job(nil, v.shell("env", script+"echo end"))
	spec.Services[0].Env = env
	job := v.start(spec)
	got := v.printed(job.Services[0].ID, "end")
	if diff := cmp.Diff(want+"end\n", got); diff != "" {
		v.Errorf("printed (-want +got):\n%s", diff)
	}
}

func checkArguments(v *env) {
	spec := v.job(nil, v.container("args", v.fx.Shell, "-c", `echo "[$1]" "[$2]" "[$3]"; echo end; sleep 600`, "x", "a b", "", `"c'`))
	spec.Services[0].Entrypoint = "/bin/sh"
	job := v.start(spec)
	if got := v.printed(job.Services[0].ID, "end"); got != "[a b] [] [\"c']\nend\n" {
		v.Errorf("printed %q", got)
	}
}

func checkTwoJobs(v *env) {
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		spec := v.job(nil, v.shell(name, "echo"), v.shell(name+"-other", "echo"))
		spec.Network.Name += "-" + name
		wg.Go(func() {
			if _, err := v.StartJob(v.Context(), spec, new(strings.Builder)); err != nil {
				v.Errorf("job %s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func checkHealthy(v *env) {
	job := v.start(v.job(nil, v.container("redis", v.fx.Healthy)))
	if !slices.ContainsFunc(job.Phases, func(p engine.Phase) bool { return p.Title == "health service redis" }) {
		v.Errorf("no phase for health: %+v", job.Phases)
	}
	if !strings.Contains(v.log.String(), "service redis is healthy") {
		v.Errorf("the log does not say that it is healthy: %s", v.log.String())
	}
	status, err := v.Inspect(v.Context(), job.Services[0].ID)
	if err != nil || status.Health != "healthy" {
		v.Errorf("status is %+v (%v)", status, err)
	}
	inv, err := v.List(v.Context(), v.labels)
	if err != nil || len(inv.Containers) != 1 || inv.Containers[0].Health != "healthy" {
		v.Errorf("listed as %+v (%v)", inv.Containers, err)
	}
}

func checkSick(v *env) {
	found := v.fail(v.job(nil, v.container("db", v.fx.Sick), v.shell("other", "echo")), engine.ErrUnhealthy, verdict.Workflow)
	if !strings.Contains(found.Error(), "service db") {
		v.Errorf("%v does not name the service", found)
	}
}

func checkHealthTimeout(v *env) {
	slow := v.shell("slow", "echo patience")
	slow.Options = []string{"--health-cmd", "false", "--health-interval", "1s", "--health-retries", "500"}
	spec := v.job(nil, slow)
	spec.Timeouts.Health = 1500 * time.Millisecond
	start := time.Now()
	found := v.fail(spec, engine.ErrUnhealthy, verdict.Workflow)
	if took := time.Since(start); took > 15*time.Second {
		v.Errorf("it took %s", took)
	}
	if !strings.Contains(found.Output, "patience") {
		v.Errorf("the log is not shown: %q", found.Output)
	}
}

func checkCrash(v *env) {
	slow := v.shell("slow", "echo")
	slow.Options = []string{"--health-cmd", "false", "--health-interval", "1s", "--health-retries", "500"}
	start := time.Now()
	found := v.fail(v.job(nil, slow, v.container("crash", v.fx.Crash)), engine.ErrUnhealthy, verdict.Workflow)
	if took := time.Since(start); took > 15*time.Second {
		v.Errorf("noticed after %s", took)
	}
	if !strings.Contains(found.Error(), "service crash") || !strings.Contains(found.Error(), "status 3") {
		v.Errorf("%v does not name the service and its status", found)
	}
	if !strings.Contains(found.Output, "starting") {
		v.Errorf("the log is not shown: %q", found.Output)
	}
}

func checkBadFlag(v *env) {
	wrong := v.shell("db", "echo")
	wrong.Options = []string{"--no-such-flag"}
	found := v.fail(v.job(nil, wrong), engine.ErrOptions, verdict.Workflow)
	if !strings.Contains(found.Command, "--no-such-flag") || !strings.Contains(found.Output, "no-such-flag") {
		v.Errorf("the engine's command and words are not shown: %+v", found)
	}
}

func checkBadCommand(v *env) {
	found := v.fail(v.job(nil, v.container("db", v.fx.Shell, "no-such-program")), engine.ErrCommand, verdict.Workflow)
	if !strings.Contains(found.Output, "no-such-program") {
		v.Errorf("the engine's words are not shown: %+v", found)
	}
}

func checkPortTaken(v *env) {
	first := v.shell("first", "echo")
	first.Ports = []string{"80"}
	job := v.start(v.job(nil, first))
	second := v.shell("second", "echo")
	second.Ports = []string{job.Services[0].Ports["80"] + ":80"}
	spec := v.job(nil, second)
	spec.Network.Create = false
	v.fail(spec, engine.ErrPortTaken, verdict.Workflow)
}

func checkCancelledStart(v *env) {
	ctx, cancel := context.WithCancel(v.Context())
	timer := time.AfterFunc(150*time.Millisecond, cancel)
	defer timer.Stop()
	waits := v.shell("waits", "echo")
	waits.Options = []string{"--health-cmd", "false", "--health-interval", "1s", "--health-retries", "500"}
	main := v.shell("job", "echo")
	_, err := v.StartJob(ctx, v.job(&main, waits, v.shell("other", "echo")), &v.log)
	if !errors.Is(err, context.Canceled) {
		v.Fatalf("error is %v, want the context's", err)
	}
	// What is there now is all that there will be.
	v.removeAll()
}
