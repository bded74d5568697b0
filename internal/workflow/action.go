package workflow

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Action is the metadata of an action, from action.yml, action.yaml or a Dockerfile alone.
type Action struct {
	Name    string
	Dir     string // where it is, as LoadAction was given it
	File    string // the metadata, or the Dockerfile
	Inputs  []Input
	Outputs []Var // values only for composite actions
	// Exactly one of these is set.
	Node      *NodeAction
	Docker    *DockerAction
	Composite []*Step

	lines []string
}

// Input finds an input by its name; upper and lower case are the same.
func (a *Action) Input(name string) (Input, bool) {
	i := slices.IndexFunc(a.Inputs, func(input Input) bool { return strings.EqualFold(input.Name, name) })
	if i < 0 {
		return Input{}, false
	}
	return a.Inputs[i], true
}

// NodeAction is one that node runs. Main, Pre and Post are files in the action's folder.
type NodeAction struct {
	Using           string // "node12", "node16", "node20" or "node24"
	Main, Pre, Post string // "" where there is none
	PreIf, PostIf   Text   // conditions; not Written: always()
}

// DockerAction is one that runs in a container of its own.
type DockerAction struct {
	Image      string // with Dockerfile "", of the form docker://image without docker://
	Dockerfile string // in the action's folder
	Entrypoint string // "" where the image's is meant
	Args       []Text // nil: the input args of the step, if any
	Env        []Var
	// PreEntrypoint and PostEntrypoint run before and after; "" where there is none.
	PreEntrypoint, PostEntrypoint string
	PreIf, PostIf                 Text // conditions; not Written: always()
}

// LoadAction reads the action in a folder of a tree. With a finding that is an [Error] the action is no good and
// may be nil. The error is about reading files; it is [fs.ErrNotExist] if the folder has no action.
func LoadAction(fsys fs.FS, dir string) (*Action, []Finding, error) {
	dir = path.Clean(dir)
	for _, name := range []string{"action.yml", "action.yaml"} {
		file := path.Join(dir, name)
		data, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading action: %w", err)
		}
		action, findings := parseAction(file, data)
		action.Dir = dir
		return action, findings, nil
	}
	for _, name := range []string{"Dockerfile", "dockerfile"} {
		if _, err := fs.Stat(fsys, path.Join(dir, name)); err == nil {
			return &Action{Dir: dir, File: path.Join(dir, name), Docker: &DockerAction{Dockerfile: name}}, nil, nil
		}
	}
	return nil, nil, fmt.Errorf("there is no action.yml, action.yaml or Dockerfile in %s: %w", dir, fs.ErrNotExist)
}

func parseAction(file string, data []byte) (*Action, []Finding) {
	doc, err := parseDocument(file, data)
	r := newReader(doc)
	action := &Action{File: file, lines: doc.lines}
	if err != nil {
		r.documentError(err)
		return action, r.findings
	}
	r.action(action)
	action.visitTexts(func(where place, t Text) { r.checkText(where, t) })
	slices.SortStableFunc(r.findings, compareFindings)
	return action, r.findings
}

func (r *reader) action(a *Action) {
	if r.root == nil {
		r.report(Pos{1, 1}, Error, kindSyntax, "the action is empty")
		return
	}
	var runs *yaml.Node
	for key, value := range r.fields(r.root, "the action") {
		switch key.Value {
		case "name":
			a.Name = r.text(value, "name").Raw
		case "inputs":
			a.Inputs = r.inputs(value, "inputs")
		case "outputs":
			a.Outputs = r.valuesOf(value, "outputs")
		case "runs":
			runs = value
		}
	}
	if runs == nil {
		r.wrong(r.root, `the action has no "runs"`)
		return
	}
	r.runs(a, runs)
}

// runs reads what an action does. Keys that it does not know are nothing, as for the runner.
func (r *reader) runs(a *Action, n *yaml.Node) {
	values := map[string]*yaml.Node{}
	for key, value := range r.fields(n, "runs") {
		values[key.Value] = value
	}
	using, ok := values["using"]
	if !ok {
		r.wrong(n, `runs has no "using"`)
		return
	}
	switch kind := lower(r.literal(using, "using")); kind {
	case "node12", "node16", "node20", "node24":
		a.Node = &NodeAction{Using: kind}
		r.nodeAction(a.Node, n, values)
	case "docker":
		a.Docker = &DockerAction{}
		r.dockerAction(a.Docker, n, values)
	case "composite":
		r.composite(a, n, values)
	default:
		r.wrong(using, "%q is no way to run an action: composite, docker, node12, node16, node20 and node24 are", using.Value)
	}
}

func (r *reader) nodeAction(a *NodeAction, n *yaml.Node, values map[string]*yaml.Node) {
	a.Main = r.value(values, "main").Raw
	a.Pre, a.PreIf = r.value(values, "pre").Raw, r.value(values, "pre-if")
	a.Post, a.PostIf = r.value(values, "post").Raw, r.value(values, "post-if")
	if a.Main == "" {
		r.wrong(n, `runs has no "main", the file that node is to run`)
	}
}

func (r *reader) value(values map[string]*yaml.Node, key string) Text {
	if n, ok := values[key]; ok {
		return r.text(n, key)
	}
	return Text{}
}

func (r *reader) dockerAction(a *DockerAction, n *yaml.Node, values map[string]*yaml.Node) {
	image := r.value(values, "image")
	a.setImage(image.Raw)
	if image.Raw == "" {
		r.wrong(n, `runs has no "image", a Dockerfile or docker://image`)
	} else if a.Image == "" && a.Dockerfile == "" {
		r.report(image.Pos, Error, kindSyntax, "%q is no image: write the name of a Dockerfile in the action's folder, or docker://image", image.Raw)
	}
	a.Entrypoint = r.value(values, "entrypoint").Raw
	a.PreEntrypoint, a.PreIf = r.value(values, "pre-entrypoint").Raw, r.value(values, "pre-if")
	a.PostEntrypoint, a.PostIf = r.value(values, "post-entrypoint").Raw, r.value(values, "post-if")
	if args, ok := values["args"]; ok {
		a.Args = append([]Text{}, r.texts(args, "args")...)
	}
	if env, ok := values["env"]; ok {
		a.Env = r.vars(env, "env")
	}
}

// setImage tells a Dockerfile from an image by the runner's rule: docker:// and a name is an image; a file is a
// Dockerfile if its name is, or begins or ends with, "Dockerfile".
func (a *DockerAction) setImage(image string) {
	if name, ok := strings.CutPrefix(lower(image), "docker://"); ok {
		a.Image = image[len(image)-len(name):]
		return
	}
	name := lower(path.Base(strings.ReplaceAll(image, `\`, "/")))
	if name == "dockerfile" || strings.HasPrefix(name, "dockerfile.") || strings.HasSuffix(name, ".dockerfile") {
		a.Dockerfile = image
	}
}

func (r *reader) composite(a *Action, n *yaml.Node, values map[string]*yaml.Node) {
	steps, ok := values["steps"]
	if !ok {
		r.wrong(n, `runs has no "steps"`)
		return
	}
	a.Composite = append([]*Step{}, r.steps(steps, compositeSteps)...)
	for _, step := range a.Composite {
		if step.Run != nil && step.Run.Shell.Raw == "" {
			r.report(step.Pos, Error, kindSyntax, `a step with "run" of a composite action needs a "shell"`)
		}
	}
	r.checkIDs(a.Composite)
}

// checkIDs is what actionlint does for the steps of a job.
func (r *reader) checkIDs(steps []*Step) {
	seen := map[string]bool{}
	for _, step := range steps {
		id := lower(step.ID)
		switch {
		case id == "":
		case legal(id) != id || strings.HasPrefix(id, "__") || strings.ContainsAny(id[:1], "-0123456789"):
			r.report(step.Pos, Error, "id", "%q is no id: letters, digits, - and _ are allowed, and a letter or one _ comes first", step.ID)
		case seen[id]:
			r.report(step.Pos, Error, "id", "a step before has the id %q", step.ID)
		}
		seen[id] = true
	}
}

// visitTexts visits every template of an action with what it can see.
func (a *Action) visitTexts(visit func(place, Text)) {
	value := place{
		contexts:  []string{"github", "inputs", "strategy", "matrix", "steps", "job", "runner", "env"},
		functions: []string{"hashfiles"},
	}
	status := value
	status.condition = true
	status.functions = []string{"always", "cancelled", "failure", "success", "hashfiles"}
	for _, input := range a.Inputs {
		visit(value, input.Default.Text)
	}
	visitVars(a.Outputs, value, visit)
	for _, step := range a.Composite {
		step.visitTexts(placesOfStep{condition: status, value: value, shell: value}, visit)
	}
	switch {
	case a.Node != nil:
		visitList([]Text{a.Node.PreIf, a.Node.PostIf}, status, visit)
	case a.Docker != nil:
		visitList([]Text{a.Docker.PreIf, a.Docker.PostIf}, status, visit)
		visitList(a.Docker.Args, value, visit)
		visitVars(a.Docker.Env, value, visit)
	}
}
