package job_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

const goldenDir = "../../hook/testdata/runner-2.336.0/"

// guid is a random name of the runner's.
var guid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// golden compares the nth call with a stored one byte for byte, but for random names and the runner's folder.
func (b *bench) golden(n int, file string, edit ...string) {
	b.t.Helper()
	want, err := os.ReadFile(goldenDir + file)
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil {
		b.t.Fatal(err)
	}
	lines := strings.Split(string(got), "\n")
	if n >= len(lines) {
		b.t.Fatalf("there are %d calls\n%s", len(lines)-1, b.log())
	}
	line := strings.ReplaceAll(lines[n], filepath.Join(b.opts.Root, b.job.Key), "/home/runner")
	plain := guid.ReplaceAllString(strings.TrimSuffix(strings.NewReplacer(edit...).Replace(string(want)), "\n"), "GUID")
	if line = guid.ReplaceAllString(line, "GUID"); plain == line {
		return
	}
	diff := cmp.Diff(decoded(b.t, plain), decoded(b.t, line))
	b.t.Errorf("call %d is not %s:\nwant %s\n got %s\n(-want +got):\n%s", n, file, plain, line, diff)
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// githubOfGolden are the members of github in the recorded payloads.
func githubOfGolden() map[string]string {
	return map[string]string{
		"actor": "octocat", "actor_id": "583231", "event_name": "push", "repository": "octocat/repo", "repository_id": "1296269",
		"repository_owner": "octocat", "repository_owner_id": "583231", "run_id": "17023456789", "run_number": "42",
		"sha": "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d",
	}
}

func TestPrepareJobIsWordedAsTheRunnerDoes(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container:
		      image: docker://ghcr.io/octocat/node:22
		      credentials: {username: octocat, password: "${{ secrets.PASSWORD }}"}
		      env: {NODE_ENV: "${{ vars.MODE }}", EMPTY: ""}
		      ports: ["8080:80/tcp", "8080:80/tcp"]
		      volumes: ["my_vol:/data:ro", /cache, "/srv/shared:/shared:z"]
		      options: --cpus 1 --health-cmd "true || exit 1"
		    services:
		      redis:
		        image: redis
		        ports: [6379]
		      none:
		        image: ${{ '' }}
		      db:
		        image: localhost:5000/postgres:16
		        credentials: {username: octocat, password: "${{ secrets.PASSWORD }}"}
		        env: {POSTGRES_PASSWORD: "päss \"wörd\"\nsecond line"}
		        ports: ["5432:5432", "5433:5433/udp"]
		        options: "--health-cmd pg_isready\n--health-interval 10s"
		        entrypoint: docker-entrypoint.sh
		        command: postgres  -c "max_connections = 200"
		    steps:
		      - run: echo ${{ job.services.db.id }} ${{ job.services.db.ports['5432'] }} ${{ job.container.network }}
	`)
	b.job.Secrets["PASSWORD"] = "examplePassword"
	b.opts.Vars = map[string]string{"MODE": "development"}
	b.on(hook.PrepareJob, instruction{Response: `{"isAlpine":false,"context":{"container":{"id":"c1","network":"n1"},
		"services":[{"id":"s1","network":"n1","ports":{"6379":"1"}},{"id":"s2","network":"n1","ports":{"5432":"40001"}}]}}`})
	b.run(jobevent.Success)
	b.golden(0, "prepare_job.json", `"image":"node:22"`, `"image":"ghcr.io/octocat/node:22"`,
		`"password":"examplePassword","serverUrl":""`, `"password":"examplePassword","serverUrl":"localhost:5000"`)
	b.has("s2 40001 n1")
}

func TestPrepareJobForServicesOnlyAndForAContainerOnly(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    services: {redis: {image: redis, ports: [6379]}}
		    steps: [{run: echo on the host}]
	`)
	b.on(hook.PrepareJob, instruction{Response: `{"state":{"gantry":1,"job":"0123456789abcdef0123456789abcdef"}}`})
	b.run(jobevent.Success)
	b.has("on the host")
	b.golden(0, "prepare_job.services.json")
	b.golden(1, "cleanup_job.json")
	b = newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine:3.20
		    steps: [{run: "true"}]
	`)
	b.run(jobevent.Success)
	b.golden(0, "prepare_job.container.json")
}

func TestScriptStepsAreWordedAsTheRunnerDoes(t *testing.T) {
	b := newBench(t, `
		name: grüße & <checks>
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: node:22
		    steps:
		      - id: paths
		        run: |
		          echo /__w/_tool/node/22.1.0/x64/bin >> "$GITHUB_PATH"
		          echo /root/.local/bin >> "$GITHUB_PATH"
		      - run: "true"
		        shell: bash
		        env: {MULTI: "one\ntwo\n", TAB: "\t", EMPTY: ""}
	`)
	b.job.Key, b.opts.Github = "runner-1", githubOfGolden()
	b.on(hook.PrepareJob, instruction{Response: `{"isAlpine":true,"state":{"gantry":1,"job":"0123456789abcdef0123456789abcdef"}}`})
	b.run(jobevent.Success)
	b.golden(2, "run_script_step.json")
}

// The stored requests for pwsh and for a clean-up without state are those of a runner with nothing in its env.
func TestOtherShellsAndACleanUpWithoutState(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: node:22
		    steps: [{run: Write-Host hi, shell: pwsh, if: always()}]
	`)
	b.on(hook.PrepareJob, instruction{Exit: 1})
	b.on(hook.RunScriptStep, instruction{Response: "{}"})
	b.run(jobevent.Failure)
	b.golden(2, "cleanup_job.no_state.json")
	text, err := os.ReadFile(goldenDir + "run_script_step.pwsh.json")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(text), `"args":{`)
	want, _, _ = strings.Cut(want, `,"environmentVariables"`)
	calls, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if got := guid.ReplaceAllString(string(calls), "GUID"); !strings.Contains(got, guid.ReplaceAllString(want, "GUID")) {
		t.Errorf("no %s in\n%s", want, got)
	}
}

func TestContainerActionsAreWordedAsTheRunnerDoes(t *testing.T) {
	b := newBench(t, `
		name: grüße & <checks>
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    steps:
		      - uses: o/r@v1
		        with: {who-to-greet: Mona the Octocat}
		      - uses: docker://alpine:3.20
		        with: {entrypoint: /bin/sh, args: '-c "echo   \"hi\""'}
	`)
	b.opts.ActionsDir = t.TempDir()
	write(t, b.opts.ActionsDir+"/o/r@v1/Dockerfile", "FROM scratch")
	write(t, b.opts.ActionsDir+"/o/r@v1/action.yml", dedent(`
		name: hello
		inputs: {who-to-greet: {default: World}}
		runs: {using: docker, image: Dockerfile, args: [hello world, ""]}
	`))
	b.job.Key, b.opts.Github = "runner-1", githubOfGolden()
	b.on(hook.RunContainerStep, instruction{Response: `{"state":{"gantry":1,"job":"0123456789abcdef0123456789abcdef"}}`})
	b.run(jobevent.Success)
	const action = `"GITHUB_ACTION":"__run","GITHUB_ACTION_REF":"","GITHUB_ACTION_REPOSITORY":""`
	b.golden(0, "run_container_step.dockerfile.json",
		action, `"GITHUB_ACTION":"__o_r","GITHUB_ACTION_REF":"v1","GITHUB_ACTION_REPOSITORY":"o/r"`,
		`"state":{"gantry":1,"job":"0123456789abcdef0123456789abcdef"}`, `"state":null`)
	b.golden(1, "run_container_step.image.json",
		action, `"GITHUB_ACTION":"__alpine_3_20","GITHUB_ACTION_REF":"","GITHUB_ACTION_REPOSITORY":""`,
		`"INPUT_WHO-TO-GREET":"Mona the Octocat"`, `"INPUT_ENTRYPOINT":"/bin/sh","INPUT_ARGS":"-c \"echo   \\\"hi\\\"\""`,
		`"state":null`, `"state":{"gantry":1,"job":"0123456789abcdef0123456789abcdef"}`)
}

func TestProxiesAreHandedToContainers(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: {image: alpine, env: {B: "2", http_proxy: "own", A: "1"}}
		    steps: [{uses: docker://alpine, env: {C: "3"}}]
	`)
	b.opts.Environ = append(b.opts.Environ, "http_proxy=http://proxy:1", "NO_PROXY=internal")
	b.run(jobevent.Success)
	text, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"environmentVariables":{"B":"2","http_proxy":"own","A":"1","HTTP_PROXY":"http://proxy:1","NO_PROXY":"internal","no_proxy":"internal","HOME":"/github/home"}`,
		`"environmentVariables":{"HTTP_PROXY":"http://proxy:1","http_proxy":"http://proxy:1","NO_PROXY":"internal","no_proxy":"internal","C":"3","HOME":"/github/home","GITHUB_ACTION":`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
