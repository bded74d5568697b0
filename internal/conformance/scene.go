package conformance

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
)

// scene is one runner with one job at a time, and what is known of it.
type scene struct {
	suite  *Suite
	runner *fakerunner.Runner
	token  string
	owned  *owned

	mu       sync.Mutex
	vars     map[string]string
	state    json.RawMessage
	response any // of the last prepare_job that was accepted
	prepared bool
	others   map[string]*scene
	// What the world did, and has to be undone.
	listeners []net.Listener
	foreign   []string
	sleeps    []string // what programs of the scene's cases have in their arguments
}

// other is another runner on the same machine, made when it is first asked for.
func (sc *scene) other(ctx context.Context, name string) (*scene, error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if found := sc.others[name]; found != nil {
		return found, nil
	}
	var setup RunnerSetup
	if name == "namesake" {
		setup.Env = map[string]string{"RUNNER_NAME": filepath.Base(sc.runner.Root)}
	}
	found, err := sc.suite.newScene(ctx, setup)
	if err != nil {
		return nil, err
	}
	if sc.others == nil {
		sc.others = map[string]*scene{}
	}
	sc.others[name] = found
	return found, nil
}

// newScene lays out a runner.
func (s *Suite) newScene(ctx context.Context, setup RunnerSetup) (*scene, error) {
	token := "conf" + randomHex(5)
	root := cmp.Or(s.Folder, filepath.Join(s.Dir, token))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making a runner: %w", err)
	}
	runner, err := fakerunner.New(root, s.Hook, s.hookEnv())
	if err != nil {
		return nil, err
	}
	sc := &scene{
		suite: s, runner: runner, token: token, vars: map[string]string{},
		owned: &owned{
			engine: s.Engine, labels: s.labels, token: token, root: root,
			containers: map[string]bool{}, networks: map[string]bool{}, volumes: map[string]bool{},
		},
	}
	runner.Client.Node = s.Node
	sc.vars["root"], sc.vars["work"], sc.vars["temp"] = root, runner.Work, filepath.Join(runner.Work, "_temp")
	sc.vars["workspace"] = runner.Workspace
	sc.vars["token"] = token
	sc.freshVars()
	if !s.Engine.Meets("runners") {
		if err := sc.owned.settle(ctx); err != nil {
			return nil, err
		}
	}
	return sc, sc.setUp(setup)
}

func (sc *scene) setUp(setup RunnerSetup) error {
	env := map[string]string{"RUNNER_TRACKING_ID": "github_" + sc.token}
	for name, value := range setup.Env {
		text, err := expandText(value, sc.lookup)
		if err != nil {
			return err
		}
		env[name] = text
	}
	sc.runner.Client.Env = cloneEnv(sc.runner.Client.Env, env)
	var path []string
	for _, p := range setup.Path {
		text, err := expandText(p, sc.lookup)
		if err != nil {
			return err
		}
		path = append(path, text)
	}
	if len(path) > 0 {
		last := ""
		for _, kv := range sc.runner.Client.Env {
			if value, ok := strings.CutPrefix(kv, "PATH="); ok {
				last = value
			}
		}
		sc.runner.Client.Env = append(sc.runner.Client.Env, "PATH="+strings.Join(append(path, last), ":"))
	}
	return sc.makeFiles(setup.Files)
}

// freshVars makes the values that are new for every case.
func (sc *scene) freshVars() {
	n := make([]byte, 4)
	rand.Read(n) // it never fails
	sleep := strconv.Itoa(100_000_000 + int(n[0])<<16 + int(n[1])<<8 + int(n[2]))
	sc.set("sleep", sleep)
	sc.mu.Lock()
	sc.sleeps = append(sc.sleeps, "sleep "+sleep)
	sc.mu.Unlock()
	sc.set("secret", "s3cr3t-"+randomHex(12))
	sc.set("case", "case"+randomHex(4))
	sc.set("uid", strconv.Itoa(sc.suite.UID))
	for _, name := range []string{"port1", "port2", "port3"} {
		sc.set(name, freePort())
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// freePort is a TCP port of this machine that nobody listens on; "" if there is none.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return ""
	}
	return port
}

func (sc *scene) set(name, value string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.vars[name] = value
}

// lookup gives a variable: what the scene has noted, an image, or something of prepare_job's response.
func (sc *scene) lookup(name string) (string, bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if value, ok := sc.vars[name]; ok {
		return value, true
	}
	if key, ok := strings.CutPrefix(name, "image."); ok {
		image := sc.suite.images[key]
		return image, image != ""
	}
	if path, ok := strings.CutPrefix(name, "response."); ok {
		value, there := at(sc.response, path)
		return textOf(value), there
	}
	if digits, ok := strings.CutPrefix(name, "x"); ok {
		n, err := strconv.Atoi(digits)
		return strings.Repeat("x", n), err == nil
	}
	switch name {
	case "registry":
		return sc.suite.registry(), true
	case "private.host":
		return sc.suite.credentials().Host, true
	case "private.user":
		return sc.suite.credentials().User, true
	case "private.auth":
		c := sc.suite.credentials()
		return base64.StdEncoding.EncodeToString([]byte(c.User + ":" + c.Password)), true
	case "private.password":
		return sc.suite.credentials().Password, true
	}
	return "", false
}

// image gives the full name of an image.
func (sc *scene) image(name string) string {
	if full := sc.suite.images[name]; full != "" {
		return full
	}
	return name
}

// path is a host path; a relative one lies in the runner's folder.
func (sc *scene) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(sc.runner.Root, name)
}

// file writes a file of a name of its own into _temp.
func (sc *scene) file(prefix, text string) (name string, err error) {
	name = fmt.Sprintf("%s-%s", prefix, randomHex(6))
	if err := os.WriteFile(filepath.Join(sc.runner.Work, "_temp", name), []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("writing a file of the runner: %w", err)
	}
	return name, nil
}

// script is fakerunner's, for calls at the same time.
func (sc *scene) script(text string) (*hook.ScriptStepArgs, error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	args, err := sc.runner.Script(text)
	if err != nil {
		return nil, err
	}
	for name, path := range args.EnvironmentVariables {
		if rest, ok := strings.CutPrefix(path, "/__w/"); ok && strings.HasPrefix(name, "GITHUB_") {
			sc.vars["host."+name] = filepath.Join(sc.runner.Work, rest)
		}
	}
	return args, nil
}

func (sc *scene) makeFiles(files []File) error {
	for _, f := range files {
		name, err := expandText(f.Path, sc.lookup)
		if err != nil {
			return err
		}
		text, err := expandText(f.Text, sc.lookup)
		if err != nil {
			return err
		}
		link, err := expandText(f.Link, sc.lookup)
		if err != nil {
			return err
		}
		f.Path, f.Text, f.Link = sc.path(name), text, link
		if err := makeFile(f); err != nil {
			return fmt.Errorf("making %s: %w", f.Path, err)
		}
	}
	return nil
}

func makeFile(f File) error {
	if f.Remove {
		return os.RemoveAll(f.Path)
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.Mode != 0 {
		mode = os.FileMode(f.Mode)
	}
	switch {
	case f.Link != "":
		return os.Symlink(f.Link, f.Path)
	case f.Pipe:
		return syscall.Mkfifo(f.Path, uint32(mode))
	case f.Folder:
		if f.Mode == 0 {
			mode = 0o755
		}
		return errors.Join(os.MkdirAll(f.Path, mode), os.Chmod(f.Path, mode))
	}
	return errors.Join(os.WriteFile(f.Path, []byte(f.Text), mode), os.Chmod(f.Path, mode))
}

// currentState is the state that the runner would send.
func (sc *scene) currentState() json.RawMessage {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.state
}

// end ends the job if there is one, and removes what the hook leaves. What it finds is not judged: cases do that.
func (sc *scene) end(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer stop()
	var problems []error
	for _, other := range sc.others {
		problems = append(problems, other.end(ctx))
	}
	return errors.Join(append(problems, sc.leave(ctx))...)
}

// leave is end for this runner alone.
func (sc *scene) leave(ctx context.Context) error {
	if sc.prepared {
		client := sc.runner.Client
		_, _ = client.Call(ctx, hook.CleanupJob, nil, sc.currentState()) // whatever it leaves is removed next
	}
	for _, sleep := range sc.sleeps {
		endProcesses(sleep) // a broken hook leaves them, also outside of containers
	}
	for _, l := range sc.listeners {
		l.Close()
	}
	have, err := sc.owned.now(ctx)
	if err != nil {
		return err
	}
	have.Containers = append(have.Containers, sc.foreign...)
	if err := sc.suite.Engine.Remove(ctx, have); err != nil && !errors.Is(err, ErrImpossible) {
		return err
	}
	return sc.suite.removeFolder(ctx, sc.runner.Root)
}
