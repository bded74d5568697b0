package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/hook"
)

// observation is what came of a call.
type observation struct {
	stdout, stderr printed
	status         int
	held           bool
	signals        []syscall.Signal
	took           time.Duration
	text           []byte // of the response file; nil if it was not read
	runnerErr      error  // a *hook.CallError
	meanwhile      []Failure
	hung           bool
}

// made is a call that has been expanded, with what it needs while it runs.
type made struct {
	*Call
	label  string
	stdout *collector
	stderr *collector
	ended  chan struct{}
}

// limit bounds every call. A hook that takes longer hangs.
const limit = 3 * time.Minute

// limit is shorter for a call that must end soon: then it is known already that it failed.
func (m *made) limit() time.Duration {
	var expect struct{ Within time.Duration }
	if m.Expect.Decode(&expect) == nil && expect.Within > 0 {
		return min(limit, expect.Within+15*time.Second)
	}
	return limit
}

// run makes a call and checks what must be observed. The error is the suite's own trouble.
func (sc *scene) run(ctx context.Context, node *yaml.Node, number string, first *made) ([]Failure, error) {
	call, err := sc.read(node)
	var nothing unknown
	if errors.As(err, &nothing) && nothing.ofHook() {
		return []Failure{{Call: number, What: "what the call is about", Expected: "is known from the hook's earlier response", Observed: err.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	if call.Runner != "" {
		other, err := sc.other(ctx, call.Runner)
		if err != nil {
			return nil, err
		}
		call.Runner, sc = "", other
	}
	label := strings.TrimSpace(number + " " + call.kind())
	if call.Together != nil {
		return sc.runTogether(ctx, call.Together, number)
	}
	if err := sc.makeFiles(call.Before); err != nil {
		return nil, err
	}
	m := &made{Call: call, label: label, stdout: newCollector(call.Since), stderr: newCollector(""), ended: make(chan struct{})}
	if first != nil {
		m = first
		m.Call, m.label = call, label
	}
	defer close(m.ended)
	if call.Host != nil {
		return sc.runHost(ctx, m)
	}
	seen, err := sc.observe(ctx, m)
	if err != nil {
		return nil, err
	}
	if call.Prepare != nil {
		if _, err := sc.owned.now(ctx); err != nil { // to know later what belongs to this job
			return nil, err
		}
	}
	failures, err := sc.judge(ctx, call, seen)
	if line := refused(seen); err == nil && len(failures) > 0 && line != "" && failures[0].What == "status" {
		return nil, &notSupported{line}
	}
	for i := range failures {
		failures[i].Call = label
	}
	return failures, err
}

// read expands a call, but for what it expects.
func (sc *scene) read(node *yaml.Node) (*Call, error) {
	later := *node
	later.Content = nil
	var expect yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch node.Content[i].Value {
		case "expect":
			expect = *node.Content[i+1]
		case "together":
			return unmarshalCall(node)
		default:
			later.Content = append(later.Content, node.Content[i], node.Content[i+1])
		}
	}
	expanded, err := expand(&later, sc.lookup)
	if err != nil {
		return nil, err
	}
	call, err := unmarshalCall(expanded)
	if err != nil {
		return nil, err
	}
	call.Expect = expect
	return call, nil
}

// runTogether makes calls at the same time. After conditions are about the output of the first.
func (sc *scene) runTogether(ctx context.Context, nodes []yaml.Node, number string) ([]Failure, error) {
	first := &made{stdout: newCollector(""), stderr: newCollector(""), ended: make(chan struct{})}
	ctx, stop := context.WithCancel(ctx) // one that cannot be judged keeps nobody waiting
	defer stop()
	failures, errs := make([][]Failure, len(nodes)), make([]error, len(nodes))
	var wait sync.WaitGroup
	for i := range nodes {
		wait.Go(func() {
			number := fmt.Sprintf("%s.%d", number, i+1)
			if i == 0 {
				failures[0], errs[0] = sc.run(ctx, &nodes[0], number, first)
				return
			}
			var peek Call
			if call, err := sc.read(&nodes[i]); err == nil {
				peek = *call
			}
			if peek.After != nil {
				if came, err := sc.until(ctx, peek.After, first, first.ended); err != nil || !came {
					failures[i], errs[i] = []Failure{tooEarly("what "+number+" comes after", peek.After)}, err
					return
				}
			}
			if failures[i], errs[i] = sc.run(ctx, &nodes[i], number, nil); errs[i] != nil {
				stop()
			}
		})
	}
	wait.Wait()
	var all []Failure
	for _, f := range failures {
		all = append(all, f...)
	}
	return all, errors.Join(errs...)
}

// observe makes a call and sees what comes of it.
func (sc *scene) observe(ctx context.Context, m *made) (*observation, error) {
	ctx, stop := context.WithTimeout(ctx, m.limit())
	defer stop()
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	client := sc.runner.Client
	client.Stdout, client.Stderr = m.stdout, m.stderr
	client.Env = cloneEnv(client.Env, m.Env)
	done := make(chan struct{})
	var aside sync.WaitGroup
	var mu sync.Mutex
	var troubles []error
	var meanwhile []Failure
	also := func(do func() ([]Failure, error)) {
		aside.Go(func() {
			failures, err := do()
			mu.Lock()
			defer mu.Unlock()
			meanwhile, troubles = append(meanwhile, failures...), append(troubles, err)
		})
	}
	if m.Cancel != nil {
		also(func() ([]Failure, error) { defer cancel(); return sc.cancel(cancelled, m, done) })
	}
	if len(m.Signals) > 0 {
		also(func() ([]Failure, error) { return sc.sendSignals(cancelled, m, done) })
	}
	if m.Watch != nil {
		also(func() ([]Failure, error) { return sc.watch(m.Watch, done), nil })
	}
	start := time.Now()
	seen, err := sc.call(cancelled, &client, m)
	if seen != nil {
		seen.took, seen.hung = time.Since(start), ctx.Err() != nil
	}
	close(done)
	aside.Wait()
	if err == nil {
		seen.stdout, seen.stderr, seen.meanwhile = m.stdout.result(), m.stderr.result(), meanwhile
		err = errors.Join(troubles...)
	}
	return seen, err
}

// call speaks to the hook, in the runner's form or in another.
func (sc *scene) call(ctx context.Context, client *hook.Client, m *made) (*observation, error) {
	if m.Stdin != nil || m.Form != "" {
		return sc.raw(ctx, client, m)
	}
	command, args, err := sc.args(m.Call)
	if err != nil {
		return nil, err
	}
	state, err := sc.sentState(command, m.Call)
	if err != nil {
		return nil, err
	}
	sc.begin(command == hook.PrepareJob)
	result, err := client.Call(ctx, command, args, state)
	seen := &observation{status: result.ExitCode, held: result.OutputHeld, signals: result.Signals, text: result.ResponseText}
	var refused *hook.CallError
	if errors.As(err, &refused) {
		seen.runnerErr, err = refused, nil
	}
	if err == nil {
		sc.took(command, result)
	}
	return seen, err
}

// sentState is the runner's, or what the case says.
func (sc *scene) sentState(command hook.Command, call *Call) (json.RawMessage, error) {
	switch {
	case !call.State.IsZero():
		value, err := asJSON(&call.State)
		if err != nil {
			return nil, err
		}
		return json.Marshal(value)
	case command == hook.PrepareJob:
		return nil, nil
	}
	return sc.currentState(), nil
}

// begin notes that there may be a job to clean up.
func (sc *scene) begin(prepares bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.prepared = sc.prepared || prepares
}

// took takes over what the runner would.
func (sc *scene) took(command hook.Command, result *hook.CallResult) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.state = result.State
	if command == hook.PrepareJob && result.ResponseText != nil {
		sc.remember(result.ResponseText)
	}
}

// remember keeps a response of prepare_job for variables. sc.mu is held.
func (sc *scene) remember(text []byte) {
	var response any
	if json.Unmarshal(text, &response) != nil {
		return
	}
	sc.response = response
	for name, path := range map[string]string{
		"job": "context.container.id", "network": "context.container.network",
		"service.0": "context.services.0.id", "service.1": "context.services.1.id",
	} {
		if value, ok := at(response, path); ok {
			sc.vars[name] = textOf(value)
		}
	}
}

// raw sends a standard input that no runner sends, and reads the response file as it is.
func (sc *scene) raw(ctx context.Context, client *hook.Client, m *made) (*observation, error) {
	file := filepath.Join(sc.runner.Work, "_temp/_runner_hook_responses", randomHex(8)+".json")
	if err := makeFile(File{Path: file}); err != nil {
		return nil, fmt.Errorf("making the response file: %w", err)
	}
	stdin, err := sc.stdin(m.Call, file)
	if err != nil {
		return nil, err
	}
	sc.begin(strings.Contains(string(stdin), "prepare_job"))
	result, err := client.Run(ctx, stdin)
	if err != nil {
		return nil, err
	}
	seen := &observation{status: result.ExitCode, held: result.OutputHeld, signals: result.Signals}
	if text, err := os.ReadFile(file); err == nil && result.ExitCode == 0 {
		seen.text = text
		sc.takeRaw(text)
	}
	return seen, nil
}

func (sc *scene) takeRaw(text []byte) {
	var response struct{ State json.RawMessage }
	if json.Unmarshal(text, &response) != nil {
		return
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if len(response.State) > 0 {
		sc.state = response.State
	}
	sc.remember(text)
}

var responseFile = regexp.MustCompile(`%response-file%`)

// stdin words a whole standard input.
func (sc *scene) stdin(call *Call, file string) ([]byte, error) {
	if call.Stdin != nil {
		return []byte(responseFile.ReplaceAllLiteralString(*call.Stdin, file)), nil
	}
	command, args, err := sc.args(call)
	if err != nil {
		return nil, err
	}
	state, err := sc.sentState(command, call)
	if err != nil {
		return nil, err
	}
	request := object{"command": string(command), "responseFile": file, "args": args, "state": state}
	return forms()[call.Form](request)
}
