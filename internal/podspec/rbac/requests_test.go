package rbac_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
)

// What the driver's source asks for is in the table, and nothing else is. (Whether a mode gets by with its own rules is for
// the driver's tests, which run with these permissions alone.)
func TestTheTableIsWhatTheSourceAsksFor(t *testing.T) {
	asked := requests(t, "../../engine/kube/kubeapi")
	if len(asked) < 8 {
		t.Fatalf("only %q found: does the driver still write its requests as call{…}?", asked)
	}
	for _, r := range asked {
		verb, resource, _ := strings.Cut(r, " ")
		if _, ok := rbac.Find(verb, "", resource); !ok {
			t.Errorf("the driver asks to %s, and no rule allows it", r)
		}
	}
	for _, rule := range rbac.Rules(rbac.Need{Mode: rbac.Auto, Volume: rbac.Auto}) {
		for _, verb := range rule.Verbs {
			if r := verb + " " + rule.Resource; !slices.Contains(asked, r) {
				t.Errorf("a rule allows to %s, and nothing asks for it", r)
			}
		}
	}
}

// requests are "VERB RESOURCE" of all call{verb: …, resource: …, sub: …} in a package's source. A WebSocket begins with a
// GET, so what creates an exec asks for both.
func requests(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.CompositeLit); ok {
				if name, ok := literal.Type.(*ast.Ident); ok && name.Name == "call" {
					all = append(all, request(literal)...)
				}
			}
			return true
		})
	}
	return all
}

// request reads one literal; none for those that any account may make.
func request(literal *ast.CompositeLit) []string {
	fields := map[string]string{}
	for _, element := range literal.Elts {
		pair := element.(*ast.KeyValueExpr)
		value, _ := pair.Value.(*ast.BasicLit)
		if value == nil {
			value = &ast.BasicLit{Value: `"?"`}
		}
		text, _ := strconv.Unquote(value.Value)
		fields[pair.Key.(*ast.Ident).Name] = text
	}
	if fields["cluster"] != "" || fields["resource"] == "" {
		return nil
	}
	resource := fields["resource"]
	if fields["sub"] != "" {
		resource += "/" + fields["sub"]
	}
	if resource == "pods/exec" {
		return []string{"create " + resource, "get " + resource}
	}
	return []string{fields["verb"] + " " + resource}
}
