package workflow_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

func fromJSON(t *testing.T, text string) expr.Value {
	t.Helper()
	value, err := expr.Scope{}.Eval("${{ fromJSON('" + text + "') }}")
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestContainerOfAnObject(t *testing.T) {
	c, err := workflow.ContainerOf(fromJSON(t, `{"image":"node:22","options":"--cpus 1","ports":[80,"81:81"],
		"volumes":["a:/a"],"env":{"N":1.5,"E":"$`+`{{ secrets.X }}"},"credentials":{"username":"u","password":"p"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Image.Raw != "node:22" || c.Ports[0].Raw != "80" || c.Volumes[0].Raw != "a:/a" || c.Credentials.Password.Raw != "p" {
		t.Errorf("container %+v", c)
	}
	if e, _ := c.Env.Get("e"); e.HasExpr() || e.Raw != "${{ secrets.X }}" {
		t.Errorf("the result of an expression would be evaluated again: %+v", e)
	}
}

func TestContainerOfTextAndNothing(t *testing.T) {
	if c, err := workflow.ContainerOf("alpine:3"); err != nil || c.Image.Raw != "alpine:3" {
		t.Error(c, err)
	}
	for _, nothing := range []expr.Value{nil, "", fromJSON(t, `{"image":""}`)} {
		if c, err := workflow.ContainerOf(nothing); err != nil || c != nil {
			t.Errorf("container %v, %v of %v, want none", c, err, nothing)
		}
	}
}

func TestContainerMistakes(t *testing.T) {
	for _, text := range []string{`[1]`, `{"image":{}}`, `{"image":"a","ports":"80"}`, `{"image":"a","ports":[[]]}`,
		`{"image":"a","env":[]}`, `{"image":"a","env":{"A":{}}}`, `{"image":"a","nope":1}`, `{"image":"a","command":"x"}`,
		`{"image":"a","credentials":[]}`} {
		if c, err := workflow.ContainerOf(fromJSON(t, text)); err == nil {
			t.Errorf("%s gives %+v, want an error", text, c)
		}
	}
}

func TestServicesOf(t *testing.T) {
	s, err := workflow.ServicesOf(fromJSON(t, `{"db":{"image":"postgres","command":"-c x","entrypoint":"/e"},"off":{"image":""},"cache":"redis"}`))
	if err != nil || len(s.List) != 2 {
		t.Fatal(s, err)
	}
	if s.List[0].ID != "db" || s.List[0].Container.Command.Raw != "-c x" || s.List[1].Container.Image.Raw != "redis" {
		t.Errorf("services %+v", s.List)
	}
	for _, text := range []string{`[]`, `"x"`, `{"a":[]}`} {
		if s, err := workflow.ServicesOf(fromJSON(t, text)); err == nil {
			t.Errorf("%s gives %+v, want an error", text, s)
		}
	}
}

func TestInputValues(t *testing.T) {
	inputs := loadFine(t, `on:
  workflow_call:
    inputs:
      name: {type: string, default: "${{ github.actor }}"}
      on: {type: boolean, default: true}
      off: {type: boolean}
      n: {type: number, default: 3}
      zero: {type: number}
      must: {type: string, required: true}
      bare: {type: string}
jobs: {a: {runs-on: x, steps: [{run: echo}]}}
`).Call.Inputs
	inputs = append(inputs, loadFine(t, `on:
  workflow_dispatch:
    inputs:
      level: {type: choice, options: [low, high], default: low}
      untyped:
jobs: {a: {runs-on: x, steps: [{run: echo}]}}
`).Inputs...)
	eval := func(workflow.Text) (expr.Value, error) { return "octocat", nil }
	got, err := workflow.InputValues(inputs, map[string]expr.Value{"MUST": "x", "n": "0x10", "on": "false"}, eval)
	if err != nil {
		t.Fatal(err)
	}
	want := "{name: octocat, on: bool(false), off: bool(false), n: float64(16), zero: float64(0), must: x, bare: , " +
		"level: low, untyped: }"
	if diff := cmp.Diff(want, show(t, got)); diff != "" {
		t.Error(diff)
	}
}

func TestInputMistakesAreAllSaid(t *testing.T) {
	inputs := []workflow.Input{{Name: "level", Type: "choice", Options: []string{"low"}}, {Name: "on", Type: "boolean"},
		{Name: "n", Type: "number"}, {Name: "must", Type: "string", Required: true}, {Name: "text", Type: "string"}}
	given := map[string]expr.Value{"level": "x", "on": "yes", "n": " ", "text": expr.NewArray(), "nope": "1"}
	_, err := workflow.InputValues(inputs, given, nil)
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) || len(all.Unwrap()) != 6 {
		t.Errorf("errors %v, want six", err)
	}
}
