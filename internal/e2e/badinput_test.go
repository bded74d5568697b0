package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// raw gives the hook any text on standard input.
func raw(t *testing.T, r *fakerunner.Runner, stdin string) *fakerunner.Result {
	t.Helper()
	var out, errOut bytes.Buffer
	c := r.Client
	c.Stdout, c.Stderr = &out, &errOut
	run, err := c.Run(ctx(t), []byte(stdin))
	if err != nil {
		t.Fatal(err)
	}
	return &fakerunner.Result{CallResult: &hook.CallResult{RunResult: *run}, Stdout: out.String(), Stderr: errOut.String()}
}

// explains fails the test unless a failed call ends with an explanation in the agreed form: whose problem it is, in
// one line that a person can read, then perhaps command and output, and a hint.
func explains(t *testing.T, res *fakerunner.Result, whose string, words ...string) {
	t.Helper()
	if res.ExitCode == 0 {
		t.Errorf("the hook says that all is well:\n%s", res.Output())
		return
	}
	lines := strings.Split(strings.TrimRight(res.Stderr, "\n"), "\n")
	first := -1
	for i, line := range lines {
		if strings.HasPrefix(line, "gantry: "+whose+": ") {
			first = i
		}
	}
	if first < 0 {
		t.Errorf("no line \"gantry: %s: …\" in:\n%s", whose, res.Output())
		return
	}
	text := strings.Join(lines[first:], "\n")
	contains(t, text, words...)
	for _, dump := range []string{"goroutine ", "panic:", "%!", "<nil>", "0x", " json: ", "main.go", "&{", "map["} {
		if strings.Contains(text, dump) {
			t.Errorf("%q is not for people:\n%s", dump, text)
		}
	}
	if !strings.Contains(text, "\nhint: ") {
		t.Errorf("no hint in:\n%s", text)
	}
}

// bare is a runner whose hook can reach no engine at all: bad input must be refused before one is needed.
func bare(t *testing.T) *fakerunner.Runner {
	t.Helper()
	dir := t.TempDir()
	r, err := fakerunner.New(filepath.Join(dir, "runner"), filepath.Join(os.Getenv(envBin), "hook.sh"), []string{
		"PATH=/usr/bin:/bin", "HOME=" + dir, "GANTRY_STATE_DIR=" + filepath.Join(dir, "state"), "GANTRY_ENGINE=docker",
		"GANTRY_ENGINE_PATH=/bin/true", "DOCKER_HOST=unix://" + dir + "/none.sock",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStandardInputThatIsNoCommandIsExplained(t *testing.T) {
	r := bare(t)
	response := filepath.Join(r.Work, "_temp/response.json")
	write(t, response, "", 0o644)
	command := func(name, args string) string {
		return fmt.Sprintf(`{"command":%q,"responseFile":%q,"args":%s,"state":null}`, name, response, args)
	}
	for _, c := range []struct{ name, stdin, words string }{
		{"nothing", "", "empty"},
		{"blanks", " \n\t\n", "empty"},
		{"a truncated object", `{"command":"prepare_job","respon`, "incomplete"},
		{"a truncated string", `{"command":"prepare_job","responseFile":"/tm`, "incomplete"},
		{"words", "hello", "not JSON"},
		{"a number", "42", "a JSON object, not a number"},
		{"an array", "[]", "a JSON object, not an array"},
		{"two objects", command("cleanup_job", "{}") + command("cleanup_job", "{}"), "text after the JSON object"},
		{"a control character", "{\"command\":\"prepare\x00_job\"}", "not JSON"},
		{"too many levels", strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), "not JSON"},
		{"no command", `{"args":{},"state":null}`, "command is missing"},
		{"an unknown command", command("run_step", "{}"), `"run_step" is unknown`},
		{"a command that is a number", `{"command":7,"args":{}}`, "command must be a string, not a number"},
		{"a response file that is a number", `{"command":"cleanup_job","responseFile":7}`, "responseFile must be a string"},
		{"a state that is a string", `{"command":"cleanup_job","state":"x"}`, "state must be an object, not a string"},
		{"a state that is an array", `{"command":"cleanup_job","state":[]}`, "state must be an object, not an array"},
		{"prepare_job without a response file", `{"command":"prepare_job","args":{"container":{"image":"x"}}}`, "responseFile is empty"},
		{"prepare_job without args", command("prepare_job", "null"), "args is missing"},
		{"run_script_step without args", `{"command":"run_script_step"}`, "args is missing"},
		{"run_container_step without args", `{"command":"run_container_step"}`, "args is missing"},
		{"args that are an array", command("prepare_job", "[]"), "args must be an object, not an array"},
		{"a container that is a string", command("prepare_job", `{"container":"node"}`), "args.container must be an object"},
		{"services that are an object", command("prepare_job", `{"services":{"redis":{}}}`), "args.services must be an array"},
		{"an image that is a number", command("prepare_job", `{"container":{"image":1}}`), "args.container.image must be a string"},
		{"a variable that is an object", command("run_script_step", `{"entryPoint":"sh","environmentVariables":{"A":{}}}`), "args.environmentVariables.A must be"},
		{"arguments that are a string", command("run_script_step", `{"entryPoint":"sh","entryPointArgs":"-e x"}`), "args.entryPointArgs must be an array"},
		{"a step without a program", command("run_script_step", `{"entryPointArgs":[]}`), "args.entryPoint is empty"},
		{"a mount without a target", command("run_container_step", `{"image":"x","userMountVolumes":[{"sourceVolumePath":"/a"}]}`), "userMountVolumes[0].targetVolumePath is empty"},
		{"a job container without image and dockerfile", command("prepare_job", `{"container":{"image":null,"dockerfile":null}}`), "args.container.image is empty"},
		{"a service without image and dockerfile", command("prepare_job", `{"services":[{"image":"a"},{"image":null}]}`), "args.services[1].image is empty"},
		{"a step without image and dockerfile", command("run_container_step", `{"image":null,"dockerfile":null}`), "args.image is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			explains(t, raw(t, r, c.stdin), "configuration", c.words)
			if text := read(t, response); text != "" && text != "{}\n" {
				t.Errorf("the response says %q", text)
			}
		})
	}
}

// spoilt are response files that cannot be used: how they come about, and the words that say what is wrong.
func spoilt() map[string]struct {
	make  func(t *testing.T, path string)
	words string
} {
	type fault = struct {
		make  func(t *testing.T, path string)
		words string
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]fault{
		"is in a folder that is missing": {func(t *testing.T, path string) {
			must(t, os.Remove(filepath.Dir(path)))
		}, "its directory does not exist"},
		"is a directory": {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o755)) }, "is a directory"},
		"is a symbolic link to a file": {func(t *testing.T, path string) {
			must(t, os.Symlink(write(t, path+".target", "precious", 0o644), path))
		}, "is a symbolic link"},
		"is a symbolic link to nothing": {func(t *testing.T, path string) {
			must(t, os.Symlink(path+".nothing", path))
		}, "is a symbolic link"},
		"is below a symbolic link": {func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			must(t, os.Rename(dir, dir+".real"))
			must(t, os.Symlink(dir+".real", dir))
		}, "symbolic link"},
		"is a FIFO": {func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o666)) }, "is not a regular file"},
		"is a socket": {func(t *testing.T, path string) {
			must(t, syscall.Mknod(path, syscall.S_IFSOCK|0o666, 0))
		}, "is not a regular file"},
		"has a second name": {func(t *testing.T, path string) {
			must(t, os.Link(write(t, path+".target", "precious", 0o644), path))
		}, "more than one hard link"},
	}
}

// A response file that cannot be used is found before anything is made.
func TestAResponseFileThatCannotBeUsedIsRefusedFirst(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		job, err := json.Marshal(hook.PrepareJobArgs{Container: r.JobContainer(testbed.Busybox)})
		if err != nil {
			t.Fatal(err)
		}
		for name, fault := range spoilt() {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "responses", "r.json")
				if name == "is below a symbolic link" { // what the job could write to
					path = filepath.Join(r.Work, "_temp/responses/r.json")
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				fault.make(t, path)
				res := raw(t, r, fmt.Sprintf(`{"command":"prepare_job","responseFile":%q,"args":%s,"state":null}`, path, job))
				explains(t, res, "configuration", "response file "+path, fault.words)
				nothingMade(t, e, r)
				if target, err := os.ReadFile(path + ".target"); err == nil && string(target) != "precious" {
					t.Errorf("the file behind it was changed to %q", target)
				}
			})
		}
	})
}

// nothingMade fails the test if the engine has something of this runner, or the runner's folders something of ours.
func nothingMade(t *testing.T, e *testbed.Engine, r *fakerunner.Runner) {
	t.Helper()
	noLeftovers(t, e, r)
	if left, err := filepath.Glob(filepath.Join(r.Work, "_temp/.gantry/*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

// A script step takes the fast path, which has to be as careful.
func TestAStepWhoseResponseFileCannotBeUsedIsNotRun(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		proof := filepath.Join(r.Workspace, "it-ran")
		args, err := r.Script("touch it-ran")
		if err != nil {
			t.Fatal(err)
		}
		step, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		for name, fault := range spoilt() {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(r.Work, "_temp/responses-"+rand.Text()[:8], "r.json")
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				fault.make(t, path)
				res := raw(t, r, fmt.Sprintf(`{"command":"run_script_step","responseFile":%q,"args":%s,"state":%s}`, path, step, r.State))
				explains(t, res, "configuration", "response file "+path, fault.words)
				if _, err := os.Lstat(proof); err == nil {
					t.Error("the step was run")
					os.Remove(proof)
				}
			})
		}
	})
}

// An ordinary user cannot write everywhere.
func TestAResponseFileThatCannotBeWrittenIsRefusedFirst(t *testing.T) {
	e := testbed.PodmanRootless(t)
	if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin)) {
		return
	}
	r := newRunner(t, e)
	job, err := json.Marshal(hook.PrepareJobArgs{Container: r.JobContainer(testbed.Busybox)})
	if err != nil {
		t.Fatal(err)
	}
	closed := write(t, filepath.Join(t.TempDir(), "r.json"), "", 0o444)
	for _, path := range []string{closed, "/etc/hostname", "/etc/gantry-response.json"} {
		res := raw(t, r, fmt.Sprintf(`{"command":"prepare_job","responseFile":%q,"args":%s,"state":null}`, path, job))
		explains(t, res, "configuration", "response file "+path, "permission denied")
		nothingMade(t, e, r)
	}
}

// Records of jobs are believed: they must lie where no job can write.
func TestAStateFolderInTheWorkFolderIsRefused(t *testing.T) {
	r := bare(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.Work, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{r.Work, filepath.Join(r.Work, "_temp/state"), filepath.Join(link, "not/made/yet")} {
		r.Client.Env = append(without(r.Client.Env, "GANTRY_STATE_DIR"), "GANTRY_STATE_DIR="+dir)
		explains(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)), "configuration", "state folder", "GANTRY_STATE_DIR")
		explains(t, r.Call(ctx(t), hook.RunContainerStep, r.ContainerStep(testbed.Busybox)), "configuration", "state folder")
	}
}
