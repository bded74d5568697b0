package expr_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
)

func TestTemplatesAsStrings(t *testing.T) {
	for template, want := range map[string]string{
		"":                                                "",
		"plain text":                                      "plain text",
		"$ { {} }} ${ {{ }} $x":                           "$ { {} }} ${ {{ }} $x",
		"${{ github.ref }}":                               "refs/heads/main",
		"${{github.ref}}":                                 "refs/heads/main",
		"ref=${{ github.ref }};":                          "ref=refs/heads/main;",
		"${{ 1 }}${{ 2 }}":                                "12",
		"${{ 1 }} ${{ true }} ${{ null }}|":               "1 true |",
		"${{ 'a' }}\n${{ 'b' }}\n":                        "a\nb\n",
		"${{ '${{' }} github.ref }}":                      "${{ github.ref }}",
		"${{ '}}' }}":                                     "}}",
		"${{ format('{{{0}}}', '}}') }}":                  "{}}}",
		"{0} {{ }} ${{ 'it''s' }} 'q'":                    "{0} {{ }} it's 'q'",
		"${{ '${{ github.ref }}' }}":                      "${{ github.ref }}",
		"${{\n  github.ref_name ==\n 'MAIN'}}":            "true",
		"all: ${{ fruits }} ${{ vegetables }}":            "all: Array Object",
		"${{ fruits.*.name }}!":                           "Array!",
		"${{ 1e21 }}":                                     "1E+21",
		"${{ github.missing }}":                           "",
		"echo \"${{ join(fruits.*.name, ' ') }}\" # it's": "echo \"apple orange pear\" # it's",
	} {
		if got, err := testScope(t).EvalString(template); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", template, got, err, want)
		}
	}
}

func TestAStringIsNotMadeOfOneArrayOrObject(t *testing.T) {
	for _, template := range []string{"${{ fruits }}", "${{ github }}", "${{ fruits.* }}"} {
		if got, err := testScope(t).EvalString(template); err == nil {
			t.Errorf("%s: got %q", template, got)
		}
	}
}

func TestOneExpressionKeepsItsType(t *testing.T) {
	for template, want := range map[string]expr.Value{
		"${{ 1 }}":           1.0,
		" ${{ 1 }}":          " 1",
		"${{ 1 }}\n":         "1\n",
		"${{ inputs.flag }}": true,
		"${{ null }}":        nil,
		"${{ 'x' }}":         "x",
		"1":                  "1",
		"":                   "",
	} {
		if got, err := testScope(t).Eval(template); err != nil || got != want {
			t.Errorf("%q: got %#v, %v, want %#v", template, got, err, want)
		}
	}
}

func TestTheResultOfAFilterIsAnOrdinaryArrayLater(t *testing.T) {
	s := testScope(t)
	names, err := s.Eval("${{ fruits.*.name }}")
	if err != nil {
		t.Fatal(err)
	}
	s.Contexts["names"] = names
	if got, err := s.Eval("${{ names[1] }}"); err != nil || got != "orange" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNamesAreTheContextsInOrderOfAppearance(t *testing.T) {
	for template, want := range map[string][]string{
		"":                         nil,
		"github.ref":               nil,
		"${{ true }}":              nil,
		"${{ 'github.ref' }}":      nil,
		"${{ GitHub.ref }}":        {"github"},
		"${{ a.b }} ${{ c || a }}": {"a", "c"},
		"${{ a[b.c].d.*.e == format('{0}', !F) && true || (g) }}": {"a", "b", "f", "g"},
	} {
		got, err := expr.Names(template)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", template, got, err, want)
		}
	}
}

func TestATemplateTellsWhatItUses(t *testing.T) {
	parsed, err := expr.ParseTemplate("x ${{ github.ref && hashfiles('a') }} always()")
	if err != nil {
		t.Fatal(err)
	}
	got := []bool{parsed.IsLiteral(), parsed.Uses("hashFiles"), parsed.Uses("HASHFILES"), parsed.Uses("always"), parsed.Uses("")}
	if diff := cmp.Diff([]bool{false, true, true, false, false}, got); diff != "" {
		t.Error(diff)
	}
	if plain, err := expr.ParseTemplate("always()"); err != nil || !plain.IsLiteral() {
		t.Errorf("got %v, %v", plain, err)
	}
}
