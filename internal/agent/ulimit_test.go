package agent_test

import (
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// Limits hold for this process, and so for all that it starts; one that cannot be set is told.
func TestUlimits(t *testing.T) {
	var before, after syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_CORE, &before))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_CORE, &before)) })
	hard := int64(before.Max) // all ones are -1: no limit
	lowered := agent.ServeConfig{Ulimits: []agent.Ulimit{{Name: "core", Soft: 0, Hard: hard}}}
	for range 2 {
		if undone := lowered.Furnish(""); len(undone) > 0 {
			t.Fatalf("%+v", undone)
		}
	}
	must(t, syscall.Getrlimit(syscall.RLIMIT_CORE, &after))
	if after.Cur != 0 || after.Max != before.Max {
		t.Errorf("the limit is %+v, and was %+v", after, before)
	}
	above := agent.ServeConfig{Ulimits: []agent.Ulimit{{Name: "core", Soft: 2, Hard: 1}}}
	if undone := above.Furnish(""); len(undone) != 1 || undone[0].What != agent.UndoneUlimit || undone[0].Name != "core=2:1" {
		t.Errorf("%+v", undone)
	}
}
