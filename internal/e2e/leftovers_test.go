package e2e

import (
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// The runner does not call cleanup_job when it is shut down, or when its worker crashes.
func TestAJobRemovesWhatTheOneBeforeItLeftAndNothingElse(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		stateDir := "GANTRY_STATE_DIR=" + filepath.Join(t.TempDir(), "state") // shared, as by runners of one user
		r, other := newRunner(t, e, stateDir), newRunner(t, e, stateDir)
		redis := hook.Container{Image: testbed.Redis}
		first := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis)).Response.Context
		ok(t, other.Prepare(ctx(t), other.JobContainer(testbed.Busybox), redis))
		second := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox))).Response.Context
		for _, id := range []string{first.Container.ID, first.Services[0].ID} {
			if engineKnows(t, e, "container", id) {
				t.Errorf("container %s of the first job is still there", id)
			}
		}
		if engineKnows(t, e, "network", first.Container.Network) || !engineKnows(t, e, "network", second.Container.Network) {
			t.Errorf("of the networks %s and %s only the second should be there", first.Container.Network, second.Container.Network)
		}
		if folders, _ := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry*/*/*")); len(folders) > 2 {
			t.Errorf("folders of agents: %v", folders)
		}
		ok(t, r.RunScript(ctx(t), "true"))
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		if got := stdout(t, other, `printf 'PING\r\n' | nc redis 6379`); got != "+PONG\r\n" {
			t.Errorf("the other runner's service says %q", got)
		}
	})
}

func TestCleanupNeedsNoStateAndGoesOnAfterWhatIsGone(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		redis := hook.Container{Image: testbed.Redis}
		prepare := func() *hook.JobContext {
			return ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis, redis)).Response.Context
		}
		prepare()
		for range 2 {
			ok(t, r.CallWithState(ctx(t), hook.CleanupJob, nil, nil))
			noLeftovers(t, e, r)
		}
		made := prepare()
		engineSays(t, e, "rm", "-f", made.Services[0].ID)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		made = prepare()
		for _, id := range []string{made.Services[0].ID, made.Services[1].ID, made.Container.ID} {
			engineSays(t, e, "rm", "-f", id)
		}
		engineSays(t, e, "network", "rm", made.Container.Network)
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// A container that a step has started on the job's network, through the engine's socket, is not the job's to remove.
func TestCleanupRemovesANetworkThatAStepHasUsed(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		made := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox))).Response.Context
		foreign := engineSays(t, e, "run", "-d", "--network", made.Container.Network, testbed.Busybox, "tail", "-f", "/dev/null")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		if !engineKnows(t, e, "container", foreign) {
			t.Error("a container that is not gantry's has been removed")
		}
		engineSays(t, e, "kill", foreign) // podman would wait 10 s for it
		engineSays(t, e, "rm", "-f", "-v", foreign)
	})
}

func TestServicesThatFailedMeanwhileShowTheirLogAtTheEnd(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		dies := hook.Container{
			Image: testbed.Busybox, EntryPoint: "/bin/sh", EntryPointArgs: pieces(`-c "nc -l -p 80; echo ::error::last words; exit 4"`),
		}
		made := ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), dies, hook.Container{Image: testbed.Redis})).Response.Context
		eventually(t, "the service ends", func() bool {
			r.RunScript(ctx(t), "nc -w 1 busybox 80 </dev/null")
			return engineSays(t, e, "inspect", "--format", "{{.State.Running}}", made.Services[0].ID) == "false"
		})
		res := ok(t, r.Cleanup(ctx(t)))
		contains(t, res.Stdout, "busybox", "has failed", "::error::last words", "::stop-commands::")
		noLeftovers(t, e, r)
	})
}
