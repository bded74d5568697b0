package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Process is what a mutant knows of its own process.
type Process struct {
	Environ        []string
	Stdin          io.Reader
	Stdout, Stderr *os.File
	// Signals are those that came.
	Signals <-chan os.Signal
}

func (p *Process) getenv(name string) string {
	for _, kv := range slices.Backward(p.Environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// call is one call of a mutant.
type call struct {
	*Process
	mutant  *Mutant
	hook    string // path of the good hook
	raw     []byte
	request map[string]any // nil: it is no JSON
	facts   facts
	status  int
}

// facts are remembered from prepare_job for later calls, in the runner's folder.
type facts struct{ Job, Network, Service string }

// Run is a call of the good hook at a path, broken as the mutant says. It returns the exit status.
func (m *Mutant) Run(ctx context.Context, p *Process, hookPath string) (int, error) {
	raw, err := io.ReadAll(p.Stdin)
	if err != nil {
		return 1, fmt.Errorf("reading the request: %w", err)
	}
	c := &call{Process: p, mutant: m, hook: hookPath, raw: raw}
	c.recall()
	if !m.applies(raw) {
		c.mutant = &Mutant{}
	}
	if err := c.alter(); err != nil {
		return 1, err
	}
	status, err := c.perform(ctx)
	if err != nil {
		return 1, err
	}
	c.remember()
	if err := c.respond(); err != nil {
		return 1, err
	}
	c.status = status
	if err := c.shell(ctx, c.mutant.After); err != nil {
		return 1, err
	}
	return c.mutant.Status.of(status), nil
}

// applies says whether a request is one that the mutant changes.
func (m *Mutant) applies(raw []byte) bool {
	var request struct{ Command string }
	_ = json.Unmarshal(raw, &request) // one that is no JSON is of no command
	return (len(m.On) == 0 || slices.Contains(m.On, request.Command)) &&
		(m.If.Regexp == nil || m.If.Match(raw)) && (m.Unless.Regexp == nil || !m.Unless.Match(raw))
}

func (s Status) of(status int) int {
	switch {
	case status == 0 && s.Zero != nil:
		return *s.Zero
	case status != 0 && s.NonZero != nil:
		return *s.NonZero
	}
	return status
}

// alter changes what the hook will read.
func (c *call) alter() error {
	s := c.mutant.Stdin
	if s.Keep.Regexp != nil {
		c.raw = s.Keep.Find(c.raw)
	}
	for _, r := range s.Replace {
		c.raw = r.Match.ReplaceAll(c.raw, []byte(r.With))
	}
	if s.Limit > 0 && len(c.raw) > s.Limit {
		c.raw = c.raw[:s.Limit]
	}
	if json.Unmarshal(c.raw, &c.request) != nil {
		return nil // the hook will say so
	}
	text, err := c.mutant.Request.alter(c.request, c.getenv)
	if err != nil {
		return err
	}
	if c.mutant.Request.changes() {
		c.raw = text
	}
	return nil
}

// changes says whether it changes anything: otherwise the request goes on byte by byte.
func (r *Request) changes() bool {
	return len(r.Drop)+len(r.Set)+len(r.Replace)+len(r.Remove)+len(r.DropNames)+len(r.DropValues) > 0 ||
		r.Shell != "" || r.Words != "" || r.Unstated
}

func (c *call) args() map[string]any {
	args, _ := c.request["args"].(map[string]any) // nil if there are none
	return args
}

// perform calls the hook, or does something else.
func (c *call) perform(ctx context.Context) (int, error) {
	if err := c.shell(ctx, c.mutant.Before); err != nil {
		return 1, err
	}
	if i := c.mutant.Instead; i != nil {
		fmt.Fprint(c.Stdout, i.Print)
		return i.Status, c.shell(ctx, i.Shell)
	}
	if h := c.mutant.Hook; h.Serial || h.Exclusive {
		unlock, err := c.lock(h.Exclusive)
		if err != nil {
			return 1, err
		}
		defer unlock()
	}
	if c.mutant.Hook.Chatty {
		fmt.Fprintf(c.Stdout, "%s\n", c.raw)
	}
	if c.mutant.Hook.Hold {
		holder := exec.Command("/bin/sleep", "8")
		holder.Stdout = c.Stdout
		if err := holder.Start(); err != nil {
			return 1, fmt.Errorf("leaving a process behind: %w", err)
		}
	}
	program, stdin := exec.Command("/bin/bash", "-e", c.hook), c.raw
	program.Env = c.hookEnv()
	if x := c.mutant.Hook.Exec; x != nil && c.facts.Job != "" {
		program, stdin = c.engineExec(x), nil
		if x.Request {
			stdin = c.raw
		}
	}
	status, err := c.start(program, stdin)
	if err == nil && c.mutant.Hook.Twice {
		again := exec.Command("/bin/bash", "-e", c.hook)
		again.Env = c.hookEnv()
		status, err = c.start(again, c.raw)
	}
	return status, err
}

// lock waits until no other call of this runner goes on, or fails if there is one.
func (c *call) lock(exclusive bool) (func(), error) {
	file, err := os.OpenFile(filepath.Join(c.root(), "mutant.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("waiting for other calls: %w", err)
	}
	how := syscall.LOCK_EX
	if exclusive {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(file.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for other calls: %w", err), file.Close())
	}
	return func() { file.Close() }, nil
}

func (c *call) hookEnv() []string {
	env := slices.Clone(c.Environ)
	for name, value := range c.mutant.Hook.Env {
		env = append(env, name+"="+value)
	}
	if p := c.mutant.Hook.EnvOfJob; p.Regexp != nil {
		for _, path := range []string{"environmentVariables.*", "container.environmentVariables.*"} {
			visit(c.args(), path, func(parent map[string]any, name string) {
				if p.MatchString(name) {
					env = append(env, name+"="+fmt.Sprint(parent[name]))
				}
			})
		}
	}
	return env
}

// engineExec is a script step done by the engine's own exec.
func (c *call) engineExec(x *Exec) *exec.Cmd {
	args := []string{"exec"}
	if x.OpenStdin || x.Request {
		args = append(args, "-i")
	}
	if x.Terminal {
		args = append(args, "-t")
	}
	args = append(args, "--workdir", fmt.Sprint(c.args()["workingDirectory"]))
	env := slices.Clone(c.Environ)
	visit(c.args(), "environmentVariables.*", func(parent map[string]any, name string) {
		pair := name + "=" + fmt.Sprint(parent[name])
		if x.InArgs {
			args = append(args, "-e", pair)
		} else {
			args, env = append(args, "-e", name), append(env, pair)
		}
	})
	cmd := exec.Command(c.getenv("MUTANT_ENGINE"), append(append(args, c.facts.Job), argv(c.args())...)...)
	cmd.Env = env
	return cmd
}

// start runs a program with the request, passes signals on, and gives its status.
func (c *call) start(program *exec.Cmd, stdin []byte) (int, error) {
	var stdout, stderr bytes.Buffer
	program.Stdout, program.Stderr = c.Stdout, c.Stderr
	switch {
	case len(c.mutant.Output) > 0:
		program.Stdout, program.Stderr = &stdout, &stderr
	case c.mutant.OutputLimit > 0:
		program.Stdout = &limited{c.Stdout, c.mutant.OutputLimit}
	}
	if x := c.mutant.Hook.Exec; x != nil && x.OpenStdin {
		open, _, err := os.Pipe() // its other end stays open as long as this process
		if err != nil {
			return 1, fmt.Errorf("making an input that does not end: %w", err)
		}
		program.Stdin = open
	} else {
		program.Stdin = bytes.NewReader(stdin)
	}
	// A hook that is killed does not go on: nor does the good one, then.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !c.mutant.Hook.Lonely {
		program.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := program.Start(); err != nil {
		return 1, fmt.Errorf("starting the good hook: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	err := c.wait(program.Process, ended)
	c.print(stdout.Bytes(), c.Stdout)
	c.print(stderr.Bytes(), c.Stderr)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, errLeft):
		return 1, nil
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		status, _ := exit.Sys().(syscall.WaitStatus)
		return 128 + int(status.Signal()), nil
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

// limited loses what comes after so many bytes.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	kept := p[:min(int64(len(p)), l.left)]
	l.left -= int64(len(kept))
	if _, err := l.w.Write(kept); err != nil {
		return 0, err
	}
	return len(p), nil
}

// errLeft: the mutant goes and lets the program run on.
var errLeft = errors.New("left")

// wait waits for a program and passes signals on.
func (c *call) wait(process *os.Process, ended <-chan error) error {
	for {
		select {
		case err := <-ended:
			return err
		case s := <-c.Signals:
			switch {
			case c.mutant.Hook.Lonely:
				return errLeft
			case !c.mutant.Hook.Deaf:
				_ = process.Signal(s) // it fails only if the program has ended
			}
		}
	}
}

func (c *call) print(text []byte, to io.Writer) {
	for _, r := range c.mutant.Output {
		text = r.Match.ReplaceAll(text, []byte(r.With))
	}
	to.Write(text)
}

func (c *call) root() string { return filepath.Dir(filepath.Dir(c.getenv("RUNNER_TEMP"))) }

// recall reads what was remembered.
func (c *call) recall() {
	if text, err := os.ReadFile(filepath.Join(c.root(), "mutant.json")); err == nil {
		_ = json.Unmarshal(text, &c.facts) // our own file
	}
}

// remember keeps the ids of prepare_job's answer.
func (c *call) remember() {
	if c.request["command"] != "prepare_job" {
		return
	}
	response, err := c.response()
	if err != nil {
		return
	}
	find := func(path string) (text string) {
		visit(response, path, func(parent map[string]any, name string) { text = fmt.Sprint(parent[name]) })
		return text
	}
	c.facts = facts{find("context.container.id"), find("context.container.network"), find("context.services.0.id")}
	if text, err := json.Marshal(c.facts); err == nil {
		_ = os.WriteFile(filepath.Join(c.root(), "mutant.json"), text, 0o600) // the mutant would only do less
	}
}

func (c *call) responseFile() string {
	path, _ := c.request["responseFile"].(string)
	return path
}

func (c *call) response() (map[string]any, error) {
	text, err := os.ReadFile(c.responseFile())
	if err != nil {
		return nil, err
	}
	response := map[string]any{}
	return response, json.Unmarshal(text, &response)
}

// respond alters the response file.
func (c *call) respond() error {
	r := c.mutant.Response
	if len(r.Drop)+len(r.Set) == 0 && r.Text == nil && r.Append == "" || c.responseFile() == "" {
		return nil
	}
	text, err := os.ReadFile(c.responseFile())
	if err != nil {
		return nil // there is none to alter
	}
	var response map[string]any
	if json.Unmarshal(text, &response) == nil && len(r.Drop)+len(r.Set) > 0 {
		for _, path := range r.Drop {
			visit(response, path, func(parent map[string]any, name string) { delete(parent, name) })
		}
		for path, value := range r.Set {
			create(response, path, value)
		}
		if text, err = json.Marshal(response); err != nil {
			return fmt.Errorf("altering the response: %w", err)
		}
	}
	if r.Text != nil {
		text = []byte(*r.Text)
	}
	return os.WriteFile(c.responseFile(), append(text, r.Append...), 0o644)
}

// shell runs a script of the mutant on the machine. Its output goes nowhere: the hook's own is judged.
func (c *call) shell(ctx context.Context, script string) error {
	if script == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-e", "-c", script)
	cmd.Stdin = bytes.NewReader(c.raw)
	cmd.Env = append(slices.Clone(c.Environ), "ENGINE="+c.getenv("MUTANT_ENGINE"), "IMAGE="+c.getenv("MUTANT_IMAGE"),
		"ROOT="+c.root(), "TOKEN="+filepath.Base(c.root()), "RESPONSE="+c.responseFile(), "STATUS="+strconv.Itoa(c.status),
		"JOB="+c.facts.Job, "NETWORK="+c.facts.Network, "SERVICE="+c.facts.Service)
	// A script that hangs does not outlive the mutant.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the mutant's script: %w: %s", err, out)
	}
	return nil
}
