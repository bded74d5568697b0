package e2e

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// spy looks again and again, while calls run, where everybody or the job can look.
type spy struct {
	words [][]byte // secrets, and what they look like encoded
	dirs  []string // folders that are searched
	stop  chan struct{}
	done  sync.WaitGroup
	looks int
	found map[string]bool // what was found where
}

func newSpy(secrets []string, dirs ...string) *spy {
	s := &spy{stop: make(chan struct{}), found: map[string]bool{}, dirs: dirs}
	for _, secret := range secrets {
		s.words = append(s.words, []byte(secret))
		for shift := range 3 { // base64 of a text with the secret in it, wherever it begins
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			s.words = append(s.words, []byte(text[4:len(text)-4]))
		}
	}
	s.done.Go(func() {
		for {
			s.arguments()
			s.files()
			s.looks++
			select {
			case <-s.stop:
				return
			default:
			}
		}
	})
	return s
}

// end gives what was found, sorted.
func (s *spy) end() []string {
	close(s.stop)
	s.done.Wait()
	var all []string
	for where := range s.found {
		all = append(all, where)
	}
	slices.Sort(all)
	return all
}

func (s *spy) has(text []byte) bool {
	return slices.ContainsFunc(s.words, func(word []byte) bool { return bytes.Contains(text, word) })
}

// arguments looks at every process of the machine.
func (s *spy) arguments() {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && s.has(text) {
			s.found["arguments of "+string(bytes.ReplaceAll(text, []byte{0}, []byte(" ")))] = true
		}
	}
}

// files looks into files that others than this user can read, or the job.
func (s *spy) files() {
	for _, dir := range s.dirs {
		for _, path := range filesWith(s, dir, true) {
			s.found["file "+path] = true
		}
	}
}

// filesWith are the files below dir that have a secret in them; what only this user can enter is left out on request.
func filesWith(s *spy, dir string, onlyOpen bool) []string {
	var all []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // files come and go meanwhile
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		private := info.Mode().Perm()&0o077 == 0 && !strings.Contains(path, "/_work/")
		switch {
		case d.IsDir() && onlyOpen && private && path != dir:
			return fs.SkipDir
		case !info.Mode().IsRegular() || onlyOpen && private || info.Size() > 1<<20:
		default:
			if text, err := os.ReadFile(path); err == nil && s.has(text) {
				all = append(all, path)
			}
		}
		return nil
	})
	return all
}

func TestASecretIsFoundByTheSpy(t *testing.T) {
	const secret = "canary-of-the-spy-itself"
	dir := t.TempDir()
	s := newSpy([]string{secret}, dir)
	write(t, filepath.Join(dir, "open"), "x="+base64.StdEncoding.EncodeToString([]byte("user:"+secret+"!")), 0o644)
	write(t, filepath.Join(dir, "private"), secret, 0o600)
	shell := exec.Command("sh", "-c", "sleep 0.5 # "+secret)
	if err := shell.Run(); err != nil {
		t.Fatal(err)
	}
	found := strings.Join(s.end(), "\n")
	contains(t, found, "arguments of sh -c sleep", "file "+dir+"/open")
	if strings.Contains(found, "private") {
		t.Errorf("what only this user can read counts as found:\n%s", found)
	}
}

// Secrets reach the job, and nobody else, on the way or afterwards.
func TestSecretsAreSeenByTheirStepOnly(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		const step, action, service, job = "canary-step-3f1c9", "canary-action-77aa0", "canary-service-91b4e", "canary-job-5d2e8"
		const proxy = "canary-proxy-c0c0a"
		reg := testbed.Registry(t)
		stateDir, temp := filepath.Join(t.TempDir(), "state"), t.TempDir()
		if err := os.Chmod(temp, 0o755); err != nil {
			t.Fatal(err)
		}
		r := newRunner(t, e, "GANTRY_STATE_DIR="+stateDir, "TMPDIR="+temp, "GANTRY_PULL=always")
		s := newSpy([]string{step, action, service, job, proxy, reg.Password}, r.Root, stateDir, temp)
		said := plays(t, e, r, reg, map[string]string{"step": step, "action": action, "service": service, "job": job, "proxy": proxy})
		for _, found := range s.end() {
			t.Errorf("a secret was in the %s", found)
		}
		if s.looks < 5 {
			t.Errorf("the spy has looked only %d times", s.looks)
		}
		for _, dir := range s.dirs {
			for _, path := range filesWith(s, dir, false) {
				t.Errorf("afterwards a secret is in %s", path)
			}
		}
		if s.has([]byte(said)) {
			t.Errorf("a secret is in the log:\n%s", said)
		}
	})
}

// plays runs a job that is full of secrets and checks that they arrive. It gives what the hook has said.
func plays(t *testing.T, e *testbed.Engine, r *fakerunner.Runner, reg *testbed.RegistryServer, secret map[string]string) (said string) {
	t.Helper()
	login := &hook.Registry{Username: reg.User, Password: reg.Password, ServerURL: reg.Addr}
	job := r.JobContainer(reg.Image)
	job.Registry = login
	job.EnvironmentVariables["JOB_SECRET"], job.EnvironmentVariables["HTTP_PROXY"] = secret["job"], secret["proxy"]
	service := hook.Container{Image: reg.Image, Registry: login, EntryPoint: "sleep", EntryPointArgs: []string{"60"},
		EnvironmentVariables: map[string]string{"SERVICE_SECRET": secret["service"]}}
	said += ok(t, r.Prepare(ctx(t), job, service)).Output()

	args, err := r.Script(`case $STEP_SECRET$JOB_SECRET$HTTP_PROXY in *canary*canary*canary*) echo has all;; esac`)
	if err != nil {
		t.Fatal(err)
	}
	args.EnvironmentVariables["STEP_SECRET"] = secret["step"]
	res := ok(t, r.Call(ctx(t), hook.RunScriptStep, args))
	if res.Stdout != "has all\n" {
		t.Errorf("the step printed %q", res.Stdout)
	}
	said += res.Output()

	action := r.ContainerStep(testbed.Busybox, "-c", waitsForGo+`; case $ACTION_SECRET in canary*) echo has it;; esac`)
	action.EntryPoint = "/bin/sh"
	action.EnvironmentVariables["ACTION_SECRET"] = secret["action"]
	r.Client.Env = append(r.Client.Env, "GANTRY_PULL=missing")
	res, _ = during(t, r, func() *fakerunner.Result { return r.Call(ctx(t), hook.RunContainerStep, action) }, func() {
		inspected := engineSays(t, e, append([]string{"inspect"}, containers(t, e, r)...)...)
		for _, name := range []string{"step", "action"} {
			if strings.Contains(inspected, secret[name]) {
				t.Errorf("`inspect` shows the secret of the %s", name)
			}
		}
		recordIsPrivate(t, r, secret)
		write(t, filepath.Join(r.Workspace, "go"), "", 0o644)
	})
	if ok(t, res); res.Stdout != "has it\n" {
		t.Errorf("the action printed %q", res.Stdout)
	}
	said += res.Output()
	return said + ok(t, r.Cleanup(ctx(t))).Output()
}

const waitsForGo = `touch $GITHUB_WORKSPACE/begun; while [ ! -f $GITHUB_WORKSPACE/go ]; do usleep 20000; done`

// last is the value of a variable that an environment may have twice.
func last(env []string, name string) (value string) {
	for _, entry := range env {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value = v
		}
	}
	return value
}

// recordIsPrivate looks at what is kept of a job while it runs.
func recordIsPrivate(t *testing.T, r *fakerunner.Runner, secret map[string]string) {
	t.Helper()
	dir := last(r.Client.Env, "GANTRY_STATE_DIR")
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the state folder: %v, %v", st, err)
	}
	records, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(records) == 0 {
		t.Errorf("there is no record in %s: %v", dir, err)
	}
	for _, path := range records {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the record: %v, %v", st, err)
		}
		for name, value := range secret {
			if strings.Contains(read(t, path), value) {
				t.Errorf("the record has the secret of the %s", name)
			}
		}
	}
}
