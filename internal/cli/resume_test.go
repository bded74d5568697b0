package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/scriptstep"
)

// What the lean program knows of a step arrives, whatever is in an error's text.
func TestParseResume(t *testing.T) {
	known := scriptstep.Progress{
		Began: time.Unix(1, 0).UTC(), TimedOut: true, Exit: &agent.Exit{Code: 126, Error: `no "sh": it is gone`, Output: 7},
	}
	text, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]*handler.Resume{
		"":                    nil,
		"a:7":                 {StepID: "a", Offset: 7},
		"a:7:" + string(text): {StepID: "a", Offset: 7, Progress: known},
	} {
		got, err := parseResume(arg)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, %s", arg, err, diff)
		}
	}
	for _, arg := range []string{"a", "a:b", "a:7:", "a:7:{"} {
		if _, err := parseResume(arg); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
}
