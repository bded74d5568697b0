package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// modes are where a job's containers can live, with the runner that has them.
func modes() map[string]struct {
	work     kubetest.Work
	settings kube.Settings
} {
	return map[string]struct {
		work     kubetest.Work
		settings kube.Settings
	}{
		"in-pod":                        {kubetest.OwnVolume, kube.Settings{Mode: "in-pod"}},
		"pod, shared volume":            {kubetest.SharedClaim, kube.Settings{Mode: "pod", Volume: "shared"}},
		"pod, shared volume, scheduler": {kubetest.SharedClaim, kube.Settings{Mode: "pod", Volume: "shared", UseScheduler: true}},
		"pod, no shared volume":         {kubetest.NoVolume, kube.Settings{Mode: "pod", Volume: "none"}},
	}
}

// inEveryMode runs a check in runners' pods.
func inEveryMode(t *testing.T, check func(*scene), change ...func(*kubetest.RunnerSpec)) {
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			if kubetest.Inside() {
				check(newScene(t, mode.settings))
				return
			}
			enterAs(t, mode.work, mode.settings, change...)
		})
	}
}

// scene is a runner with its folders, and a driver in its pod.
type scene struct {
	*testing.T
	*kube.Driver
	work   string
	labels map[string]string
	id     string
	log    bytes.Buffer
	copies int
}

func newScene(t *testing.T, settings kube.Settings) *scene {
	id := fmt.Sprintf("%x", time.Now().UnixNano())
	s := &scene{T: t, Driver: open(t, settings), work: kubetest.Self(t).Work, id: id,
		labels: map[string]string{"io.gantry.runner": "test", "io.gantry.job": id, "io.gantry.role": "job"}}
	for _, dir := range []string{"repo/repo", "_temp/_github_home", "_temp/_github_workflow", "_temp/_runner_file_commands"} {
		s.must(os.MkdirAll(filepath.Join(s.work, dir), 0o777))
		s.must(os.Chmod(filepath.Join(s.work, dir), 0o777))
	}
	s.must(os.WriteFile(filepath.Join(s.work, "repo/repo/file"), []byte("of the runner\n"), 0o644))
	t.Cleanup(s.removeAll)
	return s
}

func (s *scene) must(err error) {
	if err != nil {
		s.Helper()
		s.Fatal(err)
	}
}

func (s *scene) removeAll() {
	ctx := context.WithoutCancel(s.Context())
	inv, err := s.List(ctx, map[string]string{"io.gantry.job": s.id})
	if err == nil {
		err = s.Remove(ctx, inv)
	}
	if err != nil {
		s.Error(err)
	}
	if left, err := s.List(ctx, map[string]string{"io.gantry.job": s.id}); err != nil || len(left.Containers)+len(left.Others) > 0 {
		s.Errorf("left: %+v, %v", left, err)
	}
	if s.Failed() {
		s.Log(s.log.String())
	}
}

func (s *scene) image(name string) string { return testbed.Kubernetes(s.T).Registry.Addr + "/" + name }

// agentDir makes the folder of an agent, as the handler does, and gives its name below the work folder.
func (s *scene) agentDir() string {
	s.copies++
	rel := filepath.Join("_temp", agent.FolderName(fmt.Sprintf("%s%d", s.id, s.copies)))
	shared := filepath.Join(s.work, rel, agent.SharedDir)
	s.must(os.MkdirAll(shared, 0o777))
	s.must(os.Chmod(filepath.Join(s.work, rel), 0o700))
	s.must(os.Chmod(shared, 0o777|os.ModeSticky))
	program, err := os.ReadFile(filepath.Join(os.Getenv(envPrograms), "gantry-agent"))
	s.must(err)
	s.must(os.WriteFile(filepath.Join(shared, agent.BinaryName), program, 0o755))
	s.must(os.Mkdir(filepath.Join(s.work, rel, "cover"), 0o755))
	return rel
}

func (s *scene) mount(host, target string) engine.Mount {
	return engine.Mount{Source: filepath.Join(s.work, host), Target: target}
}

// jobContainer is the specification that the handler makes of the runner's.
func (s *scene) jobContainer(image string) (engine.ContainerSpec, string) {
	dir := s.agentDir()
	return engine.ContainerSpec{
		Name: "gantry-" + s.id + "-job", Title: "job container", Labels: s.labels, Image: s.image(image), Pull: engine.PullMissing,
		Entrypoint: agent.MountPoint + "/" + agent.BinaryName, Args: []string{"serve"}, WorkingDir: "/__w/repo/repo",
		Env: map[string]string{"JOB_SECRET": "of-the-job"},
		Mounts: []engine.Mount{
			s.mount("", "/__w"), {Source: "/home/runner/externals", Target: "/__e", ReadOnly: true},
			s.mount("_temp", "/__w/_temp"), s.mount("_temp/_github_home", "/github/home"), s.mount("_temp/_github_workflow", "/github/workflow"),
			s.mount(dir+"/s", agent.MountPoint),
			{Source: filepath.Join(s.work, dir, "cover"), Target: "/__w/_temp/.gantry", ReadOnly: true, Cover: true},
		},
	}, dir
}

// stepContainer is that of a container action.
func (s *scene) stepContainer(image string) (engine.ContainerSpec, string) {
	dir := s.agentDir()
	return engine.ContainerSpec{
		Name: fmt.Sprintf("gantry-%s-step-%d", s.id, s.copies), Title: "step container", Labels: s.labels, Image: s.image(image), Pull: engine.PullMissing,
		Entrypoint: agent.MountPoint + "/" + agent.BinaryName, Args: []string{"serve", "--once"}, WorkingDir: "/github/workspace",
		ReadImage: true,
		Mounts: []engine.Mount{
			s.mount("_temp", "/github/runner_temp"), s.mount("_temp/_github_home", "/github/home"), s.mount("repo/repo", "/github/workspace"),
			s.mount("_temp/_runner_file_commands", "/github/file_commands"), s.mount(dir+"/s", agent.MountPoint),
		},
	}, dir
}

func (s *scene) service(name, image string) engine.ContainerSpec {
	return engine.ContainerSpec{
		Name: "gantry-" + s.id + "-" + name, Title: "service " + name, Labels: s.labels, Image: s.image(image), Pull: engine.PullMissing,
		Aliases: []string{name}, Env: map[string]string{"SERVICE_SECRET": "of-the-service"}, Ports: []string{"6379:6379"},
	}
}

func (s *scene) start(container *engine.ContainerSpec, services ...engine.ContainerSpec) engine.Job {
	s.Helper()
	job, err := s.StartJob(s.Context(), engine.JobSpec{
		Network: engine.NetworkSpec{Name: "gantry-" + s.id, Create: true}, Container: container, Services: services, Labels: s.labels,
		Timeouts: engine.Timeouts{Pull: time.Minute, Start: time.Minute, Health: time.Minute},
	}, &s.log)
	if err != nil {
		s.Fatalf("%v\n%s", err, s.log.String())
	}
	return job
}

// client reaches an agent and claims it.
func (s *scene) client(dir string, address *agent.Address, env map[string]string) (*agent.Client, agent.Hello) {
	s.Helper()
	c := &agent.Client{Dial: agent.SocketDialer(s.work, dir), Token: "token", GiveUp: 5 * time.Second, Env: env}
	if address != nil {
		dial, err := agent.TLSDialer(*address)
		s.must(err)
		c.Dial = dial
	}
	ctx, stop := context.WithTimeout(s.Context(), 20*time.Second)
	defer stop()
	hello, err := c.Claim(ctx)
	if err != nil {
		s.Fatalf("claiming the agent at %+v: %v", address, err)
	}
	return c, hello
}

// run runs a script under an agent and gives what it prints.
func (s *scene) run(c *agent.Client, script string) string {
	s.Helper()
	var said bytes.Buffer
	s.copies++
	step := &agent.Step{ID: fmt.Sprint("step", s.copies), Argv: []string{"sh", "-c", script}, OrphanGrace: time.Second, CancelGrace: time.Second}
	exit, err := c.Run(s.Context(), step, &said, nil)
	if err != nil || exit.Code != 0 {
		s.Errorf("%s: %+v %v", script, exit, err)
	}
	return said.String()
}

// A job container sees what the runner mounts, knows its services by their names, and the pod shows no secret.
func TestAJobContainerIsAsOnDocker(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(s *scene) {
		spec, dir := s.jobContainer(testbed.Busybox)
		job := s.start(&spec, s.service("redis", testbed.Redis))
		c, hello := s.client(dir, job.Container.Agent, job.Container.Env)
		if len(hello.Undone) > 0 || hello.UID != 0 {
			s.Errorf("the agent says %+v", hello)
		}
		enter := ""
		if job.Apart {
			enter = "mkdir -p /__w/repo/repo; cd /__w/repo/repo; " // whoever fills the work folder makes it
		}
		if got := s.run(c, enter+`echo $JOB_SECRET; pwd; printf 'PING\r\n' | nc redis 6379; touch /github/home/x /__w/_temp/y /__w/repo/repo/made && echo written`); got != "of-the-job\n/__w/repo/repo\n+PONG\r\nwritten\n" {
			s.Errorf("a step prints %q", got)
		}
		if !job.Apart {
			if got := s.run(c, "cat file"); got != "of the runner\n" {
				s.Errorf("the workspace has %q", got)
			}
			if _, err := os.Stat(filepath.Join(s.work, "_temp/_github_home/x")); err != nil {
				s.Error(err)
			}
		}
		if got := s.run(c, "echo $GANTRY_LABELS; ls /.gantry | grep -c agent"); got != "\n1\n" {
			s.Errorf("the container has %q", got)
		}
		if ports := job.Services[0].Ports; ports["6379"] != "6379" {
			s.Errorf("ports %v", ports)
		}
		s.checkNoSecrets(job.Network)
	})
}

// checkNoSecrets looks at the pod as everybody can who may read pods.
func (s *scene) checkNoSecrets(pod string) {
	s.Helper()
	self := kubetest.Self(s.T)
	there := &corev1.Pod{}
	there.Namespace, there.Name = self.Namespace, pod
	s.must(kubetest.Open(s.T).Get(s.Context(), there))
	text, err := json.Marshal(there)
	s.must(err)
	for _, secret := range []string{"of-the-job", "of-the-service", "BEGIN PRIVATE"} {
		if bytes.Contains(text, []byte(secret)) {
			s.Errorf("the pod shows %q", secret)
		}
	}
	if slices.ContainsFunc(there.Spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "kube-api-access") }) && pod != self.Pod {
		s.Error("the pod has a token of its service account")
	}
}

// A container step sees the job's workspace and services, whatever the image.
func TestAContainerStepSeesTheJob(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(s *scene) {
		spec, jobDir := s.jobContainer(testbed.Busybox)
		job := s.start(&spec, s.service("redis", testbed.Redis))
		c, _ := s.client(jobDir, job.Container.Agent, job.Container.Env)
		s.run(c, "mkdir -p /__w/repo/repo; echo of the job >/__w/repo/repo/job; echo home >/github/home/h; chmod a+r /__w/repo/repo/job /github/home/h; mkdir -p /__w/_temp/_runner_file_commands")
		for _, image := range []string{testbed.Entry, testbed.NonRoot} {
			step, dir := s.stepContainer(image)
			began := time.Now()
			sc, err := s.StartStep(s.Context(), step, job.Network, &s.log)
			s.must(err)
			sc2, hello := s.client(dir, sc.Agent, sc.Env)
			if len(hello.Undone) > 0 {
				s.Errorf("%s: not made: %+v", image, hello.Undone)
			}
			if image == testbed.Entry && !slices.Equal(sc.Entrypoint, []string{"/bin/echo", "entry"}) {
				s.Errorf("the image's entry point is %q", sc.Entrypoint)
			}
			if got := s.run(sc2, `cat /github/workspace/job /github/home/h; printf 'PING\r\n' | nc redis 6379; cd /github/workspace && pwd; test -d /github/runner_temp -a -d /github/file_commands && echo all`); got != "of the job\nhome\n+PONG\r\n/github/workspace\nall\n" {
				s.Errorf("%s: the step prints %q", image, got)
			}
			<-sc.Gone
			if sc.Err() != nil {
				s.Error(sc.Err())
			}
			s.Logf("%s: %s", image, time.Since(began))
		}
		if got := s.run(c, "echo still"); got != "still\n" {
			s.Errorf("the job's agent prints %q", got)
		}
	})
}

// A step of a job without a container has a place too.
func TestAContainerStepWithoutAJob(t *testing.T) {
	t.Parallel()
	inEveryMode(t, func(s *scene) {
		step, dir := s.stepContainer(testbed.Busybox)
		sc, err := s.StartStep(s.Context(), step, "", &s.log)
		s.must(err)
		c, hello := s.client(dir, sc.Agent, sc.Env)
		if got := s.run(c, "cd /github/workspace; pwd; test -w /github/home && echo yes"); got != "/github/workspace\nyes\n" || len(hello.Undone) > 0 {
			s.Errorf("it prints %q; %+v", got, hello)
		}
		<-sc.Gone
		if sc.Err() != nil {
			s.Error(sc.Err())
		}
	})
}

// An agent is reached through the API server where its address is not.
func TestAnAgentBehindThePipe(t *testing.T) {
	mode := modes()["pod, no shared volume"]
	if !kubetest.Inside() {
		enterAs(t, mode.work, mode.settings)
		return
	}
	s := newScene(t, mode.settings)
	spec, _ := s.jobContainer(testbed.Busybox)
	job := s.start(&spec)
	pipe := func(id string) agent.Dialer {
		return func(ctx context.Context) (net.Conn, error) {
			streams, err := s.Pipe(ctx, id, agent.MountPoint+"/"+agent.BinaryName, "pipe")
			if err != nil {
				return nil, err
			}
			return agent.PipeConn(streams), nil
		}
	}
	c := &agent.Client{Dial: pipe(job.Container.ID), Token: "t", GiveUp: 5 * time.Second, Heartbeat: time.Second}
	_, err := c.Claim(t.Context())
	s.must(err)
	if got := s.run(c, "echo job"); got != "job\n" {
		t.Errorf("%q", got)
	}
	step, _ := s.stepContainer(testbed.Busybox)
	sc, err := s.StartStep(t.Context(), step, job.Network, &s.log)
	s.must(err)
	c2 := &agent.Client{Dial: pipe(sc.ID), Token: "t2", GiveUp: 5 * time.Second, Heartbeat: time.Second}
	_, err = c2.Claim(t.Context())
	s.must(err)
	if got := s.run(c2, "echo step"); got != "step\n" {
		t.Errorf("%q", got)
	}
	<-sc.Gone
}
