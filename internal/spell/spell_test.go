package spell_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/spell"
)

func TestClosest(t *testing.T) {
	words := []string{"health-cmd", "health-retries", "cpus", "cpuset-cpus", "pull", "pid"}
	for word, want := range map[string]string{
		"hea-cmd":     "health-cmd",
		"helath-cmd":  "health-cmd", // neighbours that changed places
		"cpu":         "cpus",
		"plul":        "pull",
		"pull":        "pull",
		"something":   "",
		"":            "",
		"health-cmds": "health-cmd",
	} {
		if got := spell.Closest(word, words); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}
