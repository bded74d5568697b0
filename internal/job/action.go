package job

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/workflow"
)

// runAction runs one stage of the step's action (ActionRunner.cs).
func (x *execution) runAction(ctx context.Context, s stage) error {
	u := x.use
	if err := x.ready(ctx, s); err != nil {
		return err
	}
	if s != post && u.has(post) {
		x.registerPost()
	}
	x.describe()
	if err := x.makeFiles(); err != nil {
		return err
	}
	defer x.readFiles()
	inputs, err := x.inputs()
	if err != nil {
		return err
	}
	x.announceAction(s, inputs)
	switch a := u.action; {
	case u.checkout:
		return x.checkout(ctx, inputs)
	case a.Node != nil:
		return x.runNode(ctx, s, inputs)
	case a.Docker != nil:
		return x.runDocker(ctx, s, inputs)
	}
	return x.runComposite(ctx, s, inputs)
}

// ready reads a local action, now that the workspace has it.
func (x *execution) ready(ctx context.Context, s stage) error {
	u := x.use
	if u.step.Uses.Kind != workflow.LocalAction || s != main {
		return nil
	}
	u.dir = filepath.Join(x.dirs.Workspace, u.step.Uses.Path)
	if err := x.load(ctx, u); err != nil {
		return err
	}
	if u.has(pre) {
		x.log.warning(fmt.Sprintf("`pre` execution is not supported for local action from '%s'", u.name()))
	}
	return nil
}

// registerPost makes the post step of the action run at the end: of the job, or of the composite action's post step.
func (x *execution) registerPost() {
	if !x.use.register() {
		return
	}
	if x.frame.composite() {
		x.frame.outer.use.addPost(x.use)
		return
	}
	x.state.pushPost(x.use.task(post))
}

// describe sets github.action_repository and action_ref, which are empty but for actions of other repositories.
func (x *execution) describe() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.github["action_repository"], x.github["action_ref"] = "", ""
	if uses := x.step.Uses; uses != nil && uses.Kind == workflow.RepositoryAction {
		x.github["action_repository"], x.github["action_ref"] = uses.Owner+"/"+uses.Repo, uses.Ref
	}
}

// inputs evaluates `with`, and adds the defaults of the action.
func (x *execution) inputs() ([]pair, error) {
	u := x.use
	inputs, err := x.inside().list(u.step.Uses.With)
	if err != nil {
		return nil, err
	}
	x.warnOfInputs(inputs)
	defaults := evaluator{source: u.action.Source(u.dir), scope: x.evaluator().scope}
	for _, input := range u.action.Inputs {
		if _, given := value(inputs, input.Name); given {
			continue
		}
		text, err := defaults.text(input.Default.Text)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, pair{input.Name, text})
	}
	return inputs, nil
}

// warnOfInputs tells of inputs that are deprecated or that the action does not know.
func (x *execution) warnOfInputs(given []pair) {
	u := x.use
	var valid, unexpected []string
	if u.action.Docker != nil {
		valid = append(valid, "entryPoint", "args")
	}
	for _, input := range u.action.Inputs {
		valid = append(valid, input.Name)
	}
	for _, p := range given {
		if input, ok := u.action.Input(p.name); ok && input.Deprecated != "" {
			x.log.warning(fmt.Sprintf("Input '%s' has been deprecated with message: %s", p.name, input.Deprecated))
		}
		if !slices.ContainsFunc(valid, func(name string) bool { return strings.EqualFold(name, p.name) }) {
			unexpected = append(unexpected, p.name)
		}
	}
	if len(unexpected) > 0 && u.step.Uses.Kind != workflow.DockerImage && !u.checkout {
		x.log.warning(fmt.Sprintf("Unexpected input(s) '%s', valid inputs are ['%s']",
			strings.Join(unexpected, "', '"), strings.Join(valid, "', '")))
	}
}

// value finds a pair by its name; upper and lower case are the same.
func value(pairs []pair, name string) (string, bool) {
	for _, p := range pairs {
		if strings.EqualFold(p.name, name) {
			return p.value, true
		}
	}
	return "", false
}

// inputVariables are INPUT_*.
func inputVariables(inputs []pair) []pair {
	var all []pair
	for _, p := range inputs {
		all = append(all, pair{"INPUT_" + strings.ToUpper(strings.ReplaceAll(p.name, " ", "_")), p.value})
	}
	return all
}

// announceAction prints the head of the step's log.
func (x *execution) announceAction(s stage, inputs []pair) {
	if s == post {
		x.log.line("Post job cleanup.")
		return
	}
	x.log.group("Run " + x.use.name())
	x.announcePairs("with:", slices.DeleteFunc(slices.Clone(inputs), func(p pair) bool { return p.value == "" }))
	x.announceEnv()
	x.log.endgroup()
}
