package workflow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gantry-ci/gantry/internal/workflow"
)

// What fails only when it is evaluated is shown as what fails when the file is read.
func TestAFaultShowsTheLine(t *testing.T) {
	fsys := fstest.MapFS{"w.yml": {Data: []byte("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: |\n          true\n          echo grün ${{ fromJSON('{') }}\r\n")}}
	w, _, err := workflow.Load(fsys, "w.yml")
	if err != nil {
		t.Fatal(err)
	}
	script := w.Jobs[0].Steps[0].Run.Script
	fault := w.Source().Fault(script.At(strings.Index(script.Raw, "fromJSON")), "not JSON")
	told := ""
	for text, excerpt := range workflow.Tell(errors.Join(fmt.Errorf("running it: %w", fault), errors.New("another one"))) {
		told += text + "\n" + excerpt + "\n"
	}
	const want = "running it: w.yml:8:25: not JSON\n" +
		"   8 |           echo grün ${{ fromJSON('{') }}\n" +
		"     |                         ^\n" +
		"another one\n\n"
	if told != want {
		t.Errorf("%s, want\n%s", told, want)
	}
}

func TestAFaultOfAnActionIsBelowItsFolder(t *testing.T) {
	action, _, err := workflow.LoadAction(fstest.MapFS{"action.yml": {Data: []byte("name: x\nruns:\n  using: composite\n  steps: []\n")}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	fault := action.Source("/folder").Fault(workflow.Pos{Line: 2, Col: 1}, "no")
	if fault.Error() != "/folder/action.yml:2:1: no" || fault.Line != "runs:" {
		t.Errorf("%v, %q", fault, fault.Line)
	}
}

// Where there is no line to show, nothing is shown in its place.
func TestAFaultWithoutALine(t *testing.T) {
	cause := errors.New("cause")
	fault := (&workflow.Workflow{File: "w.yml"}).Source().Wrap(workflow.Pos{Line: 3, Col: 1}, cause)
	for text, excerpt := range workflow.Tell(fault) {
		if text != "w.yml:3:1: cause" || excerpt != "" {
			t.Errorf("%q, %q", text, excerpt)
		}
	}
	if !errors.Is(fault, cause) {
		t.Error("the cause is lost")
	}
	for text := range workflow.Tell(nil) {
		t.Errorf("no error says %q", text)
	}
}
