package workflow_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/gantry-ci/gantry/internal/workflow"
)

func loadAction(t *testing.T, files map[string]string) (*workflow.Action, []workflow.Finding) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	action, findings, err := workflow.LoadAction(fsys, "a")
	if err != nil {
		t.Fatal(err)
	}
	return action, findings
}

func realAction(t *testing.T, name string) *workflow.Action {
	t.Helper()
	action, findings, err := workflow.LoadAction(os.DirFS(realDir), ".github/actions/"+name)
	if err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	return action
}

func TestNodeAction(t *testing.T) {
	action := realAction(t, "lint-node")
	node := action.Node
	if node == nil || node.Using != "node20" || node.Pre != "setup.js" || node.Main != "index.js" || node.Post != "cleanup.js" {
		t.Fatalf("node action %+v", node)
	}
	if node.PreIf.Raw != "runner.os == 'Linux'" || node.PostIf.Raw != "success() || failure()" {
		t.Errorf("conditions %q, %q", node.PreIf.Raw, node.PostIf.Raw)
	}
	warnings, ok := action.Input("Max Warnings")
	if !ok || warnings.Default.Text.Raw != "10" {
		t.Errorf("input %+v, %v", warnings, ok)
	}
	if files, _ := action.Input("files"); !files.Required || files.Default.Text.Written() {
		t.Errorf("input %+v", files)
	}
}

func TestDockerAction(t *testing.T) {
	docker := realAction(t, "greet-docker").Docker
	if docker == nil || docker.Dockerfile != "Dockerfile" || docker.Image != "" {
		t.Fatalf("docker action %+v", docker)
	}
	if docker.PreEntrypoint != "/before.sh" || docker.Entrypoint != "/greet.sh" || docker.PostEntrypoint != "/after.sh" {
		t.Errorf("entry points %+v", docker)
	}
	if len(docker.Args) != 2 || docker.Args[1].Raw != "${{ inputs.who }}" || len(docker.Env) != 1 {
		t.Errorf("args %+v, env %+v", docker.Args, docker.Env)
	}
	if image := realAction(t, "image-action").Docker; image.Image != "alpine:3" || image.Dockerfile != "" {
		t.Errorf("docker action %+v", image)
	}
}

func TestCompositeAction(t *testing.T) {
	action := realAction(t, "setup")
	if len(action.Composite) != 3 || action.Composite[0].ID != "find" || action.Composite[2].If.Raw != "inputs.cache == 'true'" {
		t.Fatalf("steps %+v", action.Composite)
	}
	if len(action.Outputs) != 1 || action.Outputs[0].Value.Raw != "${{ steps.find.outputs.path }}" {
		t.Errorf("outputs %+v", action.Outputs)
	}
	if old, _ := action.Input("old-name"); old.Deprecated != "use version" {
		t.Errorf("input %+v", old)
	}
	if nested := realAction(t, "nested"); nested.File != ".github/actions/nested/action.yaml" ||
		nested.Composite[0].Uses.Path != ".github/actions/setup" {
		t.Errorf("action %+v", nested)
	}
}

// An action without args takes the input args of the step; one with empty args takes none.
func TestNoArgsAreNotEmptyArgs(t *testing.T) {
	const head = "name: x\nruns:\n  using: Docker\n  image: DOCKER://Alpine\n"
	if a, _ := loadAction(t, map[string]string{"a/action.yml": head}); a.Docker.Args != nil || a.Docker.Image != "Alpine" {
		t.Errorf("docker action %+v, want no args", a.Docker)
	}
	if a, _ := loadAction(t, map[string]string{"a/action.yml": head + "  args: []\n"}); a.Docker.Args == nil {
		t.Error("empty args are as if there were none")
	}
}

func TestWhereActionsAreLookedFor(t *testing.T) {
	const composite = "runs: {using: composite, steps: []}"
	for want, files := range map[string]map[string]string{
		"a/action.yml":  {"a/action.yml": composite, "a/action.yaml": composite, "a/Dockerfile": ""},
		"a/action.yaml": {"a/action.yaml": composite, "a/Dockerfile": ""},
		"a/Dockerfile":  {"a/Dockerfile": "", "a/dockerfile": ""},
		"a/dockerfile":  {"a/dockerfile": ""},
	} {
		if action, findings := loadAction(t, files); action.File != want || len(findings) > 0 || action.Dir != "a" {
			t.Errorf("%q in %q, %v; want %q", action.File, action.Dir, findings, want)
		}
	}
	if _, _, err := workflow.LoadAction(fstest.MapFS{"b/action.yml": {}}, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestActionMistakes(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                  "",
		"no YAML":                "a: [",
		"no runs":                "name: x",
		"no using":               "runs: {main: x.js}",
		"unknown using":          "runs: {using: node8, main: x.js}",
		"node without main":      "runs: {using: node24}",
		"docker without image":   "runs: {using: docker}",
		"docker without kind":    "runs: {using: docker, image: alpine}",
		"composite, no steps":    "runs: {using: composite}",
		"composite, no shell":    "runs: {using: composite, steps: [{run: echo}]}",
		"composite, two ids":     "runs: {using: composite, steps: [{id: a, run: echo, shell: sh}, {id: A, run: echo, shell: sh}]}",
		"composite, bad id":      "runs: {using: composite, steps: [{id: 1a, run: echo, shell: sh}]}",
		"composite, background":  "runs: {using: composite, steps: [{run: echo, shell: sh, background: true}]}",
		"composite, timeout":     "runs: {using: composite, steps: [{run: echo, shell: sh, timeout-minutes: 1}]}",
		"composite, waiting":     "runs: {using: composite, steps: [{wait-all: }]}",
		"composite, unknown key": "runs: {using: composite, steps: [{run: echo, shell: sh, with: {a: b}}]}",
		"composite, secrets":     "runs: {using: composite, steps: [{run: 'echo ${{ secrets.X }}', shell: sh}]}",
		"status in a value":      "runs: {using: composite, steps: [{run: 'echo ${{ success() }}', shell: sh}]}",
		"default, syntax":        "inputs: {a: {default: '${{ github. }}'}}\nruns: {using: node24, main: x.js}",
		"args are text":          "runs: {using: docker, image: Dockerfile, args: a b}",
	} {
		t.Run(name, func(t *testing.T) {
			_, findings := loadAction(t, map[string]string{"a/action.yml": text})
			if !workflow.Blocking(findings) {
				t.Fatal("nothing blocks")
			}
			if f := findings[0]; !f.Pos.IsValid() || f.File != "a/action.yml" {
				t.Errorf("%s has no place", f)
			}
		})
	}
}

func TestDockerfileNames(t *testing.T) {
	for image, isFile := range map[string]bool{
		"Dockerfile": true, "build/Dockerfile.prod": true, "prod.dockerfile": true, "dockerfile": true,
		"Dockerfiles": false, "alpine:3": false, "docker://Dockerfile": false,
	} {
		action, _ := loadAction(t, map[string]string{"a/action.yml": "runs: {using: docker, image: '" + image + "'}"})
		if got := action.Docker.Dockerfile != ""; got != isFile {
			t.Errorf("%s is a Dockerfile: %v, want %v", image, got, isFile)
		}
	}
}
