package config_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const (
	docsFile    = "../../docs/configuration.md"
	exampleFile = "../../examples/gantry.yaml"
)

// Every field of Config is a key with a variable, a description and an example, and every key a field.
func TestEveryFieldIsAKey(t *testing.T) {
	fields := fieldPaths(reflect.TypeFor[config.Config](), "")
	var paths []string
	variables := map[string]bool{}
	for _, k := range config.Keys() {
		paths = append(paths, k.Path)
		if variables[k.Env()] || !strings.HasPrefix(k.Env(), "GANTRY_") {
			t.Errorf("%s: the variable %s is not its own", k.Path, k.Env())
		}
		variables[k.Env()] = true
		if k.Doc == "" || k.Example == "" || !strings.HasSuffix(strings.TrimRight(k.Doc, ")"), ".") {
			t.Errorf("%s has no proper description or example", k.Path)
		}
	}
	slices.Sort(paths)
	slices.Sort(fields)
	if diff := cmp.Diff(fields, paths); diff != "" {
		t.Error(diff)
	}
}

func fieldPaths(t reflect.Type, prefix string) []string {
	var paths []string
	for f := range t.Fields() {
		path := prefix + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[config.Document]() {
			paths = append(paths, fieldPaths(f.Type, path+".")...)
			continue
		}
		paths = append(paths, path)
	}
	return paths
}

// The example of every key is accepted, changes what is in force, and is read the same from file and variable.
func TestKeyExamples(t *testing.T) {
	for _, k := range config.Keys() {
		text := k.Path + ": " + k.Example
		for path := strings.Split(k.Path, "."); len(path) > 1; path = path[:len(path)-1] {
			section := strings.Join(path[:len(path)-1], ".")
			text = section + ": {" + strings.TrimPrefix(text, section+".") + "}"
		}
		byFile := load(t, text)
		if cmp.Equal(byFile, config.Default()) {
			t.Errorf("%s: the example %s changes nothing", k.Path, k.Example)
		}
		byVariable, err := config.Load(config.Sources{Environ: []string{k.Env() + "=" + k.Example}})
		if err != nil {
			t.Errorf("%s: %v", k.Path, err)
		}
		if diff := cmp.Diff(byFile, byVariable); diff != "" {
			t.Errorf("%s: file and variable differ: %s", k.Path, diff)
		}
	}
}

func TestValidateListsAllProblemsOfAStruct(t *testing.T) {
	c := config.Default()
	c.Engine, c.Timeouts.Pull, c.Mounts = "lxc", -time.Second, []string{"/a:/b", "x"}
	c.Overrides = map[string]string{"prepare_job": "relative"}
	var keys []string
	for _, p := range c.Validate() {
		keys = append(keys, p.Key)
	}
	want := []string{"engine", "overrides.prepare_job", "mounts[1]", "timeouts.pull"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
	if all := config.Default().Validate(); len(all) > 0 {
		t.Errorf("the defaults have problems: %v", all)
	}
}

// What `gantry config` prints is a gantry.yaml that means the same.
func TestEffectiveReadsBack(t *testing.T) {
	roundTrip(t, config.Default())
	roundTrip(t, load(t, read(t, exampleFile)))
}

// The example file is valid and shows every key.
func TestExampleFile(t *testing.T) {
	text := read(t, exampleFile)
	load(t, text)
	for _, k := range config.Keys() {
		for name := range strings.SplitSeq(k.Path, ".") {
			if !strings.Contains(text, name+":") {
				t.Errorf("%s does not show %s", exampleFile, k.Path)
			}
		}
	}
}

func TestDocumentation(t *testing.T) {
	have := read(t, docsFile)
	want := replaceRegion(t, have, "keys", keysTable())
	want = replaceRegion(t, want, "problems", "```\n"+someProblems(t)+"```\n")
	want = replaceRegion(t, want, "example", "```yaml\n"+read(t, exampleFile)+"```\n")
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s is not up to date: go test ./internal/config -update\n%s", docsFile, diff)
	}
}

// someProblems shows what a file and a variable with mistakes give.
func someProblems(t *testing.T) string {
	path := write(t, "engine: podman\ntime_outs:\n  pull: 5m\nlimits:\n  memory: 2 GB\n")
	all := problems(t, config.Sources{Flag: path, Environ: []string{"GANTRY_PULL=allways"}})
	return strings.ReplaceAll(all.Error(), path, "/etc/gantry/gantry.yaml") + "\n"
}

func keysTable() string {
	var b strings.Builder
	for _, k := range config.Keys() {
		def := "none"
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n", k.Path, k.Doc)
		variables := "variable `" + k.Env() + "`"
		if k.Official() != "" {
			variables += " or that of GitHub's hook, `" + k.Official() + "`"
		}
		fmt.Fprintf(&b, "%s, default %s, %s, for example `%s: %s`\n\n", k.Type(), def, variables,
			k.Path[strings.LastIndexByte(k.Path, '.')+1:], k.Example)
	}
	return b.String()
}

// replaceRegion puts text between <!-- name --> and <!-- /name -->.
func replaceRegion(t *testing.T, document, name, text string) string {
	t.Helper()
	open, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
	before, rest, ok := strings.Cut(document, open)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no region %q", docsFile, name)
	}
	return before + open + text + end + after
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
