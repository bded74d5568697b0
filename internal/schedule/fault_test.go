package schedule_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

// lines is the log of a job that does not start.
func (w *world) lines(key string) string {
	var b strings.Builder
	for _, e := range w.events {
		if e.Kind == jobevent.Line && e.Job == key {
			b.WriteString(e.Style + "|" + e.Text + "\n")
		}
	}
	return b.String()
}

// What is wrong with a job shows when its turn comes: the place, and the line of the file with a caret below it.
func TestFaultsShowTheLineOfTheFile(t *testing.T) {
	for name, c := range map[string]struct{ jobs, want string }{
		"if": {"  a:\n    if: fromJSON('{')\n    runs-on: x\n    steps: [{run: 'true'}]\n",
			"error|w.yml:4:9: fromJSON: the text is not JSON: byte 1 cannot stand there, or the text ends too early\n" +
				"|   4 |     if: fromJSON('{')\n|     |         ^\n"},
		"matrix": {"  a:\n    strategy:\n      matrix: ${{ fromJSON('1') }}\n    runs-on: x\n    steps: [{run: 'true'}]\n",
			"error|w.yml:5:15: the matrix is no object: keys with lists of values are expected\n|   5 |       matrix: ${{ fromJSON('1') }}\n|     |               ^\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.jobs)
			if _, err := w.play("a:failure"); err != nil {
				t.Error(err)
			}
			if got := w.lines("a"); got != c.want {
				t.Errorf("%s, want\n%s", got, c.want)
			}
		})
	}
}

const outputs = "on: {workflow_call: {outputs: {x: {value: \"${{ fromJSON('{') }}\"}}}}\njobs:\n  inner:\n    runs-on: x\n    steps: [{run: 'true'}]\n"

// An output that the called workflow cannot give fails the job that calls it. It is no trouble of the run's own.
func TestAFaultOfACalledWorkflowsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a: {uses: ./.github/workflows/called.yml}\n", ".github/workflows/called.yml", outputs)
		result, err := w.play("a:failure")
		if result != jobevent.Failure || err != nil {
			t.Errorf("%s, %v", result, err)
		}
		got := w.lines("a")
		if !strings.HasPrefix(got, "error|.github/workflows/called.yml:1:48: fromJSON: ") || !strings.Contains(got, "|   1 | on: {workflow_call") {
			t.Error(got)
		}
	})
}
