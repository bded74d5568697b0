package workflow_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gantry-ci/gantry/internal/workflow"
)

func load(t *testing.T, text string) (*workflow.Workflow, []workflow.Finding) {
	t.Helper()
	w, findings, err := workflow.Load(fstest.MapFS{"w.yml": {Data: []byte(text)}}, "w.yml")
	if err != nil {
		t.Fatal(err)
	}
	return w, findings
}

// loadFine is for workflows in which nothing is wrong.
func loadFine(t *testing.T, text string) *workflow.Workflow {
	t.Helper()
	w, findings := load(t, text)
	for _, f := range findings {
		t.Error(f.Render())
	}
	return w
}

// Files with mistakes: what is said, with places and the line.
func TestFindings(t *testing.T) {
	for _, file := range glob(t, "testdata/bad/*.yml") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			w, findings, err := workflow.Load(os.DirFS("testdata/bad"), filepath.Base(file))
			if err != nil || w == nil {
				t.Fatal(w, err)
			}
			var out strings.Builder
			for _, f := range findings {
				out.WriteString(f.Render())
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".out", out.String())
		})
	}
}

func TestAMissingFileIsAnError(t *testing.T) {
	if _, _, err := workflow.Load(fstest.MapFS{}, "w.yml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

// A file of a kilobyte must not become a million values.
func TestAliasesThatGrowAreRefused(t *testing.T) {
	var text strings.Builder
	text.WriteString("on: push\nx0: &x0 [a]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&text, "x%d: &x%d [*x%d, *x%d]\n", i, i, i-1, i-1)
	}
	start := time.Now()
	if _, findings := load(t, text.String()); !workflow.Blocking(findings) {
		t.Error("nothing blocks")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestDeepAndLargeFilesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"deep":  "on: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"large": "on: push # " + strings.Repeat("x", 2<<20),
	} {
		if _, findings := load(t, text); !workflow.Blocking(findings) {
			t.Errorf("%s: nothing blocks", name)
		}
	}
}

// Workflows that call two others each, ten deep, are a thousand paths and ten files.
func TestCalledWorkflowsAreReadOnce(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 9 {
		files[fmt.Sprintf("w%d.yml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil,
			"on: workflow_call\njobs:\n  a: {uses: ./w%d.yml}\n  b: {uses: ./w%d.yml}\n", i+1, i+1)}
	}
	files["w9.yml"] = &fstest.MapFile{Data: []byte("on: workflow_call\njobs: {a: {runs-on: x, steps: [{run: echo}]}}\n")}
	w, findings, err := workflow.Load(files, "w0.yml")
	if err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	if w.Jobs[0].Call.Workflow != w.Jobs[1].Call.Workflow {
		t.Error("one file became two workflows")
	}
}

func TestMoreThanTenWorkflowsDeepIsRefused(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 12 {
		files[fmt.Sprintf("w%d.yml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil,
			"on: workflow_call\njobs:\n  a: {uses: ./w%d.yml}\n", i+1)}
	}
	if _, findings, _ := workflow.Load(files, "w0.yml"); !workflow.Blocking(findings) {
		t.Error("nothing blocks")
	}
}

// The repository's own configuration of actionlint applies to warnings, and cannot hide an error.
func TestActionlintConfigurationIsHonoured(t *testing.T) {
	files := fstest.MapFS{
		".github/actionlint.yaml": {Data: []byte("paths:\n  '**':\n    ignore: ['.*']\n")},
		"w.yml":                   {Data: []byte("on: [push, pushed]\njobs: {a: {steps: [{run: echo}]}}\n")},
	}
	_, findings, err := workflow.Load(files, "w.yml")
	if err != nil || len(findings) != 1 || findings[0].Severity != workflow.Error {
		t.Errorf("findings %v, %v; want one error, that runs-on is missing", findings, err)
	}
}

func TestBrokenActionlintConfigurationIsAWarning(t *testing.T) {
	files := fstest.MapFS{
		".github/actionlint.yml": {Data: []byte("paths: 3\n")},
		"w.yml":                  {Data: []byte("on: push\njobs: {a: {runs-on: x, steps: [{run: echo}]}}\n")},
	}
	_, findings, err := workflow.Load(files, "w.yml")
	if err != nil || len(findings) != 1 || findings[0].File != ".github/actionlint.yml" || workflow.Blocking(findings) {
		t.Errorf("findings %v, %v; want one warning about the configuration", findings, err)
	}
}

// FuzzLoad: whatever is in a file, Load ends, does not panic, and says where each finding is.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{realDir + "/*.yml", "testdata/bad/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w, findings, err := workflow.Load(fstest.MapFS{"w.yml": {Data: data}}, "w.yml")
		if err != nil || w == nil {
			t.Fatal(w, err)
		}
		for _, finding := range findings {
			if finding.Message == "" || finding.Kind == "" || finding.File == "" {
				t.Errorf("%#v says too little", finding)
			}
			finding.Render()
		}
		if err := workflow.Describe(new(strings.Builder), w, workflow.Selection{}); err != nil {
			t.Error(err)
		}
		if _, findings, err := workflow.LoadAction(fstest.MapFS{"a/action.yml": {Data: data}}, "a"); err != nil {
			t.Error(findings, err)
		}
	})
}
