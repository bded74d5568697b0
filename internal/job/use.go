package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gantry-ci/gantry/internal/workflow"
)

// use is one use of an action: by a step of the job, or of a composite action. It lives from the pre step to the post
// step.
type use struct {
	step   *workflow.Step
	depth  int              // how many composite actions are around it
	dir    string           // of the action on the host; "" for docker://image
	action *workflow.Action // nil while the action is a local one that has not been read yet
	// checkout says that it is actions/checkout, which is built in.
	checkout bool
	inner    []*use // of a composite action: one for each step, nil for those without an action

	mu         sync.Mutex
	state      []pair // what it has saved
	registered bool   // its post step is registered
	posts      []*use // of inner, in the order in which they ran
}

func (u *use) saveState(name, value string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state = set(u.state, name, value)
}

func (u *use) savedState() []pair {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]pair(nil), u.state...)
}

// register notes once that the post step is due.
func (u *use) register() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	first := !u.registered
	u.registered = true
	return first
}

func (u *use) addPost(inner *use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.posts = append(u.posts, inner)
}

// name is what the runner calls the action.
func (u *use) name() string {
	uses := u.step.Uses
	switch uses.Kind {
	case workflow.DockerImage:
		return "docker://" + uses.Image
	case workflow.LocalAction:
		return "./" + uses.Path
	}
	name := uses.Owner + "/" + uses.Repo
	if uses.Path != "" {
		name += "/" + uses.Path
	}
	return name + "@" + uses.Ref
}

// maxDepth is how many composite actions may use one another.
const maxDepth = 9

// stage is one of the three times at which an action runs.
type stage int

const (
	pre stage = iota
	main
	post
)

// has says whether the action does something at a stage.
func (u *use) has(s stage) bool {
	if s == main {
		return true
	}
	if u.action == nil || u.checkout {
		return false
	}
	switch {
	case u.action.Node != nil:
		return s == pre && u.action.Node.Pre != "" || s == post && u.action.Node.Post != ""
	case u.action.Docker != nil:
		return s == pre && u.action.Docker.PreEntrypoint != "" || s == post && u.action.Docker.PostEntrypoint != ""
	}
	for _, inner := range u.inner {
		if inner != nil && inner.has(s) && (s != pre || inner.step.Uses.Kind != workflow.LocalAction) {
			return true
		}
	}
	return false
}

// condition is the `if` of the pre or post step.
func (u *use) condition(s stage) workflow.Text {
	var preIf, postIf workflow.Text
	switch {
	case u.action.Node != nil:
		preIf, postIf = u.action.Node.PreIf, u.action.Node.PostIf
	case u.action.Docker != nil:
		preIf, postIf = u.action.Docker.PreIf, u.action.Docker.PostIf
	}
	t := preIf
	if s == post {
		t = postIf
	}
	if strings.TrimSpace(t.Raw) == "" {
		return always()
	}
	return t
}

// find makes the use of a step's action. Remote actions are fetched, and those that they use; local ones are read when
// they run, because the workspace is empty before.
func (x *execution) find(ctx context.Context, step *workflow.Step, depth int) (*use, error) {
	if step.Uses == nil {
		return nil, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("Composite action depth exceeded max depth %d", maxDepth)
	}
	u := &use{step: step, depth: depth}
	uses := step.Uses
	switch uses.Kind {
	case workflow.DockerImage:
		u.action = &workflow.Action{Docker: &workflow.DockerAction{Image: uses.Image}}
		return u, nil
	case workflow.LocalAction:
		return u, nil
	}
	if strings.EqualFold(uses.Owner+"/"+uses.Repo, "actions/checkout") {
		u.checkout, u.action = true, checkoutAction()
		return u, nil
	}
	x.log.line(fmt.Sprintf("Download action repository '%s/%s@%s'", uses.Owner, uses.Repo, uses.Ref))
	dir, err := x.fetcher.Fetch(ctx, uses.Owner, uses.Repo, uses.Ref)
	if err != nil {
		return nil, x.placed(step, err)
	}
	u.dir = filepath.Join(dir, uses.Path)
	return u, x.load(ctx, u)
}

// load reads the action's metadata, and finds the actions that a composite one uses.
func (x *execution) load(ctx context.Context, u *use) error {
	action, findings, err := workflow.LoadAction(os.DirFS(u.dir), ".")
	switch {
	case errors.Is(err, fs.ErrNotExist) && u.step.Uses.Kind == workflow.LocalAction:
		return fmt.Errorf("Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '%s'. "+
			"Did you forget to run actions/checkout before running your local action?", u.dir)
	case errors.Is(err, fs.ErrNotExist):
		return x.placed(u.step, fmt.Errorf("Can't find 'action.yml', 'action.yaml' or 'Dockerfile' for action '%s'.", u.name()))
	case err != nil:
		return err
	}
	var problems []error
	for _, f := range findings {
		if f.Severity == workflow.Error {
			problems = append(problems, f.Fault(u.dir))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	u.action = action
	for _, step := range action.Composite {
		inner, err := x.find(ctx, step, u.depth+1)
		if err != nil {
			return err
		}
		u.inner = append(u.inner, inner)
	}
	return nil
}

// placed puts the place of a step before an error.
func (x *execution) placed(step *workflow.Step, err error) error {
	return x.frame.source.Wrap(step.Uses.Text.Pos, err)
}

// plan makes the tasks of the job's steps: those of pre steps, and the steps themselves.
func (x *execution) plan(ctx context.Context, steps []*workflow.Step) (pres, mains []*task, err error) {
	for _, step := range steps {
		for _, inner := range step.Parallel {
			if err := x.planStep(ctx, inner, &pres, nil); err != nil {
				return nil, nil, err
			}
		}
		if err := x.planStep(ctx, step, &pres, &mains); err != nil {
			return nil, nil, err
		}
	}
	return pres, mains, nil
}

func (x *execution) planStep(ctx context.Context, step *workflow.Step, pres, mains *[]*task) error {
	u, err := x.find(ctx, step, 0)
	if err != nil {
		return err
	}
	if u != nil {
		x.uses[step] = u
	}
	if u != nil && u.has(pre) {
		*pres = append(*pres, u.task(pre))
	}
	if mains != nil {
		*mains = append(*mains, x.mainTask(step))
	}
	return nil
}

// mainTask is a step of the file.
func (r *runner) mainTask(step *workflow.Step) *task {
	t := &task{main: true, step: step, id: step.ID, condition: step.If, use: r.uses[step], title: (*execution).title}
	t.do = func(ctx context.Context, x *execution) error {
		if step.Run != nil {
			return x.runScript(ctx)
		}
		return x.runAction(ctx, main)
	}
	return t
}

// task is the pre or post step of an action of the job.
func (u *use) task(s stage) *task {
	prefix := map[stage]string{pre: "Pre ", post: "Post "}[s]
	return &task{
		step: u.step, use: u, condition: u.condition(s),
		title: func(x *execution) string { return prefix + x.title() },
		do:    func(ctx context.Context, x *execution) error { return x.runAction(ctx, s) },
	}
}

// title is the display name of a step.
func (x *execution) title() string {
	step := x.step
	if step.Name.Written() {
		if name, err := x.evaluator().text(step.Name); err == nil && name != "" {
			return firstLine(name)
		}
		return firstLine(step.Name.Raw)
	}
	switch {
	case step.Run != nil:
		text, err := x.evaluator().text(step.Run.Script)
		if err != nil {
			text = step.Run.Script.Raw
		}
		return "Run " + firstLine(text)
	case step.Uses != nil:
		return "Run " + (&use{step: step}).name()
	}
	return controlName(step)
}
