package workflow_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/workflow"
)

const realDir = "testdata/real"

// Workflows as people write them: nothing in them blocks, and their plan is what it was.
func TestRealWorkflows(t *testing.T) {
	files := glob(t, realDir+"/*.yml")
	if len(files) < 25 {
		t.Errorf("%d workflows, at least 25 are promised", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			w, findings, err := workflow.Load(os.DirFS(realDir), filepath.Base(file))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, f := range findings {
				if f.Severity == workflow.Error {
					t.Errorf("blocks: %s", f.Render())
				}
				out.WriteString(f.String() + "\n")
			}
			if err := workflow.Describe(&out, w, workflow.Selection{}); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".out", out.String())
			checkHeader(t, w, file)
		})
	}
}

// checkHeader looks at what a test of the real run needs: an outcome to compare with, and an image for each image.
func checkHeader(t *testing.T, w *workflow.Workflow, file string) {
	t.Helper()
	outcome := strings.Split(readFile(t, strings.TrimSuffix(file, ".yml")+".outcome"), "\n")
	if !slices.Contains([]string{"success", "failure"}, outcome[0]) || len(outcome) < 4 {
		t.Errorf("it has no outcome: %q", outcome)
	}
	text := readFile(t, file)
	images := headerNames(text, "images")
	for _, image := range literalImages(w) {
		if !slices.Contains(images, image) {
			t.Errorf("nothing stands in for the image %q", image)
		}
	}
}

func headerNames(text, key string) []string {
	var names []string
	for line := range strings.Lines(text) {
		if values, ok := strings.CutPrefix(line, "# "+key+": "); ok {
			for _, pair := range strings.Fields(values) {
				name, _, _ := strings.Cut(pair, "=")
				names = append(names, name)
			}
		}
	}
	return names
}

func literalImages(w *workflow.Workflow) []string {
	var all []string
	add := func(c *workflow.Container) {
		if c != nil && c.Image.Raw != "" && !c.Image.HasExpr() {
			all = append(all, c.Image.Raw)
		}
	}
	for _, job := range w.Jobs {
		add(job.Container)
		for _, s := range job.Services.List {
			add(s.Container)
		}
		for _, step := range job.Steps {
			if step.Uses != nil && step.Uses.Kind == workflow.DockerImage {
				all = append(all, step.Uses.Image)
			}
		}
	}
	return all
}

// The actions of the real workflows are right too.
func TestRealActions(t *testing.T) {
	dirs := glob(t, realDir+"/.github/actions/*")
	dirs = append(dirs, glob(t, realDir+"/standins/actions/*/*/*")...)
	for _, dir := range dirs {
		action, findings, err := workflow.LoadAction(os.DirFS(realDir), strings.TrimPrefix(dir, realDir+"/"))
		if err != nil || action.Name == "" {
			t.Errorf("%s: %v", dir, err)
		}
		for _, f := range findings {
			t.Errorf("%s", f)
		}
	}
}
