package e2e

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// asEveryUser is onEngines, and once more Docker with a runner that is not root: the usual way of the world.
func asEveryUser(t *testing.T, test func(t *testing.T, e *testbed.Engine)) {
	onEngines(t, test)
	t.Run("docker-user", func(t *testing.T) {
		e := dockerUser(t)
		if testbed.RunAs(t, e, envBin+"="+os.Getenv(envBin)) {
			return
		}
		test(t, e)
	})
}

// dockerUser is Docker as an ordinary user has it.
func dockerUser(t *testing.T) *testbed.Engine {
	t.Helper()
	e := *testbed.PodmanRootless(t) // for its user
	docker := testbed.Docker(t)
	e.Name, e.Label, e.Path = docker.Name, "docker-user", docker.Path
	socket := "/tmp/gantry-docker-" + filepath.Base(os.Getenv(envBin)) + ".sock"
	e.Env = append(append([]string{}, e.Env...), "DOCKER_HOST=unix://"+socket)
	if os.Geteuid() != e.UID {
		forward(t, socket, strings.TrimPrefix(variable(docker.Env, "DOCKER_HOST"), "unix://"))
	}
	return &e
}

func variable(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// forward is a socket that everybody may use in place of Docker's, whose mode is not this test's to change.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(from, 0o666); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("unix", to)
				if err != nil {
					return
				}
				defer server.Close()
				var both sync.WaitGroup
				both.Go(func() { carry(server, client) })
				both.Go(func() { carry(client, server) })
				both.Wait()
			}()
		}
	}()
}

// carry copies one direction of a connection, and its end.
func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from) // an end is an end
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// everythingAStepWrites writes where every step must be able to, whoever it runs as.
const everythingAStepWrites = `
	echo out=1 >> "$GITHUB_OUTPUT"; echo env=1 >> "$GITHUB_ENV"; echo /p >> "$GITHUB_PATH"
	echo state=1 >> "$GITHUB_STATE"; echo text >> "$GITHUB_STEP_SUMMARY"
	echo x > in-workspace; mkdir -p folder/below; echo x > folder/below/file; chmod 700 folder; chmod 600 folder/below/file
	echo y >> of-the-runner; echo y > existing/deep/new; echo y >> existing/deep/old; rm existing/deep/delete-me
	mkdir "$HOME/.cache"; echo x > "$HOME/.cache/file"; echo x > "$HOME/file"
	echo x > "$RUNNER_TEMP/file"; mkdir "$RUNNER_TEMP/dir"; echo x > "$RUNNER_TEMP/dir/file"
	ln -s /etc/passwd link; id -u
`

// checkedOut lays out a workspace as a checkout by the runner's user does.
func checkedOut(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	write(t, filepath.Join(r.Workspace, "of-the-runner"), "x\n", 0o644)
	write(t, filepath.Join(r.Workspace, "existing/deep/old"), "x\n", 0o600)
	write(t, filepath.Join(r.Workspace, "existing/deep/delete-me"), "x\n", 0o444)
	write(t, filepath.Join(r.Workspace, "run.sh"), "#!/bin/sh\necho ran\n", 0o755)
	if err := os.Chmod(filepath.Join(r.Workspace, "existing/deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	outside := write(t, filepath.Join(r.Root, "outside"), "private", 0o600)
	if err := os.Symlink(outside, filepath.Join(r.Workspace, "existing/link")); err != nil {
		t.Fatal(err)
	}
}

// deletable fails the test unless the runner's user can delete what a job left, as the next checkout will.
func deletable(t *testing.T, r *fakerunner.Runner) {
	t.Helper()
	for _, dir := range []string{r.Workspace, filepath.Join(r.Work, "_temp")} {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the runner's user cannot delete what the job left: %v", err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Error(err)
		}
	}
}

func TestAStepOfAnotherUserWritesWhatEveryStepMustWrite(t *testing.T) {
	asEveryUser(t, func(t *testing.T, e *testbed.Engine) {
		for _, image := range []string{testbed.NonRoot, testbed.Busybox} {
			r := newRunner(t, e)
			checkedOut(t, r)
			ok(t, r.Prepare(ctx(t), r.JobContainer(image)))
			want := "0\n"
			if image == testbed.NonRoot {
				want = "1234\n"
			}
			if out := stdout(t, r, everythingAStepWrites); out != want {
				t.Errorf("%s: the step printed %q", image, out)
			}
			for variable, text := range map[string]string{
				"GITHUB_OUTPUT": "out=1\n", "GITHUB_ENV": "env=1\n", "GITHUB_PATH": "/p\n", "GITHUB_STATE": "state=1\n", "GITHUB_STEP_SUMMARY": "text\n",
			} {
				if got, err := r.FileCommand(variable); err != nil || got != text {
					t.Errorf("%s: %s holds %q, %v", image, variable, got, err)
				}
			}
			if got := stdout(t, r, "./run.sh"); got != "ran\n" {
				t.Errorf("%s: a program of the workspace printed %q", image, got)
			}
			info, err := os.Stat(filepath.Join(r.Root, "outside"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("a link led out of the workspace: %v, %v", info.Mode(), err)
			}
			ok(t, r.Cleanup(ctx(t)))
			deletable(t, r)
		}
	})
}

// The files of a step are made by the runner before each step, with its own umask.
func TestAStepOfAnotherUserReadsItsScriptWhateverTheRunnersUmask(t *testing.T) {
	asEveryUser(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		for _, dir := range []string{r.Workspace, filepath.Dir(r.Workspace), r.Work, filepath.Join(r.Work, "_temp"), filepath.Join(r.Work, "_actions"),
			filepath.Join(r.Work, "_temp/_github_home"), filepath.Join(r.Work, "_temp/_github_workflow"), filepath.Join(r.Work, "_temp/_runner_file_commands")} {
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(r.Work, "_temp/_github_workflow/event.json"), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(r.Work, "_actions/o/a/v1/index.js"), "echo action\n", 0o600)
		if err := os.Chmod(filepath.Join(r.Work, "_actions/o"), 0o700); err != nil {
			t.Fatal(err)
		}
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.NonRoot)))
		res := script(t, r, `cat /github/workflow/event.json; sh /__w/_actions/o/a/v1/index.js; echo x=1 >> "$GITHUB_OUTPUT"; echo x > file`, func(args *hook.ScriptStepArgs) {
			for _, path := range append([]string{strings.TrimPrefix(args.EntryPointArgs[1], "/__w/_temp/")}, fileCommandsBelow(t, r)...) {
				if err := os.Chmod(filepath.Join(r.Work, "_temp", path), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
		if ok(t, res); res.Stdout != "{}action\n" {
			t.Errorf("the step printed %q", res.Stdout)
		}
	})
}

func fileCommandsBelow(t *testing.T, r *fakerunner.Runner) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.Work, "_temp/_runner_file_commands/*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file commands: %v", err)
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], filepath.Join(r.Work, "_temp")+"/")
	}
	return names
}

// In a job without containers there is no cleanup_job: the step itself has to give the files back.
func TestFilesOfAContainerActionBelongToTheRunnerAfterwards(t *testing.T) {
	asEveryUser(t, func(t *testing.T, e *testbed.Engine) {
		for _, image := range []string{testbed.Busybox, testbed.NonRoot} {
			r := newRunner(t, e)
			checkedOut(t, r)
			step := r.ContainerStep(image)
			step.EntryPoint = "/bin/sh"
			step.EntryPointArgs = pieces(`-c "mkdir -p made/below; echo x > made/below/file; chmod 700 made; echo y >> of-the-runner; echo z > $HOME/file; echo t > $RUNNER_TEMP/file; echo o=1 >> $GITHUB_OUTPUT"`)
			output := write(t, filepath.Join(r.Work, "_temp/_runner_file_commands/set_output_1"), "", 0o644)
			step.EnvironmentVariables["GITHUB_OUTPUT"] = "/github/file_commands/set_output_1"
			step.EnvironmentVariables["RUNNER_TEMP"] = "/github/runner_temp"
			ok(t, r.Call(ctx(t), hook.RunContainerStep, step))
			if got := read(t, output); got != "o=1\n" {
				t.Errorf("%s: the output file holds %q", image, got)
			}
			if os.Geteuid() != 0 && e.Name == "docker" {
				ownedByMe(t, r.Workspace)
			}
			if _, err := os.ReadFile(filepath.Join(r.Workspace, "made/below/file")); err != nil {
				t.Errorf("%s: %v", image, err)
			}
			noLeftovers(t, e, r)
			deletable(t, r)
		}
	})
}

// ownedByMe fails the test for every file of another user.
func ownedByMe(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if owner := ownerOf(path); owner != os.Geteuid() {
			return errors.New(path + " belongs to somebody else")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
