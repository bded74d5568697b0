package archtest

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gantry-ci/gantry"

// importRules are the design's, see the README's map of the packages.
func importRules(std map[string]bool) []ImportRule {
	standard := func(dep string) bool { return std[dep] }
	own := func(dep string) bool { return std[dep] || within(dep, module) }
	apartFrom := func(paths ...string) func(string) bool {
		return func(dep string) bool {
			return !slices.ContainsFunc(paths, func(p string) bool { return within(dep, module+"/"+p) })
		}
	}
	const processBoundary = "it judges any hook, so it reaches ours only as a process"
	return []ImportRule{
		{module + "/hook", "the public protocol package needs nothing but the standard library", standard},
		{module + "/cmd/gantry-agent", "the agent is copied into every job and starts in a millisecond", own},
		{module + "/internal/handler", "it works with any engine", func(dep string) bool {
			return !strings.HasPrefix(dep, module+"/internal/engine/")
		}},
		{module + "/internal/job", processBoundary, apartFrom("internal/engine", "internal/agent", "internal/handler")},
		{module + "/internal/schedule", "it decides which jobs run, not how", apartFrom("internal/engine", "internal/agent", "internal/handler", "internal/job")},
		{module + "/internal/conformance", processBoundary, apartFrom("internal/engine", "internal/agent", "internal/handler")},
	}
}

func TestImports(t *testing.T) {
	packages, std := listPackages(t)
	for _, rule := range importRules(std) {
		for _, finding := range rule.Findings(packages) {
			t.Error(finding)
		}
	}
}

// listPackages asks the go command for the module's packages, and which packages are the standard library's.
func listPackages(t *testing.T) (own []Package, std map[string]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard,Deps", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	std = map[string]bool{"C": true, "unsafe": true}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Standard   bool
			Deps       []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return own, std
		} else if err != nil {
			t.Fatalf("listing packages: %v", err)
		}
		if p.Standard {
			std[p.ImportPath] = true
		}
		if within(p.ImportPath, module) {
			own = append(own, Package{Path: p.ImportPath, Deps: p.Deps})
		}
	}
}

func TestSources(t *testing.T) {
	for _, s := range parseModule(t) {
		findings := slices.Concat(InitFunctions(s), LongFunctions(s), LongFile(s), PackageNames(s))
		if !ownsTheProcess(s.Path) {
			findings = append(findings, ProcessUse(s)...)
		}
		for _, finding := range findings {
			t.Error(finding)
		}
	}
}

// ownsTheProcess tells the places that read the environment, print and exit: programs, and what serves only tests
// (failpoint is empty unless built for them).
func ownsTheProcess(path string) bool {
	return slices.ContainsFunc([]string{"cmd", "internal/cli", "internal/testbed", "internal/bench",
		"internal/failpoint", "internal/agent/agenttest", "internal/conformance/mutants/cmd", "examples", "test"},
		func(dir string) bool { return within(path, dir) })
}

func parseModule(t *testing.T) []Source {
	t.Helper()
	var sources []Source
	base := root(t)
	err := filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != base && skipped(entry.Name()) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(base, path)
		sources = append(sources, Source{Path: filepath.ToSlash(relative), File: file, Set: set})
		return err
	})
	if err != nil {
		t.Fatalf("reading the module's sources: %v", err)
	}
	return sources
}

// skipped are the directories that the go command skips, and build output.
func skipped(dir string) bool {
	return strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_") || dir == "testdata" || dir == "bin"
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A rule that finds nothing in code that breaks it guards nothing.
func TestRulesFindWhatBreaksThem(t *testing.T) {
	for _, c := range []struct {
		name  string
		rule  func(Source) []string
		code  string
		finds int
	}{
		{"init", InitFunctions, "package p\nfunc init() {}\nfunc (T) init() {}\ntype T int", 1},
		{"a function of 81 lines", LongFunctions, "package p\nfunc f() {" + strings.Repeat("\n", 80) + "}", 1},
		{"a function of 80 lines", LongFunctions, "package p\nfunc f() {" + strings.Repeat("\n", 79) + "}", 0},
		{"a file of 501 lines", LongFile, "package p" + strings.Repeat("\n", 501), 1},
		{"a file of 500 lines", LongFile, "package p" + strings.Repeat("\n", 500), 0},
		{"a package of utilities", PackageNames, "package helpers", 1},
		{"the environment", ProcessUse, "package p\nimport \"os\"\nvar x = os.Getenv(\"x\")", 1},
		{"printing under another name", ProcessUse, "package p\nimport f \"fmt\"\nfunc g() { f.Println() }", 1},
		{"another package's Exit", ProcessUse, "package p\nimport \"x/os\"\nfunc g() { os.Exit() }", 0},
		{"a method of the same name", ProcessUse, "package p\nfunc g(os T) { os.Exit() }", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, "p.go", c.code, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if found := c.rule(Source{Path: "p.go", File: file, Set: set}); len(found) != c.finds {
				t.Errorf("finds %q, want %d", found, c.finds)
			}
		})
	}
}

func TestImportRulesFindWhatBreaksThem(t *testing.T) {
	std := map[string]bool{"os": true}
	for _, c := range []struct{ of, good, bad string }{
		{"hook", "os", module + "/internal/verdict"},
		{"cmd/gantry-agent", module + "/hook", "golang.org/x/sys/unix"},
		{"internal/handler", module + "/internal/engine", module + "/internal/engine/fake"},
		{"internal/job", module + "/hook", module + "/internal/agent"},
		{"internal/schedule", module + "/internal/workflow", module + "/internal/job"},
		{"internal/conformance/report", module + "/hook", module + "/internal/engine/fake"},
	} {
		count := func(dep string) (n int) {
			for _, rule := range importRules(std) {
				n += len(rule.Findings([]Package{{Path: module + "/" + c.of, Deps: []string{dep}}}))
			}
			return n
		}
		if count(c.good) != 0 || count(c.bad) != 1 {
			t.Errorf("%s: %s is found %d times, %s %d times", c.of, c.good, count(c.good), c.bad, count(c.bad))
		}
	}
}
