package handler

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// Two machines that share a file system count it as different devices; its files have the same numbers on both.
func TestAFolderIsRecognisedOnAnotherMachine(t *testing.T) {
	id := agent.FileID{Dev: 7, Ino: 1}
	for _, c := range []struct {
		seen            agent.FileID
		elsewhere, want bool
	}{
		{id, false, true}, {id, true, true}, {agent.FileID{Dev: 8, Ino: 1}, true, true},
		{agent.FileID{Dev: 8, Ino: 1}, false, false}, {agent.FileID{Dev: 7, Ino: 2}, true, false}, {agent.FileID{}, true, false},
	} {
		if got := isThere(c.seen, id, c.elsewhere); got != c.want {
			t.Errorf("%+v, elsewhere %v: %v", c.seen, c.elsewhere, got)
		}
	}
}
