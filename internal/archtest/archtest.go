// Package archtest holds the rules that keep the project's shape, as tests. A rule is a function from source code
// to findings; each has its reason beside it.
package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// Limits of size. What does not fit does more than one thing.
const (
	maxFuncLines = 80
	maxFileLines = 500
)

// Package is what the rules about imports look at.
type Package struct {
	Path string
	Deps []string // everything it links, itself not included
}

// ImportRule says what the packages at Of (a path, with everything below it) may link.
type ImportRule struct {
	Of      string
	Why     string
	Allowed func(dep string) bool
}

// Findings names every dependency of the packages that the rule is about and does not allow.
func (r ImportRule) Findings(packages []Package) []string {
	var findings []string
	for _, p := range packages {
		if !within(p.Path, r.Of) {
			continue
		}
		for _, dep := range p.Deps {
			if !r.Allowed(dep) {
				findings = append(findings, fmt.Sprintf("%s links %s: %s", p.Path, dep, r.Why))
			}
		}
	}
	return findings
}

func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// Source is one parsed file that is no test.
type Source struct {
	Path string // below the module's root
	File *ast.File
	Set  *token.FileSet
}

func (s Source) finding(at token.Pos, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.Path, s.Set.Position(at).Line, fmt.Sprintf(format, args...))
}

// InitFunctions finds func init: what a program does begins in main, where a reader looks for it.
func InitFunctions(s Source) []string {
	var findings []string
	for _, decl := range s.File.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			findings = append(findings, s.finding(f.Pos(), "func init"))
		}
	}
	return findings
}

// LongFunctions finds functions above the limit.
func LongFunctions(s Source) []string {
	var findings []string
	for _, decl := range s.File.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := s.Set.Position(f.End()).Line - s.Set.Position(f.Pos()).Line + 1
		if lines > maxFuncLines {
			findings = append(findings, s.finding(f.Pos(), "%s has %d lines, at most %d", f.Name.Name, lines, maxFuncLines))
		}
	}
	return findings
}

// LongFile finds a file above the limit.
func LongFile(s Source) []string {
	lines := s.Set.File(s.File.Pos()).LineCount()
	if lines <= maxFileLines {
		return nil
	}
	return []string{s.finding(s.File.Pos(), "%d lines, at most %d", lines, maxFileLines)}
}

// PackageNames finds packages that are named for nothing that they provide.
func PackageNames(s Source) []string {
	if !slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc"}, s.File.Name.Name) {
		return nil
	}
	return []string{s.finding(s.File.Pos(), "package %s says nothing about what it provides", s.File.Name.Name)}
}

// process lists, by import path, what belongs to the process as a whole: its environment, streams, end.
func process() map[string][]string {
	return map[string][]string{
		"os": {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Exit", "Args",
			"Stdin", "Stdout", "Stderr"},
		"fmt": {"Print", "Printf", "Println"},
		"log": {"Fatal", "Fatalf", "Fatalln", "Print", "Printf", "Println", "Panic", "Panicf", "Panicln"},
	}
}

// ProcessUse finds the use of the process' environment, streams and end. Below cmd and the command line, these are
// arguments: so everything can be tested without a process, and one place prints and exits.
func ProcessUse(s Source) []string {
	names := importNames(s.File)
	var findings []string
	ast.Inspect(s.File, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && slices.Contains(process()[names[x.Name]], selector.Sel.Name) {
			findings = append(findings, s.finding(n.Pos(), "%s.%s is for cmd and internal/cli", x.Name, selector.Sel.Name))
		}
		return true
	})
	return findings
}

// importNames maps the names of a file's imports to their paths.
func importNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has seen it
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}
