package e2e

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
)

var update = flag.Bool("update", false, "write the texts in testdata/errors anew")

// saying is an engine program that answers every question, and when it comes to the verb in question fails with the
// words that Docker has for it.
func saying(t *testing.T, verb, words string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "words"), words+"\n", 0o644)
	return write(t, filepath.Join(dir, "docker"), `#!/bin/sh
for arg; do
	case $arg in
	--config|--format|--filter|-*) continue ;;
	`+verb+`) cat `+dir+`/words >&2; exit 1 ;;
	esac
done
case "$*" in
info*) echo '{"ServerVersion":"20.10.24","CgroupVersion":"1","Driver":"overlay2","ClientInfo":{"Version":"20.10.24"}}' ;;
"image inspect"*) echo "Error: No such image: x" >&2; exit 1 ;;
*login*) cat >/dev/null ;;
"network create"*) echo 0123456789ab ;;
esac
`, 0o755)
}

// errorTexts are the failures that people meet most often, each with the call that shows it.
func errorTexts() map[string]func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
	type call = func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result
	stdin := func(text string) call {
		return func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result { return raw(t, r, text) }
	}
	with := func(edit func(c *hook.Container)) call {
		return func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
			job := r.JobContainer("node:22")
			edit(job)
			return r.Prepare(ctx(t), job)
		}
	}
	engineSaying := func(verb, words string, edit func(c *hook.Container)) call {
		return func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
			r.Client.Env = append(r.Client.Env, "GANTRY_ENGINE_PATH="+saying(t, verb, words))
			return with(edit)(t, r)
		}
	}
	same := func(*hook.Container) {}
	step := func(state string) call {
		return func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
			args, err := r.Script("true")
			if err != nil {
				t.Fatal(err)
			}
			return r.CallWithState(ctx(t), hook.RunScriptStep, args, []byte(state))
		}
	}
	return map[string]call{
		"stdin-empty":      stdin(""),
		"stdin-truncated":  stdin(`{"command":"prepare_job","args":{"cont`),
		"command-unknown":  stdin(`{"command":"run_step","args":{}}`),
		"args-wrong-type":  stdin(`{"command":"run_script_step","args":{"entryPoint":["sh"]}}`),
		"image-none":       with(func(c *hook.Container) { c.Image = "" }),
		"options-unknown":  with(func(c *hook.Container) { c.CreateOptions = "--cpus 1 --hea-cmd x" }),
		"options-quote":    with(func(c *hook.Container) { c.CreateOptions = `--cpus 1 --health-cmd "redis-cli ping` }),
		"port-invalid":     with(func(c *hook.Container) { c.PortMappings = []string{"http:80"} }),
		"prepare-failed":   step("null"),
		"state-forged":     step(`{"job":"../../x"}`),
		"engine-down":      engineSaying("ps", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", same),
		"engine-forbidden": engineSaying("ps", `Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info": dial unix /var/run/docker.sock: connect: permission denied`, same),
		"image-not-found":  engineSaying("pull", "Error response from daemon: manifest for node:22 not found: manifest unknown: manifest unknown", same),
		"image-denied":     engineSaying("pull", "Error response from daemon: pull access denied for node, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", same),
		"password-wrong": engineSaying("login", "Error response from daemon: login attempt to https://reg.example/v2/ failed with status: 401 Unauthorized",
			func(c *hook.Container) {
				c.Image = "reg.example/node:22"
				c.Registry = &hook.Registry{Username: "me", Password: "x", ServerURL: "reg.example"}
			}),
		"engine-disk-full": engineSaying("pull", "failed to register layer: write /usr/lib/x: no space left on device", same),
		"engine-path":      with(same),
		"config-mistakes":  with(same),
		"response-link": func(t *testing.T, r *fakerunner.Runner) *fakerunner.Result {
			path := filepath.Join(r.Root, "link")
			if err := os.Symlink(r.Root, path); err != nil {
				t.Fatal(err)
			}
			return raw(t, r, `{"command":"prepare_job","responseFile":"`+path+`","args":{"container":{"image":"node:22"}}}`)
		},
	}
}

// Every text is in a file, so that it can be read, and changes are seen.
func TestErrorTexts(t *testing.T) {
	texts := errorTexts()
	for name, call := range texts {
		t.Run(name, func(t *testing.T) {
			r := bare(t)
			r.Client.Env = append(without(r.Client.Env, "GANTRY_ENGINE_PATH"), "GANTRY_PULL=missing", "GANTRY_ENGINE_PATH="+saying(t, "none", ""))
			switch name {
			case "engine-path":
				r.Client.Env = append(r.Client.Env, "GANTRY_ENGINE_PATH="+r.Root+"/docker")
			case "config-mistakes":
				config := write(t, filepath.Join(r.Root, "gantry.yaml"), "engine: dokcer\npull: sometimes\nlimits:\n  memry: 1g\n", 0o644)
				r.Client.Env = append(without(r.Client.Env, "GANTRY_ENGINE"), "GANTRY_CONFIG="+config)
			}
			res := call(t, r)
			if res.ExitCode == 0 {
				t.Fatalf("the hook says that all is well:\n%s", res.Output())
			}
			sameText(t, filepath.Join("testdata/errors", name+".txt"), masked(r, res.Stdout+res.Stderr))
		})
	}
	files, err := filepath.Glob("testdata/errors/*.txt")
	if err != nil || len(files) != len(texts) {
		t.Errorf("%d files for %d texts (%v)", len(files), len(texts), err)
	}
}

// masked replaces what differs from run to run.
func masked(r *fakerunner.Runner, text string) string {
	text = strings.NewReplacer(r.Root, "RUNNER", os.Getenv(envBin), "BIN").Replace(text)
	for pattern, name := range map[string]string{
		`/tmp/\S*?/(docker|words)\b`: "ENGINE/$1", `gantry-[0-9a-f]{6}-[0-9a-f]{12}`: "gantry-ID", `\b[0-9a-f]{32}\b`: "JOB",
		`(?m)^pull(ing|ed) .*\n`: "", // may come or not before something else fails beside it
		`in \d+(\.\d+)?m?s\b`:    "in TIME", `/\S+/private/\S+`: "PRIVATE",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, name)
	}
	return text
}

// sameText compares with a file, or writes it.
func sameText(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		write(t, path, got, 0o644)
		return
	}
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is no %s: go test ./internal/e2e -run %s -update", path, t.Name())
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-file +now); -update writes it anew:\n%s", path, diff)
	}
}
