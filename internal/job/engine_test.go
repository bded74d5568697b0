package job_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/builtprograms"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// builtDir has what builtHook has built.
var builtDir string

// builtHook builds gantry once for all tests; TestMain removes it.
var builtHook = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "gantry-bin-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	return builtprograms.Build(context.Background(), "../..", dir, os.Environ())
})

// onEngines runs a test on Docker and on Podman, as far as they are there.
func onEngines(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	for label, engine := range map[string]func(testing.TB) *testbed.Engine{"docker": testbed.Docker, "podman": testbed.Podman} {
		t.Run(label, func(t *testing.T) { test(t, engine(t)) })
	}
}

// onEngine prepares a job whose hook is gantry itself. LABEL in the file becomes a label of this test's own,
// for options; when the test is over nothing may have it.
func onEngine(t *testing.T, e *testbed.Engine, file string) *bench {
	t.Helper()
	hook, err := builtHook()
	if err != nil {
		t.Fatal(err)
	}
	label := "jobtest=" + rand.Text()[:8]
	replace := strings.NewReplacer("LABEL", label, "$BUSYBOX", testbed.Busybox, "$BASH", testbed.Bash, "$ALPINE", testbed.Alpine,
		"$REDIS", testbed.Redis, "$SICK", testbed.Sick, "$ENTRY", testbed.Entry)
	b := newBench(t, replace.Replace(file))
	b.opts.Hook = hook
	b.opts.Environ = append(append([]string{}, e.Env...), "GANTRY_ENGINE="+e.Name, "GANTRY_PULL=missing",
		"GANTRY_STATE_DIR="+t.TempDir())
	b.opts.Delays.Interrupt, b.opts.Delays.Terminate = 7*time.Second, 2*time.Second
	t.Cleanup(func() {
		left, err := e.Command(context.Background(), "ps", "-a", "-q", "--filter", "label="+label).CombinedOutput()
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %s %v", left, err)
		}
	})
	return b
}

func TestOnEnginesStepsRunInTheJobContainer(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		env: {FROM: workflow}
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$ALPINE", env: {INSIDE: "yes"}, options: --label LABEL, volumes: ["/scratch"]}
		    defaults: {run: {working-directory: sub}}
		    outputs: {os: "${{ steps.first.outputs.os }}", hash: "${{ steps.hash.outputs.hash }}"}
		    steps:
		      - uses: actions/checkout@v4
		      - id: first
		        run: |
		          . /etc/os-release; echo "os=$ID" >> $GITHUB_OUTPUT
		          echo "$INSIDE $FROM $HOME $CI $PWD $(cat file)"
		          mkdir -p bin; printf '#!/bin/sh\necho tool "$@"\n' > bin/tool; chmod +x bin/tool
		          echo "$PWD/bin" >> $GITHUB_PATH
		          echo "MORE=a b" >> $GITHUB_ENV
		          touch /scratch/here
		      - run: tool "$MORE"; cat /github/workflow/event.json
		      - run: "pwd; exit 7"
		        continue-on-error: true
		        working-directory: /tmp
		      - {run: "echo ${{ job.status }} ${{ github.workspace }}"}
		      - {id: hash, run: "echo hash=${{ hashFiles('**/*.lock') != '' }} >> $GITHUB_OUTPUT"}
	`)
		b.source(map[string]string{"sub/file": "content", "a.lock": "x"})
		outcome := b.run(jobevent.Success)
		if outcome.Outputs["os"] != "alpine" || outcome.Outputs["hash"] != "true" {
			t.Errorf("%v", outcome.Outputs)
		}
		b.has("yes workflow /github/home true /__w/repo/repo/sub content", "tool a b", "/tmp", "success /__w/repo/repo",
			"##[error]Process completed with exit code 7.")
	})
}

func TestOnEnginesServicesAreReachedByNameAndByPort(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BUSYBOX", options: --label LABEL}
		    services: {redis: {image: "$REDIS", ports: [6379], options: --label LABEL}}
		    steps:
		      - run: printf 'PING\r\n' | nc redis 6379
	`)
		b.run(jobevent.Success)
		b.has("+PONG")
		b = onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    services: {cache: {image: "$REDIS", ports: [6379], options: --label LABEL}}
		    steps:
		      - shell: bash
		        run: |
		          exec 3<>/dev/tcp/127.0.0.1/${{ job.services.cache.ports['6379'] }}
		          printf 'PING\r\n' >&3; head -n 1 <&3
	`)
		b.run(jobevent.Success)
		b.has("+PONG")
	})
}

func TestOnEnginesContainerActions(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BUSYBOX", options: --label LABEL}
		    outputs: {said: "${{ steps.box.outputs.said }}"}
		    steps:
		      - uses: actions/checkout@v4
		      - uses: docker://$ENTRY
		        with: {args: 'two "and three"'}
		      - uses: docker://$BUSYBOX
		        with: {entrypoint: /bin/sh, args: -c "ls /github/workspace/box; exit 3"}
		        continue-on-error: true
		      - id: box
		        uses: ./box
		        with: {word: hi there}
	`)
		b.source(map[string]string{
			"box/action.yml": "name: box\ninputs: {word: {}}\nruns: {using: docker, image: Dockerfile, args: ['${{ inputs.word }}']}",
			"box/Dockerfile": "FROM " + testbed.Busybox + "\nCOPY run.sh /run.sh\nENTRYPOINT [\"/bin/sh\", \"/run.sh\"]\n",
			"box/run.sh":     "echo \"said=$1 $INPUT_WORD $GITHUB_WORKSPACE\" >> $GITHUB_OUTPUT\n",
		})
		outcome := b.run(jobevent.Success)
		if got := outcome.Outputs["said"]; got != "hi there hi there /github/workspace" {
			t.Errorf("said %q\n%s", got, b.log())
		}
		b.has("entry two and three", "run.sh", "##[error]Process completed with exit code 3.")
	})
}

func TestOnEnginesShellsAndComposites(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BASH", options: --label LABEL}
		    steps:
		      - uses: actions/checkout@v4
		      - {name: pipefail, shell: bash, run: "false | true", continue-on-error: true, id: pipe}
		      - {shell: "cat {0}", run: the script itself}
		      - {shell: "sh -c \"echo one 'two'; . {0}\"", run: echo three}
		      - {uses: ./act, id: act, with: {n: 4}}
		      - run: echo "${{ steps.pipe.outcome }} ${{ steps.act.outputs.square }}"
	`)
		b.source(map[string]string{"act/action.yml": `
		name: act
		inputs: {n: {}}
		outputs: {square: {value: "${{ steps.x.outputs.s }}"}}
		runs: {using: composite, steps: [{id: x, shell: bash, run: "ls $GITHUB_ACTION_PATH; echo s=$((${{ inputs.n }}*${{ inputs.n }})) >> $GITHUB_OUTPUT"}]}
	`})
		b.run(jobevent.Success)
		b.has("the script itself", "one two", "three", "action.yml", "failure 16")
	})
}

func TestOnEnginesFailures(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BUSYBOX", options: --label LABEL}
		    services: {sick: {image: "$SICK", options: --label LABEL}}
		    steps: [{run: echo never}, {run: "echo ${{ job.status }}", if: always(), continue-on-error: true}]
	`)
		b.run(jobevent.Failure)
		if got := b.results(); got[0] != "Initialize containers: failure" || got[1] != "Run echo never: skipped" {
			t.Errorf("%q", got)
		}
		b.has(wrapper)
	})
}

func TestOnEnginesACancelLeavesNothing(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BUSYBOX", options: --label LABEL}
		    steps: [{name: long, run: "echo here; sleep 600"}, {name: always, run: echo bye, if: always()}]
	`)
		b.cancelled("here", jobevent.Cancelled)
		b.has("bye")
		b.ends("Initialize containers: success", "long: failure", "always: success", "Stop containers: success")
	})
}

func TestOnEnginesStepsRunSideBySide(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		b := onEngine(t, e, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: "$BUSYBOX", options: --label LABEL}
		    steps:
		      - {id: server, background: true, run: "echo pong | nc -l -p 4000; echo \"x=1\" >> $GITHUB_OUTPUT"}
		      - run: until nc 127.0.0.1 4000 </dev/null; do sleep 0.1; done
		      - wait: [server]
		      - run: echo "x is ${{ steps.server.outputs.x }}"
	`)
		b.run(jobevent.Success)
		b.has("pong", "x is 1")
	})
}
