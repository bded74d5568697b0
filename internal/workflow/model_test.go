package workflow_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

func jobOf(t *testing.T, text string) *workflow.Job {
	t.Helper()
	w := loadFine(t, "on: push\njobs:\n  a:\n    runs-on: x\n    "+strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")+"\n")
	return w.Jobs[0]
}

// Env, services and matrix rows keep the order of the file, which a map would lose.
func TestOrderOfTheFileIsKept(t *testing.T) {
	job := jobOf(t, `
env: {Z: 1, B: 2, A: 3}
services: {zebra: {image: z}, ant: {image: a}}
steps: [{run: echo}]`)
	var names []string
	for _, v := range job.Env.List {
		names = append(names, v.Name)
	}
	for _, s := range job.Services.List {
		names = append(names, s.ID)
	}
	if want := []string{"Z", "B", "A", "zebra", "ant"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
}

func TestContainerKeys(t *testing.T) {
	job := jobOf(t, `
container:
  image: node:22
  credentials: {username: "${{ github.actor }}", password: "${{ secrets.P }}"}
  env: {A: b}
  ports: [80, "8080:80/tcp"]
  volumes: ["data:/data", /cache]
  options: --cpus 1
services:
  db: {image: postgres, volumes: [/var/lib], entrypoint: /run.sh, command: a b}
steps: [{run: echo}]`)
	c := job.Container
	if c.Image.Raw != "node:22" || c.Credentials.Password.Raw != "${{ secrets.P }}" || c.Options.Raw != "--cpus 1" {
		t.Errorf("container %+v", c)
	}
	if len(c.Ports) != 2 || c.Ports[0].Raw != "80" || len(c.Volumes) != 2 || c.Volumes[0].Raw != "data:/data" {
		t.Errorf("ports %+v, volumes %+v", c.Ports, c.Volumes)
	}
	db := job.Services.List[0].Container
	if len(db.Volumes) != 1 || db.Entrypoint.Raw != "/run.sh" || db.Command.Raw != "a b" {
		t.Errorf("service %+v", db)
	}
}

// What a scalar is worth is what GitHub makes of it, which is not always what is written.
func TestScalars(t *testing.T) {
	for written, want := range map[string]string{
		"3.10": "3.1", "'3.10'": "3.10", "007": "7", "0x1F": "31", "0o17": "15", "1e3": "1000", "1_000": "1_000",
		"True": "true", "yes": "yes", "on": "on", "~": "", "null": "", "''": "", ".inf": "Infinity", "-.INF": "-Infinity",
		".NaN": "NaN", "1.": "1", "+1": "1", "0b1": "0b1", "2024-01-02": "2024-01-02", "12:30": "12:30",
		"!!str 3.10": "3.10", "123456789012345678": "1.23456789012346E+17", "1e400": "1e400",
	} {
		job := jobOf(t, "env: {A: "+written+"}\nsteps: [{run: echo}]")
		if got := job.Env.List[0].Value.Raw; got != want {
			t.Errorf("%s is %q, want %q", written, got, want)
		}
	}
}

func TestFlagsAndNumbers(t *testing.T) {
	job := jobOf(t, `
timeout-minutes: 2.5
continue-on-error: ${{ github.ref == 'x' }}
strategy: {fail-fast: false, max-parallel: 2}
steps: [{run: echo, timeout-minutes: "${{ fromJSON('3') }}", continue-on-error: true}]`)
	step := job.Steps[0]
	if job.TimeoutMinutes.Value != 2.5 || !job.ContinueOnError.Text.HasExpr() || step.TimeoutMinutes.Value != 0 {
		t.Errorf("job %+v", job)
	}
	if f := job.Strategy.FailFast; !f.Text.Written() || f.Value || job.Strategy.MaxParallel.Value != 2 {
		t.Errorf("strategy %+v", job.Strategy)
	}
	if !step.TimeoutMinutes.Text.HasExpr() || !step.ContinueOnError.Value {
		t.Errorf("step %+v", step)
	}
}

func TestUses(t *testing.T) {
	type ref struct {
		kind                            workflow.UsesKind
		path, image, owner, repo, atRef string
	}
	for uses, want := range map[string]ref{
		"./":                       {kind: workflow.LocalAction, path: "."},
		"./.github/actions/a/":     {kind: workflow.LocalAction, path: ".github/actions/a"},
		"docker://alpine:3.20":     {kind: workflow.DockerImage, image: "alpine:3.20"},
		"actions/checkout@v4":      {kind: workflow.RepositoryAction, owner: "actions", repo: "checkout", atRef: "v4"},
		"o/r/deep/path@feature/x":  {kind: workflow.RepositoryAction, owner: "o", repo: "r", path: "deep/path", atRef: "feature/x"},
		"docker://ghcr.io/o/i@sha": {kind: workflow.DockerImage, image: "ghcr.io/o/i@sha"},
	} {
		u := jobOf(t, "steps: [{uses: '"+uses+"'}]").Steps[0].Uses
		got := ref{u.Kind, u.Path, u.Image, u.Owner, u.Repo, u.Ref}
		if got != want {
			t.Errorf("%s is %+v, want %+v", uses, got, want)
		}
	}
}

func TestStepNamesAreGitHubs(t *testing.T) {
	job := jobOf(t, `
steps:
  - run: echo
  - {id: build, run: echo}
  - run: echo
  - uses: actions/checkout@v4
  - uses: actions/checkout@v4
  - uses: ./here
  - uses: docker://alpine:3
  - parallel: [{run: echo}, {id: x, run: echo}]
  - {id: bg, run: echo, background: true}
  - wait: bg
  - wait-all:`)
	var got []string
	for _, step := range job.Steps {
		for _, s := range append([]*workflow.Step{step}, step.Parallel...) {
			if s.ContextName != "" {
				got = append(got, s.ContextName)
			}
		}
	}
	want := []string{"__run", "build", "__run_2", "__actions_checkout", "__actions_checkout_2", "__self", "__alpine_3",
		"__run_3", "x", "bg", "__wait", "__wait-all"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlacesInTexts(t *testing.T) {
	text := `on: push
jobs:
  a:
    runs-on: x
    name: "quoted HERE"
    steps:
      - run: plain HERE
      - run: |
          one
            two HERE
      - run: >-
          folded
          HERE
      - {run: 'single HERE'}
`
	w := loadFine(t, text)
	texts := []workflow.Text{w.Jobs[0].Name}
	for _, step := range w.Jobs[0].Steps {
		texts = append(texts, step.Run.Script)
	}
	want := []workflow.Pos{{5, 19}, {7, 20}, {10, 17}, {11, 14}, {14, 23}}
	for i, text := range texts {
		if got := text.At(strings.Index(text.Raw, "HERE")); got != want[i] {
			t.Errorf("%q: %v, want %v", text.Raw, got, want[i])
		}
	}
}

func TestCallKeepsTypes(t *testing.T) {
	w, _ := load(t, "on: push\njobs:\n  a:\n    uses: ./x.yml\n    with: {s: text, n: 3, b: true, e: '${{ github.ref }}'}\n    secrets: {T: '${{ secrets.T }}'}\n")
	call := w.Jobs[0].Call
	var got []expr.Value
	for _, argument := range call.With {
		got = append(got, argument.Value.Value)
	}
	if diff := cmp.Diff([]expr.Value{"text", float64(3), true, "${{ github.ref }}"}, got); diff != "" {
		t.Error(diff)
	}
	if call.Path != "x.yml" || len(call.Secrets) != 1 || call.Inherit {
		t.Errorf("call %+v", call)
	}
}

// What is ignored is said, with its place.
func TestIgnoredKeys(t *testing.T) {
	w := loadFine(t, `on: push
description: what it is for
permissions: read-all
concurrency: {group: x, queue: max}
jobs:
  a:
    runs-on: x
    environment: prod
    permissions: {}
    concurrency: y
    cancel-timeout-minutes: 3
    snapshot: image
    steps: [{run: echo}]
`)
	var got []string
	for _, note := range w.Ignored {
		got = append(got, note.Job+"."+note.Key)
		if !note.Pos.IsValid() || note.File != "w.yml" {
			t.Errorf("note %+v has no place", note)
		}
	}
	want := []string{".permissions", ".concurrency", "a.environment", "a.permissions", "a.concurrency",
		"a.cancel-timeout-minutes", "a.snapshot"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
