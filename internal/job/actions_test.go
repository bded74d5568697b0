package job_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

// source makes the folder that stands for the repository.
func (b *bench) source(files map[string]string) {
	b.t.Helper()
	b.opts.Source = b.t.TempDir()
	for name, text := range files {
		write(b.t, filepath.Join(b.opts.Source, name), dedent(text))
	}
}

func TestCompositeActions(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    outputs: {greeting: "${{ steps.greet.outputs.greeting }}"}
		    steps:
		      - uses: actions/checkout@v4
		      - id: greet
		        uses: ./act/greet
		        env: {FROM: outside, WHO: step}
		        with: {who: you}
		      - run: echo "after $ADDED-$FROM-"
		      - id: bad
		        uses: ./act/bad
		        continue-on-error: true
		      - run: echo "${{ steps.bad.outcome }} ${{ steps.bad.conclusion }}"
	`)
	b.source(map[string]string{
		"act/greet/action.yml": `
			name: greet
			inputs: {who: {}, how: {default: "hello ${{ github.job }}"}}
			outputs: {greeting: {value: "${{ steps.say.outputs.text }}"}}
			runs:
			  using: composite
			  steps:
			    - id: say
			      shell: sh
			      env: {WHO: inner}
			      run: |
			        echo "text=${{ inputs.how }} ${{ inputs.who }} $FROM $WHO" >> "$GITHUB_OUTPUT"
			        echo "ADDED=yes" >> "$GITHUB_ENV"
			        cat "$GITHUB_ACTION_PATH/file"
			    - uses: ./act/inner
			      with: {x: "${{ steps.say.outputs.text }}"}
		`,
		"act/greet/file": "beside the action\n",
		"act/inner/action.yml": `
			name: inner
			inputs: {x: {}}
			runs: {using: composite, steps: [{shell: sh, run: "echo \"inner ${{ inputs.x }} $ADDED\""}]}
		`,
		"act/bad/action.yml": `
			name: bad
			runs:
			  using: composite
			  steps:
			    - {shell: sh, run: exit 5}
			    - {shell: sh, run: echo skipped}
			    - {shell: sh, run: echo on failure, if: failure()}
		`,
	})
	outcome := b.run(jobevent.Success)
	if got := outcome.Outputs["greeting"]; got != "hello build you outside inner" {
		t.Errorf("greeting %q", got)
	}
	b.has("beside the action", "inner hello build you outside inner yes", "after yes--", "on failure", "failure success")
	if slices.Contains(strings.Split(b.log(), "\n"), "skipped") {
		t.Error("a step of the action ran after a failure")
	}
}

// fakeNode is a node that is a shell: its scripts are shell scripts.
func (b *bench) fakeNode() {
	program, err := exec.LookPath("sh")
	if err != nil {
		b.t.Skip("no sh")
	}
	b.opts.Node = func(string) (string, bool) { return program, true }
}

func TestPreAndPostSteps(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {name: first, run: echo first}
		      - {uses: o/one@v1, with: {id: "1"}}
		      - {uses: o/two@v1}
		      - {uses: o/nested@v1}
		      - {name: last, run: exit 1}
	`)
	b.fakeNode()
	b.opts.ActionsDir = t.TempDir()
	script := "echo \"$INPUT_ID %s $STATE_n\"; echo \"n=${STATE_n}%s\" >> \"$GITHUB_STATE\""
	for _, name := range []string{"one", "two"} {
		dir := filepath.Join(b.opts.ActionsDir, "o", name, "v1")
		write(t, dir+"/action.yml", "name: "+name+"\ninputs: {id: {default: "+name+"}}\n"+
			"runs: {using: node20, pre: pre.js, main: main.js, post: post.js, post-if: \""+
			map[string]string{"one": "always()", "two": "success()"}[name]+"\"}")
		for _, stage := range []string{"pre", "main", "post"} {
			write(t, dir+"/"+stage+".js", strings.ReplaceAll(script, "%s", stage))
		}
	}
	write(t, filepath.Join(b.opts.ActionsDir, "o/nested@v1/action.yml"), dedent(`
		name: nested
		runs:
		  using: composite
		  steps:
		    - {uses: o/one@v1, with: {id: inner}}
		    - {shell: sh, run: echo between}
	`))
	b.run(jobevent.Failure)
	b.ends("Pre Run o/one@v1: success", "Pre Run o/two@v1: success", "Pre Run o/nested@v1: success", "first: success",
		"Run o/one@v1: success", "Run o/two@v1: success", "Run o/nested@v1: success", "last: failure",
		"Post Run o/nested@v1: success", "Post Run o/two@v1: skipped", "Post Run o/one@v1: success")
	b.has("1 pre ", "1 main pre", "1 post premain", "inner pre ", "inner main pre", "inner post premain", "two main pre")
}

func TestJavaScriptActionsInAContainerUseTheRunnersNode(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine
		    steps: [{uses: o/one@v1}]
	`)
	b.fakeNode()
	b.opts.ActionsDir = t.TempDir()
	write(t, b.opts.ActionsDir+"/o/one@v1/action.yml", "name: one\nruns: {using: node24, main: dist/main.js}")
	write(t, b.opts.ActionsDir+"/o/one@v1/dist/main.js", "")
	b.on(hook.PrepareJob, instruction{Response: `{"isAlpine":true}`})
	b.on(hook.RunScriptStep, instruction{Response: `{}`})
	b.run(jobevent.Success)
	args, err := hook.DecodeScriptStep(b.calls()[1].Args)
	if err != nil {
		t.Fatal(err)
	}
	if args.EntryPoint != "/__e/node24_alpine/bin/node" || !slices.Equal(args.EntryPointArgs, []string{"/__w/_actions/o/one/v1/dist/main.js"}) {
		t.Errorf("%s %q", args.EntryPoint, args.EntryPointArgs)
	}
	if _, err := os.Stat(filepath.Join(b.opts.Root, "build/externals/node24_alpine/bin/node")); err != nil {
		t.Error(err)
	}
}

func TestTheVersionOfNode(t *testing.T) {
	for name, c := range map[string]struct{ using, env, environ, entry, args string }{
		"as asked":              {"node20", "", "", "node20", ""},
		"an old one":            {"node16", "", "", "node20", ""},
		"forced by a workflow":  {"node20", "true", "", "node24", ""},
		"forced by the runner":  {"node20", "", "FORCE_JAVASCRIPT_ACTIONS_TO_NODE24=1", "node24", ""},
		"the workflow has a no": {"node20", "false", "FORCE_JAVASCRIPT_ACTIONS_TO_NODE24=1", "node20", ""},
		"without maglev":        {"node24", "", "ACTIONS_RUNNER_DISABLE_NODE_MAGLEV=true", "node24", "--no-maglev "},
		"maglev is of node24":   {"node20", "", "ACTIONS_RUNNER_DISABLE_NODE_MAGLEV=true", "node20", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "on: push\njobs: {build: {runs-on: self-hosted, container: alpine, steps: [{uses: o/one@v1}]}}")
			b.opts.ActionsDir = t.TempDir()
			nodes := t.TempDir()
			for _, version := range []string{"node20", "node24", "node24_alpine"} {
				write(t, nodes+"/"+version, version)
			}
			b.opts.Node = func(version string) (string, bool) {
				_, err := os.Stat(nodes + "/" + version)
				return nodes + "/" + version, err == nil
			}
			if c.env != "" {
				b.opts.Env = map[string]string{"FORCE_JAVASCRIPT_ACTIONS_TO_NODE24": c.env}
			}
			b.opts.Environ = append(b.opts.Environ, c.environ)
			write(t, b.opts.ActionsDir+"/o/one@v1/action.yml", "name: one\nruns: {using: "+c.using+", main: main.js}")
			write(t, b.opts.ActionsDir+"/o/one@v1/main.js", "")
			b.on(hook.RunScriptStep, instruction{Response: `{}`})
			b.run(jobevent.Success)
			args, err := hook.DecodeScriptStep(b.calls()[1].Args)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args.EntryPointArgs, " ")
			if args.EntryPoint != "/__e/"+c.entry+"/bin/node" || line != c.args+"/__w/_actions/o/one/v1/main.js" {
				t.Errorf("%s %s", args.EntryPoint, line)
			}
			alpine := map[string]string{"node20": "node20", "node24": "node24_alpine"}[c.entry]
			for folder, want := range map[string]string{c.entry: c.entry, c.entry + "_alpine": alpine} {
				if got, err := os.ReadFile(b.opts.Root + "/build/externals/" + folder + "/bin/node"); string(got) != want {
					t.Errorf("%s is %q, %v", folder, got, err)
				}
			}
		})
	}
}

func TestDockerActionsHaveTheirOwnEntryPoints(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps: [{uses: o/box@v1, env: {SHARED: step}}]
	`)
	b.opts.ActionsDir = t.TempDir()
	write(t, b.opts.ActionsDir+"/o/box@v1/action.yml", dedent(`
		name: box
		inputs: {level: {default: "3"}}
		runs:
		  using: docker
		  image: docker://alpine:3
		  pre-entrypoint: /pre
		  entrypoint: /main
		  post-entrypoint: /post
		  args: ["level=${{ inputs.level }}"]
		  env: {OWN: "${{ inputs.level }}", SHARED: action}
	`))
	b.run(jobevent.Success)
	var points []string
	for _, call := range b.calls() {
		c, err := hook.DecodeContainerStep(call.Args)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, c.EntryPoint)
		if c.EnvironmentVariables["OWN"] != "3" || c.EnvironmentVariables["SHARED"] != "step" || c.EntryPointArgs[0] != `"level=3"` {
			t.Errorf("%+v", c)
		}
	}
	if !slices.Equal(points, []string{"/pre", "/main", "/post"}) {
		t.Errorf("%q", points)
	}
}

func TestActionsThatAreNowhere(t *testing.T) {
	for uses, want := range map[string]string{
		"o/missing@v1": "(--actions-dir), or a git server (--server-url)",
		"./missing":    "Did you forget to run actions/checkout before running your local action?",
	} {
		b := newBench(t, "on: push\njobs: {build: {runs-on: self-hosted, steps: [{uses: "+uses+"}]}}")
		b.run(jobevent.Failure)
		if !strings.Contains(b.log(), want) {
			t.Error(b.log())
		}
	}
}

func TestActionsComeFromAGitServer(t *testing.T) {
	b := newBench(t, "on: push\njobs: {build: {runs-on: self-hosted, steps: [{uses: o/r/sub@v1}]}}")
	server := t.TempDir()
	write(t, server+"/o/r/sub/action.yml", "name: x\nruns: {using: composite, steps: [{run: echo from git, shell: sh}]}")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"}, {"tag", "v1"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = server + "/o/r"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	b.opts.ServerURL = "file://" + server
	b.run(jobevent.Success)
	b.has("from git")
}

func TestCheckoutCopiesWhatGitKnows(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - {uses: actions/checkout@v4, with: {path: here}}
		      - run: "cd here; ls; test -x run.sh; git status --short"
	`)
	b.source(map[string]string{"run.sh": "x", ".gitignore": "ignored\n", "ignored": "x", "new": "x"})
	cmd := exec.Command("git", "init", "-q")
	cmd.Dir = b.opts.Source
	if err := cmd.Run(); err != nil {
		t.Skip("no git")
	}
	b.run(jobevent.Success)
	b.has("run.sh", "new", "?? new")
	if slices.Contains(strings.Split(b.log(), "\n"), "ignored") {
		t.Error("an ignored file was copied")
	}
}
