package docstest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/cli"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// help is what gantry says about a command; not ok if there is no such command.
func help(t *testing.T, words []string) (text string, ok bool) {
	t.Helper()
	var out bytes.Buffer
	code := cli.Main(context.Background(), &cli.Process{
		Args: append(slices.Clone(words), "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Environ: []string{"HOME=/home/x"}, Executable: "/opt/gantry/gantry", Version: "test", Now: time.Now,
	})
	usage := "  " + strings.Join(append([]string{"gantry"}, words...), " ")
	for line := range strings.Lines(out.String()) {
		rest, found := strings.CutPrefix(strings.TrimRight(line, "\n"), usage)
		if found && (rest == "" || rest[0] == ' ') {
			return out.String(), code == 0
		}
	}
	return out.String(), false
}

// callOf finds calls of gantry: the words of the command, and the rest of the line.
var callOf = regexp.MustCompile(`(?m)(?:^|[\s/;|(])gantry((?: [a-z]+)*)((?: [^\n|;&)]*)?)`)

var longFlag = regexp.MustCompile(`--[a-z][a-z-]*`)

// checkCalls looks up the commands and flags of all calls in a text.
func checkCalls(t *testing.T, where, text string) (calls int) {
	t.Helper()
	for _, m := range callOf.FindAllStringSubmatch(text, -1) {
		words, rest := strings.Fields(m[1]), m[2]
		if len(words) == 0 && !strings.HasPrefix(strings.TrimSpace(rest), "--") || "gantry "+strings.Join(words, " ") == string(verdict.Bug) {
			continue // the word, not a call
		}
		calls++
		if len(words) > 1 {
			words = words[:1] // no command has commands of its own; what follows are arguments
		}
		help, ok := help(t, words)
		if !ok {
			t.Errorf("%s: there is no command gantry %s", where, strings.Join(words, " "))
			continue
		}
		for _, flag := range longFlag.FindAllString(rest, -1) {
			if !regexp.MustCompile(regexp.QuoteMeta(flag)+`\b`).MatchString(help) && flag != "--config" && flag != "--help" {
				t.Errorf("%s: gantry %s has no flag %s", where, strings.Join(words, " "), flag)
			}
		}
	}
	return calls
}

func TestCommandsAndFlagsExist(t *testing.T) {
	calls := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang == "sh" {
				calls += checkCalls(t, p.path, b.text)
			}
		}
		for _, code := range p.inlineCode() {
			calls += checkCalls(t, p.path, code)
		}
	}
	t.Logf("%d calls of gantry looked up", calls)
	if calls == 0 {
		t.Error("none found: does the pattern still fit?")
	}
}

// Every command for people is on the pages.
func TestCommandsAreDocumented(t *testing.T) {
	text, _ := help(t, nil)
	all := ""
	for _, p := range pages(t) {
		all += p.text
	}
	_, list, _ := strings.Cut(text, "Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		if name != "hook" && name != "help" && !strings.Contains(all, "gantry "+name) {
			t.Errorf("no page tells of gantry %s", name)
		}
	}
}

// Keys of gantry.yaml and variables that prose names exist.
func TestKeysAndVariablesExist(t *testing.T) {
	paths, sections := map[string]bool{}, map[string]bool{}
	variables := map[string]bool{"GANTRY_CONFIG": true}
	for _, k := range config.Keys() {
		paths[k.Path], variables[k.Env()] = true, true
		if section, _, ok := strings.Cut(k.Path, "."); ok {
			sections[section] = true
		}
	}
	dotted := regexp.MustCompile(`^([a-z_]+)(?:\.[a-z_]+)+$`)
	variable := regexp.MustCompile(`GANTRY_[A-Z_]+`)
	for _, p := range pages(t) {
		for _, code := range p.inlineCode() {
			if m := dotted.FindStringSubmatch(code); m != nil && sections[m[1]] && !paths[code] {
				t.Errorf("%s: there is no key %s", p.path, code)
			}
		}
		for _, name := range variable.FindAllString(p.text, -1) {
			if !variables[name] && !strings.HasPrefix(name, "GANTRY_TEST_") && name != "GANTRY_" {
				t.Errorf("%s: there is no variable %s", p.path, name)
			}
		}
	}
}

// Errors on the pages begin with a verdict that exists.
func TestVerdictsExist(t *testing.T) {
	known := []verdict.Whose{verdict.Workflow, verdict.Configuration, verdict.Infrastructure, verdict.Bug}
	pattern := regexp.MustCompile(`(?m)^gantry: ([a-z ]+): `)
	for _, b := range blocks(t, "text") {
		for _, m := range pattern.FindAllStringSubmatch(b.text, -1) {
			if !slices.Contains(known, verdict.Whose(m[1])) {
				t.Errorf("%s:%d: there is no verdict %q", b.page, b.line, m[1])
			}
		}
	}
}

// Codes of the doctor that pages name exist. (That docs/doctor.md has all of them is a test of the doctor's.)
func TestTheDoctorsCodesExist(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "internal/doctor/doctor.go"))
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`\bG\d{3}\b`)
	exist := code.FindAllString(string(source), -1)
	named := 0
	for _, p := range pages(t) {
		for _, found := range code.FindAllString(p.text, -1) {
			named++
			if !slices.Contains(exist, found) {
				t.Errorf("%s: the doctor has no code %s", p.path, found)
			}
		}
	}
	if named == 0 {
		t.Error("no page names a code")
	}
}

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?m)(?:^|\x60)make ([a-z]+)`)
	for _, p := range pages(t) {
		for _, m := range call.FindAllStringSubmatch(p.text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no make %s", p.path, m[1])
			}
		}
	}
}

var update = flag.Bool("update", false, "copy the figures of docs/performance.md into README.md")

// README shows the figures that `make bench` has written, and no others.
func TestReadmesFigures(t *testing.T) {
	section := regexp.MustCompile(`(?s)<!-- performance -->\n(.*?)<!-- /performance -->`)
	readme, errReadme := os.ReadFile(filepath.Join(root, "README.md"))
	made, errMade := os.ReadFile(filepath.Join(root, "docs/performance.md"))
	if err := errors.Join(errReadme, errMade); err != nil {
		t.Fatal(err)
	}
	want, got := section.Find(made), section.Find(readme)
	switch {
	case want == nil || got == nil:
		t.Fatal("README.md and docs/performance.md have the figures between <!-- performance --> and <!-- /performance -->")
	case bytes.Equal(want, got):
	case *update:
		if err := os.WriteFile(filepath.Join(root, "README.md"), bytes.Replace(readme, got, want, 1), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("README's figures are not those of docs/performance.md: go test ./internal/docstest -run Figures -update")
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links between pages lead to files that are there, and to headings in them.
func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			checkLink(t, all, p, m[1])
		}
	}
}

func checkLink(t *testing.T, all []page, from page, target string) {
	t.Helper()
	file, anchor, _ := strings.Cut(target, "#")
	path := from.path
	if file != "" {
		path = filepath.Join(filepath.Dir(from.path), file)
	}
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		t.Errorf("%s links to %s: %v", from.path, target, err)
		return
	}
	if anchor == "" {
		return
	}
	i := slices.IndexFunc(all, func(p page) bool { return p.path == path })
	if i < 0 || !slices.Contains(anchors(all[i]), anchor) {
		t.Errorf("%s links to %s: no such heading", from.path, target)
	}
}

// anchors are the names that GitHub gives to headings.
func anchors(p page) []string {
	var names []string
	for line := range strings.Lines(p.prose) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(title))
		name = regexp.MustCompile(`[^\pL\pN_ -]`).ReplaceAllString(name, "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// Files in the project's folder that prose names in code quotes exist: `internal/archtest`, `docs/podman.md`.
func TestPathsExist(t *testing.T) {
	top := regexp.MustCompile(`^(internal|docs|examples|cmd|hook|bin|\.ci)/[\w./-]+$`)
	for _, p := range pages(t) {
		for _, code := range p.inlineCode() {
			if !top.MatchString(code) || strings.HasPrefix(code, "bin/") {
				continue
			}
			if _, err := fs.Stat(os.DirFS(root), strings.TrimSuffix(code, "/")); err != nil {
				t.Errorf("%s names %s: %v", p.path, code, err)
			}
		}
	}
}
