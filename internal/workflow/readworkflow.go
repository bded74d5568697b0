package workflow

import (
	"go.yaml.in/yaml/v4"
)

func (r *reader) workflow() *Workflow {
	w := &Workflow{Name: r.file, File: r.file, lines: r.lines}
	if r.root == nil {
		r.report(Pos{1, 1}, Error, kindSyntax, "the workflow is empty")
		return w
	}
	for key, value := range r.fields(r.root, "the workflow") {
		r.workflowKey(w, key, value)
	}
	w.Ignored = r.ignored
	return w
}

func (r *reader) workflowKey(w *Workflow, key, value *yaml.Node) {
	switch key.Value {
	case "name":
		if name := r.text(value, "name"); name.Raw != "" {
			w.Name = name.Raw
		}
	case "run-name":
		w.RunName = r.text(value, "run-name")
	case "on":
		r.events(w, value)
	case "env":
		w.Env = r.varsOrExpr(value, "env")
	case "defaults":
		w.Defaults = r.defaults(value)
	case "jobs":
		r.jobs(w, value)
	case "permissions":
		r.ignore(key)
	case "concurrency":
		r.concurrency(key, value)
	case "description": // of reusable workflows; newer than actionlint
		r.accept(key)
	default:
		r.unknownKey(key, "the workflow")
	}
}

func (r *reader) concurrency(key, value *yaml.Node) {
	r.ignore(key)
	if value.Kind != yaml.MappingNode {
		return
	}
	for key := range r.fields(value, "concurrency") {
		if key.Value == "queue" { // newer than actionlint
			r.accept(key)
		}
	}
}

func (r *reader) defaults(n *yaml.Node) Defaults {
	var d Defaults
	for key, value := range r.fields(n, "defaults") {
		if key.Value != "run" {
			r.unknownKey(key, "defaults")
			continue
		}
		for key, value := range r.fields(value, "defaults.run") {
			switch key.Value {
			case "shell":
				d.Shell = r.text(value, "shell")
			case "working-directory":
				d.WorkingDirectory = r.text(value, "working-directory")
			default:
				r.unknownKey(key, "defaults.run")
			}
		}
	}
	return d
}

func (r *reader) events(w *Workflow, n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode, yaml.SequenceNode:
		for _, event := range r.itemsOrOne(n, "on") {
			r.event(w, event, nil)
		}
	default:
		for key, value := range r.fields(n, "on") {
			r.event(w, key, value)
		}
	}
}

// event reads one event. Its filters are for GitHub alone; settings may be nil.
func (r *reader) event(w *Workflow, name, settings *yaml.Node) {
	w.Events = append(w.Events, r.literal(name, "an event"))
	switch name.Value {
	case "workflow_call":
		w.Call = r.callInputs(posOf(name), settings)
	case "workflow_dispatch":
		if settings == nil {
			return
		}
		for key, value := range r.fields(settings, "workflow_dispatch") {
			if key.Value == "inputs" {
				w.Inputs = r.inputs(value, "inputs")
			}
		}
	}
}

func (r *reader) callInputs(pos Pos, n *yaml.Node) *CallInputs {
	c := &CallInputs{Pos: pos}
	if n == nil {
		return c
	}
	for key, value := range r.fields(n, "workflow_call") {
		switch key.Value {
		case "inputs":
			c.Inputs = r.inputs(value, "inputs")
		case "secrets":
			c.Secrets = r.callSecrets(value)
		case "outputs":
			c.Outputs = r.valuesOf(value, "outputs")
		default:
			r.unknownKey(key, "workflow_call")
		}
	}
	return c
}

func (r *reader) callSecrets(n *yaml.Node) []CallSecret {
	var all []CallSecret
	for key, value := range r.fields(n, "secrets") {
		secret := CallSecret{Name: key.Value, Pos: posOf(key)}
		for key, value := range r.fields(value, "a secret") {
			if key.Value == "required" {
				secret.Required = r.flag(value, "required").Value
			}
		}
		all = append(all, secret)
	}
	return all
}

// valuesOf reads outputs of the form NAME: {description: …, value: …}.
func (r *reader) valuesOf(n *yaml.Node, what string) []Var {
	var all []Var
	for key, value := range r.fields(n, what) {
		output := Var{Name: key.Value, Pos: posOf(key)}
		for key, value := range r.fields(value, "an output") {
			if key.Value == "value" {
				output.Value = r.text(value, "value")
			}
		}
		all = append(all, output)
	}
	return all
}

// inputs reads those of workflows and of actions.
func (r *reader) inputs(n *yaml.Node, what string) []Input {
	var all []Input
	for key, value := range r.fields(n, what) {
		all = append(all, r.input(key, value))
	}
	return all
}

func (r *reader) input(name, n *yaml.Node) Input {
	input := Input{Name: name.Value, Pos: posOf(name), Type: "string"}
	for key, value := range r.fields(n, "an input") {
		switch key.Value {
		case "description":
			input.Description = r.text(value, "description").Raw
		case "type":
			input.Type = r.literal(value, "type")
		case "required":
			input.Required = r.required(value)
		case "default":
			input.Default = r.scalar(value, "default")
		case "options":
			for _, option := range r.texts(value, "options") {
				input.Options = append(input.Options, option.Raw)
			}
		case "deprecationMessage":
			input.Deprecated = r.text(value, "deprecationMessage").Raw
		}
	}
	return input
}

// required takes 'true' for true, as many actions have it.
func (r *reader) required(n *yaml.Node) bool {
	s := r.scalar(n, "required")
	return s.Value == true || s.Value == "true"
}
