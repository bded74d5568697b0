package expr_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
)

// live is an Object that is asked, as steps is. It is a map, which Go cannot compare.
type live map[string]func() expr.Value

func (l live) Get(name string) (expr.Value, bool) {
	f, ok := l[name]
	if !ok {
		return nil, false
	}
	return f(), true
}

func (l live) Names() []string { return []string{"a", "b", "gone"} }

func TestALiveObjectIsAskedAtEvaluation(t *testing.T) {
	count := 0.0
	s := expr.Scope{Contexts: map[string]expr.Value{"live": live{
		"a": func() expr.Value { count++; return count },
		"b": func() expr.Value { return expr.NewArray("x") },
	}}}
	parsed, err := expr.ParseTemplate("${{ live.a }}")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []float64{1, 2} {
		if got, err := parsed.Eval(s); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if got, err := s.EvalString("${{ live.b[0] }} ${{ live == live }} ${{ join(live.*) }}"); err != nil || got != "x false 3,Array" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAMapKeepsOrderAndFirstSpelling(t *testing.T) {
	m := expr.NewMap()
	m.Set("Zoe", 1.0)
	m.Set("adam", 2.0)
	m.Set("ZOE", 3.0)
	if diff := cmp.Diff([]string{"Zoe", "adam"}, m.Names()); diff != "" {
		t.Error(diff)
	}
	if v, ok := m.Get("zoe"); !ok || v != 3.0 {
		t.Errorf("got %v, %t", v, ok)
	}
}

func TestCaseMattersInAnExactMap(t *testing.T) {
	env := expr.NewExactMap()
	env.Set("Path", "/a")
	env.Set("PATH", "/b")
	s := expr.Scope{Contexts: map[string]expr.Value{"env": env}}
	got, err := s.EvalString("${{ env.Path }} ${{ env.PATH }} ${{ ENV.path }} ${{ env['PATH'] }}")
	if err != nil || got != "/a /b  /b" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWhatIsNoValueIsRefused(t *testing.T) {
	m := expr.NewMap()
	m.Set("int", 1)
	s := expr.Scope{Contexts: map[string]expr.Value{"m": m, "int": 1, "list": expr.NewArray(1)}}
	for _, template := range []string{"${{ int }}", "${{ m.int }}", "${{ m.* }}", "${{ list[0] }}", "${{ list.*.x }}", "${{ toJSON(m) }}"} {
		if v, err := s.Eval(template); err == nil {
			t.Errorf("%s: got %v", template, v)
		}
	}
}
