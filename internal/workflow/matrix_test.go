package workflow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// matrixOf reads a matrix as it stands in a workflow.
func matrixOf(t *testing.T, text string) workflow.Tree {
	t.Helper()
	indented := strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ")
	w, _ := load(t, "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: echo}]\n    strategy:\n      matrix:\n        "+indented+"\n")
	if w.Job("a") == nil || w.Job("a").Strategy.Matrix == nil {
		t.Fatalf("no matrix in\n%s", indented)
	}
	return w.Job("a").Strategy.Matrix.Tree
}

// show writes a combination as in GitHub's documentation: {fruit: apple, animal: cat}.
func show(t *testing.T, value expr.Value) string {
	t.Helper()
	switch v := value.(type) {
	case expr.Object:
		var parts []string
		for _, name := range v.Names() {
			member, _ := v.Get(name)
			parts = append(parts, name+": "+show(t, member))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *expr.Array:
		var parts []string
		for _, item := range v.Items {
			parts = append(parts, show(t, item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return v
	}
	return fmt.Sprintf("%T(%v)", value, value)
}

// The cases called "documented" are from GitHub's page "Running variations of jobs in a workflow" and from the page
// of the workflow syntax.
func TestExpand(t *testing.T) {
	tests := []struct{ name, matrix, want string }{
		{"documented: one dimension", `version: [a, b, c]`, `
{version: a}
{version: b}
{version: c}`},
		{"documented: two dimensions, the last changes first", `
os: [ubuntu-22.04, ubuntu-20.04]
version: ['10', '12', '14']`, `
{os: ubuntu-22.04, version: 10}
{os: ubuntu-22.04, version: 12}
{os: ubuntu-22.04, version: 14}
{os: ubuntu-20.04, version: 10}
{os: ubuntu-20.04, version: 12}
{os: ubuntu-20.04, version: 14}`},
		{"documented: objects", `
os: [ubuntu-latest, macos-latest]
node:
  - version: '14'
  - version: '20'
    env: NODE_OPTIONS=--openssl-legacy-provider`, `
{os: ubuntu-latest, node: {version: 14}}
{os: ubuntu-latest, node: {version: 20, env: NODE_OPTIONS=--openssl-legacy-provider}}
{os: macos-latest, node: {version: 14}}
{os: macos-latest, node: {version: 20, env: NODE_OPTIONS=--openssl-legacy-provider}}`},
		{"documented: include adds, overwrites what was added, and makes new ones", `
fruit: [apple, pear]
animal: [cat, dog]
include:
  - color: green
  - color: pink
    animal: cat
  - fruit: apple
    shape: circle
  - fruit: banana
  - fruit: banana
    animal: cat`, `
{fruit: apple, animal: cat, color: pink, shape: circle}
{fruit: apple, animal: dog, color: green, shape: circle}
{fruit: pear, animal: cat, color: pink}
{fruit: pear, animal: dog, color: green}
{fruit: banana}
{fruit: banana, animal: cat}`},
		{"documented: expanding configurations", `
os: [windows-latest, ubuntu-latest]
node: ['14', '16']
include:
  - os: windows-latest
    node: '16'
    npm: '6'`, `
{os: windows-latest, node: 14}
{os: windows-latest, node: 16, npm: 6}
{os: ubuntu-latest, node: 14}
{os: ubuntu-latest, node: 16}`},
		{"documented: adding configurations", `
os: [macos-latest, windows-latest]
version: ['12', '14']
include:
  - os: windows-latest
    version: '17'`, `
{os: macos-latest, version: 12}
{os: macos-latest, version: 14}
{os: windows-latest, version: 12}
{os: windows-latest, version: 14}
{os: windows-latest, version: 17}`},
		{"documented: include alone", `
include:
  - site: production
    datacenter: site-a
  - site: staging
    datacenter: site-b`, `
{site: production, datacenter: site-a}
{site: staging, datacenter: site-b}`},
		{"documented: exclude by a part", `
os: [macos-latest, windows-latest]
version: ['12', '14', '16']
environment: [staging, production]
exclude:
  - os: macos-latest
    version: '12'
    environment: production
  - os: windows-latest
    version: '16'`, `
{os: macos-latest, version: 12, environment: staging}
{os: macos-latest, version: 14, environment: staging}
{os: macos-latest, version: 14, environment: production}
{os: macos-latest, version: 16, environment: staging}
{os: macos-latest, version: 16, environment: production}
{os: windows-latest, version: 12, environment: staging}
{os: windows-latest, version: 12, environment: production}
{os: windows-latest, version: 14, environment: staging}
{os: windows-latest, version: 14, environment: production}`},
		{"include comes after exclude and can bring back", `
a: [x, y]
exclude: [{a: x}]
include: [{a: x, back: yes please}]`, `
{a: y}
{a: x, back: yes please}`},
		{"an include that matches nothing that is left is new", `
a: [x, y]
b: [p]
exclude: [{a: x}]
include: [{a: x}]`, `
{a: y, b: p}
{a: x}`},
		{"numbers and text that says them are the same, case does not matter", `
n: [1, 2]
s: [Linux]
exclude: [{n: '1', s: linux}]`, `
{n: float64(2), s: Linux}`},
		{"exclude by a member of an object", `
os:
  - {name: Ubuntu, id: u}
  - {name: Windows, id: w}
exclude:
  - os: {id: w}`, `
{os: {name: Ubuntu, id: u}}`},
		{"exclude by a list", `
set: [[a, b], [a, c]]
exclude:
  - set: [a, c]`, `
{set: [a, b]}`},
		{"types are kept", `v: [3.10, '3.10', true, 'true', ~, 1e3, 0x10, 0o10, 1_000, 010]`, `
{v: float64(3.1)}
{v: 3.10}
{v: bool(true)}
{v: true}
{v: <nil>(<nil>)}
{v: float64(1000)}
{v: float64(16)}
{v: float64(8)}
{v: 1_000}
{v: float64(10)}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value, err := matrixOf(t, test.matrix).Resolve(nil)
			if err != nil {
				t.Fatal(err)
			}
			all, err := workflow.Expand(value)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, c := range all {
				got += "\n" + show(t, c.Values)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMatrixMistakes(t *testing.T) {
	many := "a: [1" + strings.Repeat(",1", 256) + "]"
	for name, matrix := range map[string]string{
		"no list":                   `a: {x: y}`,
		"empty list":                `{a: [], b: [1]}`,
		"nothing":                   `{}`,
		"empty include":             `include: []`,
		"exclude alone":             `exclude: [{a: 1}]`,
		"exclude of an unknown key": `{a: [1], exclude: [{b: 1}]}`,
		"empty exclude":             `{a: [1], exclude: [{}]}`,
		"include of text":           `{a: [1], include: [x]}`,
		"all excluded":              `{a: [1], exclude: [{a: 1}]}`,
		"257 jobs":                  many,
		"a product of millions": `{a: [1,1,1,1,1,1,1,1,1,1], b: [1,1,1,1,1,1,1,1,1,1], c: [1,1,1,1,1,1,1,1,1,1],
           d: [1,1,1,1,1,1,1,1,1,1], e: [1,1,1,1,1,1,1,1,1,1], f: [1,1,1,1,1,1,1,1,1,1], g: [1,1,1,1,1,1,1,1,1,1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			value, err := matrixOf(t, matrix).Resolve(nil)
			if err != nil {
				t.Fatal(err)
			}
			if all, err := workflow.Expand(value); err == nil {
				t.Errorf("%d combinations, want an error", len(all))
			}
		})
	}
	if _, err := workflow.Expand("text"); err == nil {
		t.Error("text is taken for a matrix")
	}
}

func TestMatrixLimitIsReportedBeforeARun(t *testing.T) {
	_, findings := load(t, "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: echo}]\n    strategy:\n      matrix:\n"+
		"        a: [1"+strings.Repeat(",1", 16)+"]\n        b: [1"+strings.Repeat(",1", 16)+"]\n")
	if !workflow.Blocking(findings) {
		t.Error("289 jobs do not block")
	}
}

// A matrix from a job's output is JSON; parts of one may be expressions too.
func TestMatrixFromExpressions(t *testing.T) {
	eval := func(text workflow.Text) (expr.Value, error) { return expr.Scope{}.Eval(text.Raw) }
	for _, matrix := range []string{
		"${{ fromJSON('{\"a\":[1,2],\"include\":[{\"a\":2,\"x\":true}]}') }}",
		"a: ${{ fromJSON('[1,2]') }}\ninclude: ${{ fromJSON('[{\"a\":2,\"x\":true}]') }}",
		"a: [1, \"${{ fromJSON('2') }}\"]\ninclude: [{a: 2, x: \"${{ true }}\"}]",
	} {
		tree := matrixOf(t, matrix)
		if !tree.HasExpr() {
			t.Errorf("no expression seen in %s", matrix)
		}
		value, err := tree.Resolve(eval)
		if err != nil {
			t.Fatal(err)
		}
		all, err := workflow.Expand(value)
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if got := show(t, all[1].Values); got != "{a: float64(2), x: bool(true)}" {
			t.Errorf("%s gives %s", matrix, got)
		}
	}
}

func TestMatrixErrorOfAnExpressionHasItsPlace(t *testing.T) {
	fault := errors.New("no such thing")
	_, err := matrixOf(t, "a: [1, \"${{ x }}\"]").Resolve(func(workflow.Text) (expr.Value, error) { return nil, fault })
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), "line 8, column 16") {
		t.Errorf("error %v", err)
	}
}

func TestDisplayNames(t *testing.T) {
	expand := func(matrix string) *workflow.Combination {
		value, err := matrixOf(t, matrix).Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		all, err := workflow.Expand(value)
		if err != nil {
			t.Fatal(err)
		}
		return &all[0]
	}
	long := strings.Repeat("x", 120)
	plain := &workflow.Job{ID: "test"}
	named := &workflow.Job{ID: "test", Name: workflow.Text{Raw: "Unit"}}
	own := &workflow.Job{ID: "test", Name: workflow.Text{Raw: "Unit ${{ matrix.a }}"}}
	tests := []struct {
		job          *workflow.Job
		name, matrix string
		want         string
	}{
		{plain, "", "", "test"},
		{plain, "", "{a: [linux], b: [22]}", "test (linux, 22)"},
		{named, "Unit", "{a: [1.50], b: [true], c: [~], d: ['']}", "Unit (1.5, true)"},
		{plain, "", "{a: [{x: 1, y: [p, q]}]}", "test (1, p, q)"},
		{plain, "", "{a: [1], include: [{a: 1, extra: no}]}", "test (1)"},
		{plain, "", "{include: [{a: 1, extra: yes}]}", "test (1, yes)"},
		{own, "Unit 1", "{a: [1]}", "Unit 1"},
		{plain, "", "{a: [" + long + "]}", "test (" + long[:91] + "..."},
	}
	for _, test := range tests {
		var c *workflow.Combination
		if test.matrix != "" {
			c = expand(test.matrix)
		}
		if got := test.job.DisplayName(test.name, c); got != test.want {
			t.Errorf("%s: %q, want %q", test.matrix, got, test.want)
		}
	}
}
