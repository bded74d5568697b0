package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// replace has a step put a link to the host in place of a folder of the runner's.
func replace(t *testing.T, r *fakerunner.Runner, containerPath string, target host) {
	t.Helper()
	ok(t, r.RunScript(ctx(t), fmt.Sprintf("cd /; mv %[1]s %[1]s.real; ln -s %[2]s %[1]s", containerPath, target.dir)))
}

// The engine would follow a link to any place of the host, as root. Steps can put one wherever they can write.
func TestAFolderThatAStepReplacedByALinkIsNotMounted(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		for _, c := range []struct {
			path, target string
			alsoJob      bool
		}{
			{"/__w/_temp/_runner_file_commands", "/github/file_commands", false},
			{"/__w/repo/repo", "/github/workspace", false},
			{"/__w/repo", "/github/workspace", false},
			{"/__w/_temp/_github_home", "/github/home", true},
			{"/__w/_temp/_github_workflow", "/github/workflow", true},
		} {
			t.Run(c.path, func(t *testing.T) {
				host := newHost(t)
				replace(t, r, c.path, host)
				step := r.ContainerStep(testbed.Busybox, "-c", "touch "+c.target+"/planted; chmod -R 777 "+c.target+"; echo ran")
				step.EntryPoint = "/bin/sh"
				r.Client.WorkDir = r.Root
				res := r.Call(ctx(t), hook.RunContainerStep, step)
				explains(t, res, "workflow", "symbolic link", c.target)
				if strings.Contains(res.Stdout, "ran") {
					t.Error("the step was run")
				}
				host.untouched(t)
				if c.alsoJob { // the next job on this runner is as careful
					mine := r.State
					explains(t, r.CallWithState(ctx(t), hook.PrepareJob, &hook.PrepareJobArgs{Container: r.JobContainer(testbed.Busybox)}, nil),
						"workflow", "symbolic link")
					r.State = mine
					host.untouched(t)
				}
				path := hostPath(r, c.path)
				if err := errors.Join(os.Remove(path), os.Rename(path+".real", path)); err != nil {
					t.Fatal(err)
				}
			})
		}
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("then a step printed %q", out)
		}
	})
}

// swapping is an engine whose program puts a link in a folder's place just before it makes a container, and takes it
// away afterwards, as a process of an earlier step could.
func swapping(t *testing.T, e *testbed.Engine, folder string, target host) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), e.Name), fmt.Sprintf(`#!/bin/sh
case " $* " in
*" run "*)
	mv %[1]s %[1]s.real; ln -s %[2]s %[1]s
	%[3]s "$@" &
	pid=$!
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 0.1; done
	rm %[1]s; mv %[1]s.real %[1]s
	wait $pid ;;
*) exec %[3]s "$@" ;;
esac
`, folder, target.dir, e.Path), 0o755)
}

func TestAFolderThatIsSwappedWhileTheContainerStartsIsNoticed(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		host := newHost(t)
		r := newRunner(t, e)
		program := swapping(t, e, filepath.Join(r.Work, "_temp/_github_home"), host)
		step := r.ContainerStep(testbed.Busybox, "-c", "touch /github/home/planted; echo ran")
		step.EntryPoint = "/bin/sh"
		r.Client.Env = append(r.Client.Env, "GANTRY_ENGINE_PATH="+program)
		res := r.Call(ctx(t), hook.RunContainerStep, step)
		explains(t, res, "workflow", "/github/home", "replaced")
		if strings.Contains(res.Stdout, "ran") {
			t.Error("the step was run")
		}
		host.untouched(t)
	})
}

// The runner creates files for each step, and the hook opens them to a user that is not the runner's: not what a
// process of an earlier step puts in their place.
func TestModesOfFilesOfTheHostDoNotChangeThroughLinks(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.NonRoot)
		for name, plant := range map[string]func(t *testing.T, step *hook.ScriptStepArgs, host host) error{
			"a file command": func(_ *testing.T, step *hook.ScriptStepArgs, host host) error {
				path := hostPath(r, step.EnvironmentVariables["GITHUB_OUTPUT"])
				return replaceBy(path, filepath.Join(host.dir, "precious"))
			},
			"the folder of file commands": func(t *testing.T, step *hook.ScriptStepArgs, host host) error {
				path := hostPath(r, step.EnvironmentVariables["GITHUB_OUTPUT"])
				step.EnvironmentVariables["GITHUB_OUTPUT"] = filepath.Dir(step.EnvironmentVariables["GITHUB_OUTPUT"]) + "/precious"
				dir := filepath.Dir(path)
				t.Cleanup(func() { os.Remove(dir); os.Rename(dir+".real", dir) })
				return replaceBy(dir, host.dir)
			},
			"the script": func(_ *testing.T, step *hook.ScriptStepArgs, host host) error {
				return replaceBy(hostPath(r, step.EntryPointArgs[1]), filepath.Join(host.dir, "precious"))
			},
		} {
			t.Run(name, func(t *testing.T) {
				host := newHost(t)
				args, err := r.Script("echo ran")
				if err != nil {
					t.Fatal(err)
				}
				if err := plant(t, args, host); err != nil {
					t.Fatal(err)
				}
				res := r.Call(ctx(t), hook.RunScriptStep, args)
				explains(t, res, "workflow", "symbolic link")
				host.untouched(t)
			})
		}
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("then a step printed %q", out)
		}
	})
}

func hostPath(r *fakerunner.Runner, containerPath string) string {
	return filepath.Join(r.Work, strings.TrimPrefix(containerPath, "/__w/"))
}

// replaceBy puts a link in a path's place, and what was there aside.
func replaceBy(path, target string) error {
	if err := os.Rename(path, path+".real"); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// Response files lie where every step can write.
func TestAResponseDoesNotGoThroughALink(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		host := newHost(t)
		r := prepared(t, e, testbed.Busybox)
		const responses = "/__w/_temp/_runner_hook_responses"
		res := r.RunScript(ctx(t), fmt.Sprintf(
			"for f in %[1]s/*; do rm $f; ln -s %[2]s/precious $f; done; echo ran", responses, host.dir))
		contains(t, res.Stdout, "ran")
		explains(t, res, "configuration", "response file", "symbolic link")
		host.untouched(t)
		res = r.RunScript(ctx(t), fmt.Sprintf("mv %[1]s %[1]s.real; ln -s %[2]s %[1]s; echo ran", responses, host.dir))
		contains(t, res.Stdout, "ran")
		explains(t, res, "configuration", "response file", "symbolic link")
		host.untouched(t)
		if err := os.Remove(hostPath(r, responses)); err != nil {
			t.Fatal(err)
		}
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// What is given to a container's user at the start, so that it can work, is not given through links.
func TestFoldersOfTheHostAreNotOpenedThroughLinks(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		host := newHost(t)
		r := newRunner(t, e)
		for _, path := range []string{"repo/repo/link", "repo/repo/a/b/c/link", "_temp/link", "_temp/_github_home/link"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(r.Work, path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(host.dir, filepath.Join(r.Work, path)); err != nil {
				t.Fatal(err)
			}
		}
		tool := write(t, filepath.Join(r.Work, "_tool/node/bin/node"), "a program", 0o700)
		inside := filepath.Join(r.Work, "repo/repo/to-the-tools")
		if err := os.Symlink(filepath.Dir(tool), inside); err != nil {
			t.Fatal(err)
		}
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.NonRoot)))
		ok(t, r.RunScript(ctx(t), "touch a/b/c/mine"))
		host.untouched(t)
		if st, err := os.Stat(tool); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("the tool cache is opened too: %v %v", st.Mode(), err)
		}
	})
}
