package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
)

// trial is a real job, played through the hook as the runner plays one, in a runner of its own: the runner that is
// examined may be busy, and the hook removes what it takes for a runner's leftovers.
type trial struct {
	dir     string // "" until it is made
	image   string // "" until it is there; program is gantry-agent in it
	program string
	labels  map[string]string
	runner  *fakerunner.Runner
	// workspace is the job container's.
	workspace string

	prepared, called bool
}

const (
	// trialName is the name of the image that is built.
	trialName = "gantry-doctor"
	trialPort = "7777"
	// trialCall is how long a call may take. Where there are nodes to choose from, trialRoom is how long that may, and
	// trialEnd how long it may take until what was removed is seen to be gone.
	trialCall = 2 * time.Minute
	trialRoom = time.Minute
	trialEnd  = 10 * time.Second
	// trialVolume is where the job container has the runner's volume, in-pod.
	trialVolume = "/gantry-doctor"
	// trialLabel marks the image.
	trialLabel = "io.gantry.doctor"
)

// trialDockerfile needs nothing from a registry.
const trialDockerfile = "FROM scratch\nCOPY probe /probe\n"

func trialBuild(ctx context.Context, e *exam) Finding {
	if e.engine == nil {
		return skipped("the engine has to answer first")
	}
	if e.survey != nil {
		return e.trial.borrow(e)
	}
	if err := e.trial.make(e); err != nil {
		return fail(verdict.Configuration, "see the work folder's checks", "%v", err)
	}
	build := filepath.Join(e.trial.dir, "build")
	began := time.Now()
	err := e.engine.Build(ctx, engine.BuildSpec{
		Tag: e.trial.image, Dockerfile: filepath.Join(build, "Dockerfile"), Context: build,
		Labels: e.trial.labels, Timeout: trialCall,
	}, &strings.Builder{})
	if err != nil {
		e.trial.image = ""
		return failed(err)
	}
	return took(began, "built %s from nothing but the agent", e.trial.image)
}

// borrow takes an image of the cluster's in the place of one that is built.
func (t *trial) borrow(e *exam) Finding {
	switch {
	case e.survey.ChoiceErr != nil || e.survey.AgentImage == "":
		return skipped("there has to be a mode, and an image with gantry-agent, first")
	case e.Runner == nil:
		return skipped("there is no runner, whose work folder the job needs")
	case e.inPod() && e.Runner.Worker() != nil:
		return skipped("a job runs in this pod, which shares a volume with every other one there")
	}
	t.image, t.program = e.survey.AgentImage, e.survey.AgentProgram
	if err := t.layOut(e); err != nil {
		t.image = ""
		return fail(verdict.Configuration, "see the work folder's checks", "%v", err)
	}
	return skipped("the job runs in %s, which has the agent", t.image)
}

// make lays out what the image is made of, and the runner.
func (t *trial) make(e *exam) error {
	id := randomID()
	t.image, t.program, t.labels = "localhost/"+trialName+":"+id, "/probe", map[string]string{trialLabel: id}
	if err := t.layOut(e); err != nil {
		return err
	}
	build := filepath.Join(t.dir, "build")
	if err := os.Mkdir(build, 0o755); err != nil {
		return fmt.Errorf("making a folder for an image: %w", err)
	}
	return errors.Join(copyFile(filepath.Join(e.programDir(), "gantry-agent"), filepath.Join(build, "probe")),
		os.WriteFile(filepath.Join(build, "Dockerfile"), []byte(trialDockerfile), 0o644))
}

// layOut makes the runner.
func (t *trial) layOut(e *exam) (err error) {
	if t.dir, err = os.MkdirTemp(e.work(), ".gantry-doctor-"); err != nil {
		return fmt.Errorf("making a folder for a job: %w", err)
	}
	// The folder's name becomes the runner's, from which its containers' label comes: it must be nobody else's.
	root := filepath.Join(t.dir, "runner-"+randomID())
	t.runner, err = fakerunner.New(root, filepath.Join(e.programDir(), "hook.sh"), t.environ(e, root))
	return err
}

// environ is the environment of the runner's hook, but for what belongs to the runner that is examined, and rules
// that are about other images than this one.
func (t *trial) environ(e *exam, root string) []string {
	env := append(append([]string{}, e.Environ...),
		"GANTRY_RUNNER_DIR="+root, "GANTRY_PULL=missing", "GANTRY_POLICY_REQUIRE_DIGEST=false")
	if len(e.Config.Policy.Images) > 0 {
		name, _, _ := strings.Cut(t.image, "@")
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i]
		}
		env = append(env, "GANTRY_POLICY_IMAGES="+name)
	}
	if e.survey != nil {
		mode, volume := e.survey.Choice.Mode.Settings()
		env = append(env, "GANTRY_KUBERNETES_MODE="+mode, "GANTRY_KUBERNETES_VOLUME="+volume, "GANTRY_TIMEOUTS_SCHEDULE="+trialRoom.String())
	}
	if e.ConfigFile != "" {
		env = append(env, "GANTRY_CONFIG="+e.ConfigFile)
	}
	return env
}

func randomID() string {
	b := make([]byte, 6)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func took(began time.Time, format string, args ...any) Finding {
	return ok("%s in %s", fmt.Sprintf(format, args...), rounded(time.Since(began)))
}

func trialPrepare(ctx context.Context, e *exam) Finding {
	t := &e.trial
	if t.image == "" {
		return skipped("there has to be an image first")
	}
	ctx, cancel := context.WithTimeout(ctx, trialCall)
	defer cancel()
	began := time.Now()
	t.called = true
	result := t.runner.Prepare(ctx, t.jobContainer(e), hook.Container{
		Image: t.image, EntryPoint: t.program, EntryPointArgs: []string{"probe", "listen", trialPort},
	})
	if result.Err != nil {
		return callFailed(result)
	}
	t.prepared = true
	return took(began, "started a job container and a service")
}

// jobContainer is what the runner asks for.
func (t *trial) jobContainer(e *exam) *hook.Container {
	c := t.runner.JobContainer(t.image)
	t.workspace = c.WorkingDirectory
	if e.inPod() {
		t.workspace = trialVolume + strings.TrimPrefix(t.runner.Workspace, e.Runner.Work)
		c.WorkingDirectory = t.workspace
		showVolume(e, c)
	}
	return c
}

// showVolume has a container see the runner's volume in one place: an ephemeral container mounts volumes as a whole, and one
// that is not root cannot make links to a folder in it.
func showVolume(e *exam, c *hook.Container) {
	c.SystemMountVolumes = append(c.SystemMountVolumes, hook.MountVolume{SourceVolumePath: e.Runner.Work, TargetVolumePath: trialVolume})
}

// inPod tells that the job runs in the runner's own pod.
func (e *exam) inPod() bool {
	return e.survey != nil && e.survey.ChoiceErr == nil && e.survey.Choice.Mode == kube.InPod
}

// callFailed is the finding of a call that went wrong: whose problem it is stands in what the hook printed.
func callFailed(result *fakerunner.Result) Finding {
	whose, next := verdict.Bug, ""
	for line := range strings.Lines(result.Output()) {
		rest, isVerdict := strings.CutPrefix(line, "gantry: ")
		party, _, _ := strings.Cut(rest, ":")
		switch hint, isHint := strings.CutPrefix(line, "hint: "); {
		case isHint:
			next = strings.TrimSpace(hint)
		case isVerdict && (party == string(verdict.Workflow) || party == string(verdict.Configuration) || party == string(verdict.Infrastructure)):
			whose = verdict.Whose(party)
		}
	}
	switch {
	case next != "":
	case whose == verdict.Bug:
		next = "please report this, with what stands above"
	default:
		next = "try the command that failed by hand, as the runner's user"
	}
	return fail(whose, next, "%v\n%s", result.Err, strings.TrimSpace(result.Output()))
}

// step does a call of a prepared job and compares what it prints.
func (t *trial) step(ctx context.Context, command hook.Command, args any, want func(stdout string) bool, done string) Finding {
	if !t.prepared {
		return skipped("prepare_job has to succeed first")
	}
	ctx, cancel := context.WithTimeout(ctx, trialCall)
	defer cancel()
	began := time.Now()
	result := t.runner.Call(ctx, command, args)
	switch {
	case result.Err != nil:
		return callFailed(result)
	case !want(result.Stdout):
		return fail(verdict.Bug, "please report this", "the step printed %q", result.Stdout)
	}
	return took(began, "%s", done)
}

func (t *trial) script(args ...string) *hook.ScriptStepArgs {
	return &hook.ScriptStepArgs{EntryPoint: t.program, EntryPointArgs: args, WorkingDirectory: t.workspace}
}

func printed(stdout string) bool { return strings.TrimSpace(stdout) != "" }

func trialScript(ctx context.Context, e *exam) Finding {
	return e.trial.step(ctx, hook.RunScriptStep, e.trial.script("version"), printed, "ran a step in the job container")
}

func trialService(ctx context.Context, e *exam) Finding {
	reach := func(name string, limit ...string) Finding {
		args := append([]string{"probe", "reach", name + ":" + trialPort}, limit...)
		return e.trial.step(ctx, hook.RunScriptStep, e.trial.script(args...), printed, "reached the service as "+name)
	}
	name := handler.ServiceName(e.trial.image)
	if e.inPod() {
		local := reach("localhost")
		if local.Status != OK || reach(name, "2s").Status != OK {
			local.Detail += "; it has no other name in this job, because no container of it is root, who could write /etc/hosts"
			return local
		}
	}
	f := reach(name)
	if f.Status == Fail && e.survey == nil {
		f.Whose, f.NextStep = verdict.Infrastructure, "check the engine's networks and name service (podman: netavark and aardvark-dns), and the machine's firewall"
	}
	return f
}

func trialContainer(ctx context.Context, e *exam) Finding {
	t := &e.trial
	if !t.prepared {
		return skipped("prepare_job has to succeed first")
	}
	args := t.runner.ContainerStep(t.image, "version")
	args.EntryPoint = t.program
	if e.inPod() {
		showVolume(e, args)
	}
	return t.step(ctx, hook.RunContainerStep, args, printed, "ran a container action")
}

func trialCleanup(ctx context.Context, e *exam) Finding {
	if !e.trial.called {
		return skipped("there was no job")
	}
	return e.trial.cleanup(ctx, e)
}

func (t *trial) cleanup(ctx context.Context, e *exam) Finding {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialCall)
	defer cancel()
	t.called = false
	began := time.Now()
	result := t.runner.Cleanup(ctx)
	if result.Err != nil {
		return callFailed(result)
	}
	f := took(began, "removed the job")
	left, err := t.left(ctx, e)
	switch {
	case err != nil:
		return failed(err)
	case left.Len() > 0:
		return fail(verdict.Bug, "gantry gc", "%d containers and %d networks are left", len(left.Containers), len(left.Networks))
	}
	if err := os.RemoveAll(t.dir); err != nil {
		return fail(verdict.Bug, "remove it by hand", "the job's folder cannot be removed: %v", err)
	}
	return f
}

// left is what there is of the job. The API server of a cluster learns of the end of containers a moment later.
func (t *trial) left(ctx context.Context, e *exam) (engine.Inventory, error) {
	label := map[string]string{handler.LabelRunner: handler.RunnerID([]string{t.runner.Root}, "")}
	for began := time.Now(); ; {
		left, err := e.engine.List(ctx, label)
		if err != nil || left.Len() == 0 || e.survey == nil || time.Since(began) > trialEnd || !wait.For(ctx, trialEnd/50) {
			return left, err
		}
	}
}

// end removes what the trial has made, also when it was interrupted. What cannot be removed has been told as a
// finding, or is as temporary as the folder it lies in.
func (t *trial) end(ctx context.Context, e *exam) {
	if t.dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialCall)
	defer cancel()
	if t.called {
		t.cleanup(ctx, e)
	}
	if images, err := e.engine.Images(ctx, t.labels); err == nil {
		for _, image := range images {
			_ = e.engine.RemoveImages(ctx, []string{image.ID})
		}
	}
	_ = os.RemoveAll(t.dir)
}
