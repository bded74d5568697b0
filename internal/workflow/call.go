package workflow

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/spell"
)

// maxCallDepth is how many files may call one another, the first included: GitHub's limit.
const maxCallDepth = 10

// call reads the workflow that a job calls, and compares what it takes with what it is given.
func (l *loader) call(r *reader, job *Job) {
	call := job.Call
	from := len(r.findings)
	defer func() { l.findings = append(l.findings, r.findings[from:]...) }()
	if !r.calledPath(call) {
		return
	}
	if slices.Contains(l.open, call.Path) {
		r.report(call.Uses.Pos, Error, kindCall, "%s calls itself: %s", call.Path,
			strings.Join(append(slices.Clone(l.open), call.Path), " calls "))
		return
	}
	if len(l.open) >= maxCallDepth {
		r.report(call.Uses.Pos, Error, kindCall, "more than %d workflows call one another", maxCallDepth)
		return
	}
	called, err := l.load(call.Path)
	if errors.Is(err, fs.ErrNotExist) {
		r.report(call.Uses.Pos, Error, kindCall, "there is no file %s", call.Path)
		return
	} else if err != nil {
		r.report(call.Uses.Pos, Error, kindCall, "%s", err)
		return
	}
	call.Workflow = called
	if called.Call == nil {
		r.report(call.Uses.Pos, Error, kindCall, "%s cannot be called: it lacks on: workflow_call", call.Path)
		return
	}
	r.checkArguments(call)
	r.checkSecrets(call)
}

// calledPath finds the file that is called. Only those of the same repository can be.
func (r *reader) calledPath(call *Call) bool {
	uses := call.Uses
	local, ok := strings.CutPrefix(uses.Raw, "./")
	switch {
	case uses.HasExpr():
		r.report(uses.Pos, Error, kindSyntax, "uses cannot have an expression")
	case !ok:
		r.report(uses.Pos, Error, kindUnsupported,
			"workflows of other repositories cannot be called here; copy %s into this one and write ./.github/workflows/…", uses.Raw)
	case strings.Contains(local, "@"):
		r.report(uses.Pos, Error, kindCall, "a workflow of the same repository has no @ref")
	case !fs.ValidPath(path.Clean(local)):
		r.report(uses.Pos, Error, kindCall, "%q is outside of the repository", uses.Raw)
	default:
		call.Path = path.Clean(local)
		return true
	}
	return false
}

func (r *reader) checkArguments(call *Call) {
	var names []string
	given := map[string]bool{}
	for _, input := range call.Workflow.Call.Inputs {
		names = append(names, input.Name)
	}
	for _, argument := range call.With {
		given[lower(argument.Name)] = true
		i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, argument.Name) })
		if i < 0 {
			r.unknownName(argument.Pos, "input", argument.Name, call.Path, names)
			continue
		}
		r.checkType(argument, call.Workflow.Call.Inputs[i])
	}
	for _, input := range call.Workflow.Call.Inputs {
		if input.Required && !given[lower(input.Name)] {
			r.report(call.Uses.Pos, Error, kindCall, "%s requires the input %q", call.Path, input.Name)
		}
	}
}

func (r *reader) unknownName(pos Pos, what, name, file string, known []string) {
	hint := ""
	if near := spell.Closest(name, known); near != "" {
		hint = "; did you mean " + near + "?"
	}
	r.report(pos, Error, kindCall, "%s has no %s %q%s", file, what, name, hint)
}

// checkType compares the value of an input with the declared type, as GitHub does where it is no expression.
func (r *reader) checkType(argument Argument, input Input) {
	if argument.Value.Text.HasExpr() {
		return
	}
	ok := true
	switch input.Type {
	case "boolean":
		_, ok = argument.Value.Value.(bool)
	case "number":
		_, ok = argument.Value.Value.(float64)
	}
	if !ok {
		r.report(argument.Value.Text.Pos, Error, kindCall, "the input %q is a %s, %q is none",
			input.Name, input.Type, expr.Text(argument.Value.Value))
	}
}

func (r *reader) checkSecrets(call *Call) {
	if call.Inherit {
		return
	}
	var names []string
	for _, secret := range call.Workflow.Call.Secrets {
		names = append(names, secret.Name)
	}
	given := map[string]bool{}
	for _, secret := range call.Secrets {
		given[lower(secret.Name)] = true
		if !slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, secret.Name) }) {
			r.unknownName(secret.Pos, "secret", secret.Name, call.Path, names)
		}
	}
	for _, secret := range call.Workflow.Call.Secrets {
		if secret.Required && !given[lower(secret.Name)] {
			r.report(call.Uses.Pos, Error, kindCall, "%s requires the secret %q", call.Path, secret.Name)
		}
	}
}
