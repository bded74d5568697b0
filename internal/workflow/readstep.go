package workflow

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// stepPlace says where a list of steps stands, which decides what its steps can be.
type stepPlace int

const (
	jobSteps stepPlace = iota
	parallelSteps
	compositeSteps
)

func (r *reader) steps(n *yaml.Node, where stepPlace) []*Step {
	var all []*Step
	for _, item := range r.items(n, "steps") {
		all = append(all, r.step(item, where))
	}
	if where == jobSteps {
		r.checkTargets(all)
	}
	if where != parallelSteps {
		nameSteps(all)
	}
	return all
}

// stepFields are the values of a step by key, and the keys in the order of the file.
type stepFields struct {
	node   *yaml.Node
	keys   []*yaml.Node
	values map[string]*yaml.Node
}

func (r *reader) step(n *yaml.Node, where stepPlace) *Step {
	f := stepFields{node: n, values: map[string]*yaml.Node{}}
	for key, value := range r.fields(n, "a step") {
		f.keys = append(f.keys, key)
		f.values[key.Value] = value
	}
	step := &Step{Pos: posOf(n)}
	kind := r.stepKind(f)
	for _, key := range f.keys {
		r.stepKey(step, kind, key, f.values[key.Value])
	}
	if kind == "uses" {
		step.Uses = r.uses(f)
	}
	r.checkStep(step, f, kind, where)
	return step
}

// stepKinds are the keys of which a step has one, with those that can be beside it.
func stepKinds() map[string][]string {
	action := []string{"id", "name", "if", "env", "continue-on-error", "timeout-minutes", "background"}
	control := []string{"id", "name", "continue-on-error"}
	return map[string][]string{
		"run":      append([]string{"shell", "working-directory"}, action...),
		"uses":     append([]string{"with"}, action...),
		"wait":     control,
		"wait-all": control,
		"cancel":   control,
		"parallel": {},
	}
}

// stepKind finds what a step does; "" after a finding.
func (r *reader) stepKind(f stepFields) string {
	kind := ""
	for _, key := range f.keys {
		if _, ok := stepKinds()[key.Value]; !ok {
			continue
		}
		if kind != "" {
			r.wrong(key, "a step with %q cannot have %q too", kind, key.Value)
			continue
		}
		kind = key.Value
	}
	if kind == "" && f.node.Kind == yaml.MappingNode {
		r.wrong(f.node, `a step needs one of "run", "uses", "wait", "wait-all", "cancel" and "parallel"`)
	}
	return kind
}

func (r *reader) stepKey(step *Step, kind string, key, value *yaml.Node) {
	switch key.Value {
	case "id":
		step.ID = r.literal(value, "id")
	case "name":
		step.Name = r.text(value, "name")
	case "if":
		step.If = r.text(value, "if")
	case "env":
		step.Env = r.varsOrExpr(value, "env")
	case "continue-on-error":
		step.ContinueOnError = r.flag(value, "continue-on-error")
	case "timeout-minutes":
		step.TimeoutMinutes = r.number(value, "timeout-minutes")
	case "background":
		step.Background = r.background(value)
	case "run", "shell", "working-directory":
		r.runKey(step, key.Value, value)
	case "wait", "wait-all", "cancel", "parallel":
		r.controlKey(step, kind, key.Value, value)
	}
}

func (r *reader) background(n *yaml.Node) bool {
	f := r.flag(n, "background")
	if f.Text.HasExpr() {
		r.wrong(n, "background cannot have an expression")
	}
	return f.Value
}

func (r *reader) runKey(step *Step, key string, value *yaml.Node) {
	if step.Run == nil {
		step.Run = &Run{}
	}
	switch key {
	case "run":
		step.Run.Script = r.text(value, "run")
	case "shell":
		step.Run.Shell = r.text(value, "shell")
	case "working-directory":
		step.Run.WorkingDirectory = r.text(value, "working-directory")
	}
}

func (r *reader) controlKey(step *Step, kind, key string, value *yaml.Node) {
	if kind != key {
		return
	}
	switch key {
	case "wait":
		step.Wait = &Wait{For: r.references(value, "wait")}
	case "wait-all":
		step.Wait = &Wait{All: true}
		if !isNull(value) && !r.flag(value, "wait-all").Value {
			r.wrong(value, "wait-all takes no value")
		}
	case "cancel":
		step.Cancel = &Cancel{Need{ID: r.literal(value, "cancel"), Pos: posOf(value)}}
	case "parallel":
		step.Parallel = r.steps(value, parallelSteps)
	}
}

// checkStep looks at what can stand beside and inside of what, and tells what actionlint has to learn.
func (r *reader) checkStep(step *Step, f stepFields, kind string, where stepPlace) {
	if kind != "run" {
		step.Run = nil
	}
	switch kind {
	case "wait", "wait-all", "cancel", "parallel":
		r.accept(f.node)
		if where != jobSteps {
			r.wrong(f.node, "%q can only be a step of a job, not inside of a composite action or of parallel", kind)
		}
	}
	for _, key := range f.keys {
		switch {
		case kind == "" || stepKinds()[key.Value] != nil: // stepKind has spoken of it
		case !slices.Contains(stepKinds()[kind], key.Value):
			r.unknownKey(key, fmt.Sprintf("a step with %q", kind))
		case key.Value == "background":
			r.accept(key)
			if where != jobSteps {
				r.wrong(key, "background can only be in steps of a job, not inside of a composite action or of parallel")
			}
		case key.Value == "timeout-minutes" && where == compositeSteps:
			r.wrong(key, "steps of a composite action have no timeout-minutes")
		}
	}
}

// checkTargets looks whether every step that waits or cancels names a step in the background before it.
func (r *reader) checkTargets(steps []*Step) {
	background := map[string]bool{}
	for _, step := range steps {
		var targets []Need
		switch {
		case step.Wait != nil:
			targets = step.Wait.For
		case step.Cancel != nil:
			targets = []Need{step.Cancel.Step}
		}
		for _, target := range targets {
			if !background[strings.ToLower(target.ID)] {
				r.report(target.Pos, Error, kindSyntax, "%q is not the id of a step before with background: true", target.ID)
			}
		}
		if step.Background {
			background[strings.ToLower(step.ID)] = true
		}
	}
}

func (r *reader) uses(f stepFields) *Uses {
	n := f.values["uses"]
	u := &Uses{Text: r.text(n, "uses")}
	if u.Text.HasExpr() {
		r.wrong(n, "uses cannot have an expression")
	} else if err := u.parse(u.Text.Raw); err != nil && u.Text.Written() {
		r.wrong(n, "%s", err)
	}
	if with, ok := f.values["with"]; ok {
		u.With = r.vars(with, "with")
	}
	return u
}

// parse splits what uses says, by the rules of the runner.
func (u *Uses) parse(ref string) error {
	if image, ok := strings.CutPrefix(ref, "docker://"); ok {
		u.Kind, u.Image = DockerImage, image
		if image == "" {
			return fmt.Errorf("%q names no image", ref)
		}
		return nil
	}
	if strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, `.\`) || ref == "." {
		return u.parseLocal(ref)
	}
	return u.parseRepository(ref)
}

func (u *Uses) parseLocal(ref string) error {
	u.Kind = LocalAction
	u.Path = path.Clean(strings.ReplaceAll(ref, `\`, "/"))
	if u.Path == ".." || strings.HasPrefix(u.Path, "../") {
		return fmt.Errorf("%q is outside of the workspace", ref)
	}
	return nil
}

func (u *Uses) parseRepository(ref string) error {
	u.Kind = RepositoryAction
	name, version, found := strings.Cut(ref, "@")
	parts := strings.FieldsFunc(name, func(c rune) bool { return c == '/' || c == '\\' })
	if !found || version == "" || strings.Contains(version, "@") || len(parts) < 2 {
		return fmt.Errorf("%q is no action: write owner/repo@ref, owner/repo/path@ref, ./path or docker://image", ref)
	}
	u.Owner, u.Repo, u.Path, u.Ref = parts[0], parts[1], strings.Join(parts[2:], "/"), version
	for _, part := range parts {
		if part == ".." || part == "." {
			return fmt.Errorf("%q is no action: a part of it is %q", ref, part)
		}
	}
	return nil
}
