package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// runValues are what a run is given beside its workflow.
type runValues struct {
	secrets, vars, env, rewrite map[string]string
	inputs                      *expr.Map
	event                       expr.Value
	github                      map[string]string
}

// runValues reads what flags and files give. All mistakes are told at once.
func (p *Process) runValues(o runOptions, w *workflow.Workflow, s *source) (*runValues, error) {
	var problems []error
	pairs := func(flag string, given []string) map[string]string {
		values, err := parsePairs(flag, given)
		problems = append(problems, err)
		return values
	}
	v := &runValues{
		vars: pairs("--var", o.vars), env: pairs("--env", o.env), rewrite: pairs("--image-rewrite", o.rewrite),
	}
	var errSecrets, errEvent, errInputs error
	v.secrets, errSecrets = p.secrets(o)
	v.event, errEvent = p.readEvent(o.event)
	if errEvent != nil {
		v.event = expr.NewMap() // to find what else is wrong
	}
	given := pairs("--input", o.inputs)
	v.github = githubFacts(w, s, eventName(w, len(given) > 0))
	v.inputs, errInputs = v.readInputs(w, given)
	if err := errors.Join(append(problems, errSecrets, errEvent, errInputs)...); err != nil {
		return nil, &usageError{err}
	}
	return v, nil
}

// parsePairs reads NAME=VALUE.
func parsePairs(flag string, given []string) (map[string]string, error) {
	values := map[string]string{}
	for _, pair := range given {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%s takes NAME=VALUE, not %q", flag, name)
		}
		values[name] = value
	}
	return values, nil
}

// secrets are those of the file, and above them those of flags.
func (p *Process) secrets(o runOptions) (map[string]string, error) {
	secrets := map[string]string{}
	if o.secretFile != "" {
		if err := readSecretFile(p.abs(o.secretFile), secrets); err != nil {
			return nil, err
		}
	}
	for _, given := range o.secrets {
		name, value, ok := strings.Cut(given, "=")
		if !ok {
			value, ok = p.lookupEnv(name)
		}
		if !ok || name == "" {
			return nil, fmt.Errorf("there is no variable %q in the environment for --secret", name)
		}
		secrets[name] = value
	}
	return secrets, nil
}

func (p *Process) lookupEnv(name string) (string, bool) {
	has := slices.ContainsFunc(p.Environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	return p.Getenv(name), has
}

// readSecretFile reads lines NAME=VALUE; empty ones and those that begin with # do not count, quotes around a value go.
func readSecretFile(path string, secrets map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading --secret-file: %w", err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("reading --secret-file: %s:%d: a line is NAME=VALUE", path, number)
		}
		value = strings.TrimSpace(value)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		secrets[strings.TrimSpace(name)] = value
	}
	return nil
}

func (p *Process) readEvent(path string) (expr.Value, error) {
	if path == "" {
		return expr.NewMap(), nil
	}
	text, err := os.ReadFile(p.abs(path))
	if err != nil {
		return nil, fmt.Errorf("reading --event: %w", err)
	}
	if !json.Valid(text) {
		var anything any
		return nil, fmt.Errorf("reading --event: %s is not JSON: %w", path, json.Unmarshal(text, &anything))
	}
	event, err := expr.DecodeJSON(string(text))
	if _, ok := event.(expr.Object); err == nil && !ok {
		err = errors.New("it is no object")
	}
	if err != nil {
		return nil, fmt.Errorf("reading --event: %s: %w", path, err)
	}
	return event, nil
}

// eventName is the event that a run stands for: workflow_dispatch if inputs are given, else the likeliest one.
func eventName(w *workflow.Workflow, withInputs bool) string {
	names := []string{"push", "pull_request", "workflow_dispatch"}
	if withInputs {
		names = []string{"workflow_dispatch", "workflow_call"}
	}
	for _, name := range names {
		if slices.Contains(w.Events, name) {
			return name
		}
	}
	if len(w.Events) > 0 {
		return w.Events[0]
	}
	return "push"
}

// readInputs makes the context inputs, and github.event.inputs of an event that has them.
func (v *runValues) readInputs(w *workflow.Workflow, given map[string]string) (*expr.Map, error) {
	inputs := w.Inputs
	switch v.github["event_name"] {
	case "workflow_dispatch":
	case "workflow_call":
		inputs = w.Call.Inputs
	default:
		inputs = nil
	}
	values := map[string]expr.Value{}
	for name, value := range given {
		values[name] = value
	}
	context, err := workflow.InputValues(inputs, values, nil)
	if err != nil {
		return nil, err
	}
	event, isMap := v.event.(*expr.Map)
	if _, has := v.event.(expr.Object).Get("inputs"); isMap && !has && len(inputs) > 0 {
		texts := expr.NewMap()
		for _, name := range context.Names() {
			value, _ := context.Get(name)
			texts.Set(name, expr.Text(value))
		}
		event.Set("inputs", texts)
	}
	return context, nil
}

// githubFacts are the members of the context github that do not change during a run.
func githubFacts(w *workflow.Workflow, s *source, event string) map[string]string {
	facts := map[string]string{
		"event_name": event, "workflow": w.Name, "run_id": "1", "run_number": "1", "run_attempt": "1",
		"sha": s.git.sha, "ref": s.git.ref, "repository": s.git.repository, "actor": strings.ReplaceAll(s.git.user, " ", "-"),
	}
	for name, otherwise := range map[string]string{
		"sha": strings.Repeat("0", 40), "ref": "refs/heads/main", "repository": "local/" + filepath.Base(s.root), "actor": "local",
	} {
		if facts[name] == "" {
			facts[name] = otherwise
		}
	}
	kind, name := "branch", strings.TrimPrefix(facts["ref"], "refs/heads/")
	if tag, ok := strings.CutPrefix(facts["ref"], "refs/tags/"); ok {
		kind, name = "tag", tag
	}
	facts["ref_type"], facts["ref_name"] = kind, name
	facts["triggering_actor"] = facts["actor"]
	facts["repository_owner"], _, _ = strings.Cut(facts["repository"], "/")
	return facts
}

// context is the context github as keys of jobs see it.
func (v *runValues) context() *expr.Map {
	m := textMap(v.github)
	m.Set("event", v.event)
	m.Set("server_url", "https://github.com")
	m.Set("api_url", "https://api.github.com")
	m.Set("graphql_url", "https://api.github.com/graphql")
	return m
}

func textMap(values map[string]string) *expr.Map {
	m := expr.NewMap()
	for name, value := range values {
		m.Set(name, value)
	}
	return m
}
