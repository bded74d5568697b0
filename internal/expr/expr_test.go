package expr_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/expr"
)

var errHash = errors.New("cannot read the workspace")

// testScope has every context of testdata/contexts.json, and the state of a job in which all went well.
func testScope(t testing.TB) expr.Scope {
	t.Helper()
	text, err := os.ReadFile("testdata/contexts.json")
	if err != nil {
		t.Fatal(err)
	}
	all, err := expr.DecodeJSON(string(text))
	if err != nil {
		t.Fatal(err)
	}
	s := expr.Scope{Contexts: map[string]expr.Value{}, Status: &expr.Status{Success: true}, HashFiles: fakeHash}
	for _, name := range all.(*expr.Map).Names() {
		s.Contexts[name], _ = all.(*expr.Map).Get(name)
	}
	return s
}

func fakeHash(patterns []string) (string, error) {
	if patterns[0] == "fail" {
		return "", errHash
	}
	return fmt.Sprintf("hash of %v", patterns), nil
}

// pair is a line `left => right` of a golden file.
type pair struct {
	line        int
	left, right string
	mark        string // what follows a last #
}

const notActionlint = "not actionlint"

func readPairs(t testing.TB, path string) []pair {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var pairs []pair
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		p := pair{line: i + 1}
		if rest, ok := strings.CutSuffix(line, "# "+notActionlint); ok {
			line, p.mark = strings.TrimSpace(rest), notActionlint
		}
		var ok bool
		if p.left, p.right, ok = strings.Cut(line, " => "); !ok {
			t.Fatalf("%s:%d: no => in the line", path, i+1)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// wanted reads the right side of a pair.
func wanted(t *testing.T, text string) expr.Value {
	t.Helper()
	switch text {
	case "NaN":
		return math.NaN()
	case "Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	v, err := expr.DecodeJSON(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func encoded(t testing.TB, v expr.Value) string {
	t.Helper()
	text, err := expr.EncodeJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExpressionsHaveTheValuesOfTheGoldenTable(t *testing.T) {
	pairs := readPairs(t, "testdata/expressions.txt")
	if len(pairs) < 250 {
		t.Errorf("the table has %d expressions, at least 250 are promised", len(pairs))
	}
	s := testScope(t)
	for _, p := range pairs {
		got, err := s.Eval("${{ " + p.left + " }}")
		if err != nil {
			t.Errorf("line %d: %s: %v", p.line, p.left, err)
			continue
		}
		if got, want := encoded(t, got), encoded(t, wanted(t, p.right)); got != want {
			t.Errorf("line %d: %s\n got %s\nwant %s", p.line, p.left, got, want)
		}
	}
}

// grid reads coercion.txt: the operands, and for each operator the rows of expected results.
func grid(t *testing.T) (operands []string, rows map[string][][]string) {
	t.Helper()
	text, err := os.ReadFile("testdata/coercion.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string][][]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		rows[fields[1]] = append(rows[fields[1]], fields[2:])
		if fields[1] == "==" {
			operands = append(operands, fields[0])
		}
	}
	return operands, rows
}

func TestEveryPairOfTypesComparesAsDocumented(t *testing.T) {
	s := testScope(t)
	operands, rows := grid(t)
	for i, a := range operands {
		for j, b := range operands {
			equal, less := rows["=="][i][j] == "1", rows["<"][i][j] == "1"
			for comparison, want := range map[string]bool{
				a + " == " + b: equal,
				a + " != " + b: !equal,
				a + " < " + b:  less,
				b + " > " + a:  less,
				a + " <= " + b: less || equal,
				b + " >= " + a: less || equal,
			} {
				got, err := s.Eval("${{ " + comparison + " }}")
				if err != nil || got != want {
					t.Errorf("%s: got %v, %v, want %t", comparison, got, err, want)
				}
			}
		}
	}
}
