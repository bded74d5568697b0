// Package enginetest is the contract of engine.Engine as a test suite. Every driver passes it with a real engine,
// and so does the fake.
package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Fixture is what the engine under test has to offer. Images are in its store.
type Fixture struct {
	Shell   string // an image with sh, and no entry point
	Entry   string // ENTRYPOINT ["/bin/echo","entry"] CMD ["cmd"]
	Healthy string // has a health check that soon succeeds
	Sick    string // has a health check that always fails
	Crash   string // prints "starting" and exits with status 3 at once
	// Registry asks for a password.
	Registry Registry
	// Lacks is what the engine does not have by its nature, each with the reason. What it has instead is checked in its
	// place where there is something.
	Lacks map[Ability]string
	// Refusal is how long it may take until it is told that a registry refuses an image; 0: 5 seconds.
	Refusal time.Duration
}

// Ability is something that not every engine has.
type Ability string

// The abilities.
const (
	Program   Ability = "a program and a store on this machine"   // Info tells where
	Networks  Ability = "networks"                                // of their own, to be chosen and listed
	Exec      Ability = "programs of any user in containers"      // beside those that run there
	HostPorts Ability = "ports of the host"                       // on which containers' ports are published
	Builds    Ability = "builds"                                  // of images, here
	Store     Ability = "a store of images that it can look into" // so that it pulls, or does not, by itself
)

// Registry is a private registry.
type Registry struct {
	Addr, User, Password string
	Image                string // an image that is there
}

// Run checks that the engine that open gives keeps every promise of engine.Engine. What it makes is removed.
func Run(t *testing.T, open func(t *testing.T) engine.Engine, fx Fixture) {
	for _, c := range []struct {
		name  string
		check func(*env)
		needs Ability
	}{
		{"info", checkInfo, ""},
		{"a job's containers run and are found by their labels", checkJob, ""},
		{"containers wait for what has to be done before", checkBefore, ""},
		{"a job may have services only", checkServicesOnly, ""},
		{"a job may use a network that is there", checkExistingNetwork, Networks},
		{"a network that is not there is the configuration's mistake", checkMissingNetwork, ""},
		{"the environment arrives as it is", checkEnvironment, ""},
		{"the entry point and the arguments arrive as they are", checkArguments, ""},
		{"two jobs start at once", checkTwoJobs, ""},
		{"a healthy service is awaited", checkHealthy, ""},
		{"an unhealthy service fails the job", checkSick, ""},
		{"health has its time", checkHealthTimeout, ""},
		{"a crashed service fails the job at once, with its log", checkCrash, ""},
		{"an unknown flag is the workflow's mistake", checkBadFlag, ""},
		{"a missing command is the workflow's mistake", checkBadCommand, ""},
		{"a port in use is named", checkPortTaken, HostPorts},
		{"an absent image with policy never", checkPullNever, ""},
		{"a private image is pulled with credentials", checkPrivatePull, ""},
		{"a wrong password is not tried again", checkWrongPassword, ""},
		{"an image that the registry does not have is not tried again", checkNoSuchTag, ""},
		{"a cancelled start leaves nothing behind", checkCancelledStart, ""},
		{"a step runs and is gone", checkStep, ""},
		{"a step ends with its context", checkStepCancel, ""},
		{"a step that cannot run says why", checkStepBadCommand, ""},
		{"removal works twice, and around what is gone", checkRemove, ""},
		{"what does not exist is not found", checkNotFound, ""},
		{"the log's last lines", checkLogs, ""},
		{"a program runs in a container", checkExec, Exec},
		{"images are built once, found and removed", checkBuild, Builds},
		{"images in use stay", checkImageInUse, Builds},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why, lacks := fx.Lacks[c.needs]; lacks {
				t.Skipf("by its nature the engine has no %s: %s", c.needs, why)
			}
			c.check(newEnv(t, open(t), fx))
		})
	}
}

// has tells whether the engine has an ability.
func (v *env) has(a Ability) bool {
	_, lacks := v.fx.Lacks[a]
	return !lacks
}

// env is one check under way.
type env struct {
	*testing.T
	engine.Engine
	fx     Fixture
	labels map[string]string
	id     string
	log    bytes.Buffer
}

func newEnv(t *testing.T, e engine.Engine, fx Fixture) *env {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		t.Fatal(err)
	}
	v := &env{T: t, Engine: e, fx: fx, id: hex.EncodeToString(id[:])}
	v.labels = map[string]string{"io.gantry.test": v.id}
	t.Cleanup(v.removeAll)
	return v
}

// removeAll removes what the check made, and checks that it is gone.
func (v *env) removeAll() {
	ctx := v.cleanContext()
	inv, err := v.List(ctx, v.labels)
	if err != nil {
		v.Errorf("listing what is to be removed: %v", err)
	}
	if err := v.Remove(ctx, inv); err != nil {
		v.Errorf("removing: %v", err)
	}
	left, err := v.List(ctx, v.labels)
	if err != nil || len(left.Containers)+len(left.Networks)+len(left.Others) > 0 {
		v.Errorf("after removal there is still %+v (%v)", left, err)
	}
}

// cleanContext outlives the check's own, for a minute.
func (v *env) cleanContext() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.Context()), time.Minute)
	v.Cleanup(cancel)
	return ctx
}

// container is a spec that carries the check's labels.
func (v *env) container(name, image string, args ...string) engine.ContainerSpec {
	return engine.ContainerSpec{
		Name: "gantry-" + v.id + "-" + name, Title: "service " + name, Labels: v.labels,
		Image: image, Pull: engine.PullMissing, Args: args, Aliases: []string{name},
	}
}

// shell is a container that runs a script and then stays.
func (v *env) shell(name, script string) engine.ContainerSpec {
	return v.container(name, v.fx.Shell, "sh", "-c", script+"; sleep 600")
}

// job is a spec with a network of its own.
func (v *env) job(container *engine.ContainerSpec, services ...engine.ContainerSpec) engine.JobSpec {
	return engine.JobSpec{
		Network:   engine.NetworkSpec{Name: "gantry-" + v.id, Create: true},
		Container: container,
		Services:  services,
		Labels:    v.labels,
		Timeouts:  engine.Timeouts{Pull: time.Minute, Start: time.Minute, Health: time.Minute},
	}
}

// start starts a job that must start.
func (v *env) start(spec engine.JobSpec) engine.Job {
	v.Helper()
	job, err := v.StartJob(v.Context(), spec, &v.log)
	if err != nil {
		v.Fatalf("starting: %v\n%+v\n%s", err, verdict.Of(err), v.log.String())
	}
	return job
}

// fail starts a job that must not start, and gives the verdict.
func (v *env) fail(spec engine.JobSpec, cause error, whose verdict.Whose) *verdict.Error {
	v.Helper()
	_, err := v.StartJob(v.Context(), spec, &v.log)
	return v.judge(err, cause, whose)
}

// judge checks an error: its cause, whose problem it is, and that it shows the command and the next step.
func (v *env) judge(err, cause error, whose verdict.Whose) *verdict.Error {
	v.Helper()
	if !errors.Is(err, cause) {
		v.Fatalf("error is %v, want one that is %q", err, cause)
	}
	found := verdict.Of(err)
	if found.Whose != whose {
		v.Errorf("it is a problem of the %q, want %q: %v", found.Whose, whose, err)
	}
	if found.Hint == "" {
		v.Errorf("no hint: %v", err)
	}
	return found
}

// soon waits until a condition holds.
func (v *env) soon(what string, holds func() bool) {
	v.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			v.Fatalf("not in time: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// printed is what a container has printed, once it ends with a line.
func (v *env) printed(id, lastLine string) string {
	v.Helper()
	var text string
	v.soon("the line "+lastLine, func() bool {
		var log bytes.Buffer
		if err := v.Logs(v.Context(), id, 1000, &log); err != nil {
			v.Fatal(err)
		}
		text = log.String()
		return bytes.HasSuffix(log.Bytes(), []byte(lastLine+"\n"))
	})
	return text
}
