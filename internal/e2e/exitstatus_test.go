package e2e

import (
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// The hook's status is the step's, on both paths of script steps (a trace makes them take the long one) and in
// container steps.
func TestAFailedStepGivesItsStatus(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		for name, env := range map[string]string{"short path": "GANTRY_TRACE_DIR=", "long path": "GANTRY_TRACE_DIR=" + t.TempDir()} {
			t.Run(name, func(t *testing.T) {
				r := prepared(t, e, testbed.Busybox, env)
				failsWith(t, r.RunScript(ctx(t), "exit 42"), 42, "gantry: workflow: ", "42")
				failsWith(t, r.RunScript(ctx(t), "kill -KILL $$"), 137, "gantry: workflow: ")
				step := r.ContainerStep(testbed.Busybox, "-c", "exit 43")
				step.EntryPoint = "sh"
				failsWith(t, r.Call(ctx(t), hook.RunContainerStep, step), 43, "gantry: workflow: ", "43")
			})
		}
	})
}
