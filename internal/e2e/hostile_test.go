package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// host is a folder of the host that no job has business with.
type host struct{ dir string }

func newHost(t *testing.T) host {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "host")
	write(t, filepath.Join(dir, "precious"), "precious", 0o600)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return host{dir}
}

// untouched fails the test if content, names or modes have changed.
func (h host) untouched(t *testing.T) {
	t.Helper()
	var seen []string
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			seen = append(seen, fmt.Sprintf("%v %s", info.Mode(), filepath.Base(path)))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := strings.Join(seen, "\n"); got != "drwx------ host\n-rw------- precious" {
		t.Errorf("the host's folder is now\n%s", got)
	}
	if text := read(t, filepath.Join(h.dir, "precious")); text != "precious" {
		t.Errorf("the host's file says %q", text)
	}
}

// agentFolder is the host's path of the job container's agent folder.
func agentFolder(t *testing.T, r *fakerunner.Runner) string {
	t.Helper()
	return filepath.Join(r.Work, "_temp", agent.FolderName(fmt.Sprint(state(t, r)["job"])))
}

// call starts the shim with the system's bash: the runner itself would look for one on the job's PATH.
func call(t *testing.T, r *fakerunner.Runner, command hook.Command, args any) *fakerunner.Result {
	t.Helper()
	c := *r
	dir := t.TempDir()
	c.Client.HookPath = write(t, filepath.Join(dir, "start.js"), "-e "+r.Client.HookPath, 0o644)
	c.Client.Node = write(t, filepath.Join(dir, "node"), "#!/bin/bash\nexec /bin/bash -e "+r.Client.HookPath+"\n", 0o755)
	res := c.Call(ctx(t), command, args)
	r.State = c.State
	return res
}

// $GITHUB_PATH entries stand on the hook's PATH, and a step can put programs there.
func TestProgramsOnTheJobsPathAreNotRun(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		evil, proof := filepath.Join(r.Work, "_temp/evil"), filepath.Join(t.TempDir(), "proof")
		for _, name := range []string{
			"bash", "sh", "dash", "env", "dirname", "readlink", "docker", "podman", "gantry", "gantry-agent", "conmon", "runc", "crun",
			"netavark", "aardvark-dns", "slirp4netns", "newuidmap", "newgidmap", "fuse-overlayfs", "iptables", "ip", "nsenter",
			"docker-credential-pass", "docker-buildx", "git", "tar", "id", "uname",
		} {
			write(t, filepath.Join(evil, name), "#!/bin/sh\necho \"$0 $*\" >>"+proof+"\nexit 9\n", 0o755)
		}
		clean := r.Client.Env
		r.Client.Env = append(without(clean, "PATH"), "PATH="+evil+":"+variable(clean, "PATH"))
		ok(t, call(t, r, hook.PrepareJob, &hook.PrepareJobArgs{
			Container: r.JobContainer(testbed.Busybox), Services: []hook.Container{{Image: testbed.Redis, PortMappings: []string{"6379"}}},
		}))
		args, err := r.Script("echo mine")
		if err != nil {
			t.Fatal(err)
		}
		ok(t, call(t, r, hook.RunScriptStep, args))
		ok(t, call(t, r, hook.RunContainerStep, r.ContainerStep(testbed.Entry, "x")))
		build := r.ContainerStep("")
		build.Dockerfile = write(t, filepath.Join(r.Work, "_actions/a/b/v1/Dockerfile"), "FROM "+testbed.Busybox+"\nENTRYPOINT [\"/bin/echo\"]\n", 0o644)
		ok(t, call(t, r, hook.RunContainerStep, build))
		ok(t, call(t, r, hook.CleanupJob, nil))
		r.Client.Env = clean
		if ran, err := os.ReadFile(proof); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("programs of the job were run on the host: %s", ran)
		}
	})
}

// elsewhere accepts connections on a socket of the host, and counts them.
func elsewhere(t *testing.T) (path string, met *atomic.Int32) {
	t.Helper()
	met = new(atomic.Int32)
	path = filepath.Join("/tmp", "gantry-elsewhere-"+filepath.Base(filepath.Dir(t.TempDir()))+".sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			conn.Close()
		}
	}()
	return path, met
}

// A step may do what it likes to its agent's socket: it meets nobody but its own job.
func TestASocketThatAStepPutInPlaceOfTheAgentsIsNotUsed(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		for name, plant := range map[string]string{
			"a link to the host's": "ln -s %s /.gantry/a.sock",
			"a file":               "echo %s >/.gantry/a.sock",
			"a folder":             "mkdir /.gantry/a.sock %.0s",
		} {
			t.Run(name, func(t *testing.T) {
				r := prepared(t, e, testbed.Busybox)
				path, met := elsewhere(t)
				// The agent may make its socket again at any moment.
				ok(t, r.RunScript(ctx(t), "until "+fmt.Sprintf(plant, path)+" 2>/dev/null; do rm -f /.gantry/a.sock; done"))
				res := r.RunScript(ctx(t), "echo ran")
				if res.Err == nil {
					t.Errorf("the step was run:\n%s", res.Output())
				}
				explains(t, res, "workflow", "socket")
				if n := met.Load(); n > 0 {
					t.Errorf("the hook connected %d times to a socket of the host", n)
				}
				ok(t, r.Cleanup(ctx(t)))
				noLeftovers(t, e, r)
			})
		}
	})
}

// What a step did to the agent's program ends with its job.
func TestEveryJobHasAFreshAgent(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		ok(t, r.RunScript(ctx(t), "rm /.gantry/agent; printf '#!/bin/sh\nexit 0\n' >/.gantry/agent; chmod 777 /.gantry/agent; touch /__w/_temp/x"))
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("the next step printed %q", out)
		}
		first := agentFolder(t, r)
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
		if _, err := os.Lstat(first); err == nil {
			t.Errorf("%s is still there", first)
		}
		fresh, err := os.ReadFile(filepath.Join(agentFolder(t, r), agent.SharedDir, agent.BinaryName))
		if err != nil {
			t.Fatal(err)
		}
		if ours, err := os.ReadFile(filepath.Join(os.Getenv(envBin), "gantry-agent")); err != nil || !bytes.Equal(fresh, ours) {
			t.Errorf("the agent of the next job is another program (%v)", err)
		}
		if out := stdout(t, r, "echo next job"); out != "next job\n" {
			t.Errorf("it printed %q", out)
		}
	})
}

// Agents of other containers of the job have secrets of other steps.
func TestAgentsFoldersAreOutOfTheStepsReach(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Busybox)
		const try = `ls -A $D; touch $D/x 2>/dev/null && echo written; mv $D $D.away 2>/dev/null && echo moved;
			rmdir $D 2>/dev/null && echo removed; rm -rf $D 2>/dev/null || :; [ -d $D ] && echo there`
		if out := stdout(t, r, "D=/__w/_temp/.gantry; "+try); out != "there\n" {
			t.Errorf("in the job container: %q", out)
		}
		step := r.ContainerStep(testbed.Busybox, "-c", "D=/github/runner_temp/.gantry; "+strings.ReplaceAll(try, "\n", " "))
		step.EntryPoint = "/bin/sh"
		if res := ok(t, r.Call(ctx(t), hook.RunContainerStep, step)); res.Stdout != "there\n" {
			t.Errorf("in a step's container: %q", res.Stdout)
		}
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("the next step printed %q", out)
		}
	})
}

// Another user of the machine neither reaches the agent, nor would it listen.
func TestAnotherUserCannotSpeakToTheAgent(t *testing.T) {
	if dir := os.Getenv("OTHERS_AGENT"); dir != "" {
		knock(t, dir)
		return
	}
	docker, other := testbed.Docker(t), testbed.PodmanRootless(t)
	r := newRunner(t, docker)
	open := filepath.Join("/tmp", "gantry-open-"+filepath.Base(filepath.Dir(t.TempDir())))
	t.Cleanup(func() { os.RemoveAll(open) })
	if err := os.Mkdir(open, 0o755); err != nil { // a path that the other user could walk
		t.Fatal(err)
	}
	link := filepath.Join(open, "agent")
	ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox)))
	if err := os.Symlink(filepath.Join(agentFolder(t, r), agent.SharedDir), link); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(filepath.Dir(agentFolder(t, r))); dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testbed.RunAs(t, other, envBin+"="+os.Getenv(envBin), "OTHERS_AGENT="+link)
	if out := stdout(t, r, "echo mine"); out != "mine\n" {
		t.Errorf("then a step printed %q", out)
	}
	for _, dir := range []string{filepath.Dir(agentFolder(t, r)), agentFolder(t, r)} { // somebody opened it by hand
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testbed.RunAs(t, other, envBin+"="+os.Getenv(envBin), "OTHERS_AGENT="+link, "OPENED=1")
	res := r.RunScript(ctx(t), "echo ran")
	explains(t, res, "workflow", "private")
	if strings.Contains(res.Stdout, "ran") {
		t.Errorf("a step was run through a folder that others can enter:\n%s", res.Output())
	}
}

// knock tries to speak to an agent of somebody else.
func knock(t *testing.T, dir string) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(dir, agent.SocketName))
	if os.Getenv("OPENED") == "" {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("connecting gave %v, %v", conn, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	c := &agent.Client{Token: strings.Repeat("0", 32), Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, agent.SocketName))
	}}
	if _, err := c.Hello(ctx(t)); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("hello: %v", err)
	}
	if _, err := c.Claim(ctx(t)); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("claim: %v", err)
	}
	if _, err := c.Files(ctx(t), []string{"/"}); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("files: %v", err)
	}
	var out bytes.Buffer
	if _, err := c.Run(ctx(t), &agent.Step{ID: "x", Argv: []string{"id"}}, &out, nil); !errors.Is(err, agent.ErrRefused) || out.Len() > 0 {
		t.Errorf("run: %v, %q", err, out.String())
	}
}
