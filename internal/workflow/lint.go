package workflow

import (
	"fmt"
	"slices"

	"github.com/rhysd/actionlint"
)

// linted is what actionlint says of a file, and what it makes of it.
type linted struct {
	workflow *actionlint.Workflow
	errors   []*actionlint.Error
}

// lintParse runs actionlint's parser.
func lintParse(data []byte) (l linted, err error) {
	defer func() {
		if p := recover(); p != nil {
			l, err = linted{}, fmt.Errorf("actionlint's parser cannot cope with it: %v", p)
		}
	}()
	w, errs := actionlint.Parse(data)
	return linted{w, errs}, nil
}

// lintRules runs actionlint's rules over the tree. Not among them are: labels of runners, because a run on this
// machine has none; needs, which the graph of jobs checks with better places; scripts, which need other programs.
// They look at no other file: local actions and workflows are checked when they are read.
func (l *linted) lintRules(config *actionlint.Config) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("actionlint's rules cannot cope with it: %v", p)
		}
	}()
	actions := actionlint.NewLocalActionsCache(nil, nil)
	workflows := actionlint.NewLocalReusableWorkflowCache(nil, "", nil)
	rules := []actionlint.Rule{
		actionlint.NewRuleMatrix(), actionlint.NewRuleCredentials(), actionlint.NewRuleShellName(),
		actionlint.NewRuleEvents(), actionlint.NewRuleAction(actions), actionlint.NewRuleEnvVar(),
		actionlint.NewRuleID(), actionlint.NewRuleGlob(), actionlint.NewRulePermissions(),
		actionlint.NewRuleWorkflowCall("", workflows), actionlint.NewRuleExpression(actions, workflows),
		actionlint.NewRuleDeprecatedCommands(), actionlint.NewRuleIfCond(),
	}
	visitor := actionlint.NewVisitor()
	for _, rule := range rules {
		rule.SetConfig(config)
		visitor.AddPass(rule)
	}
	if err := visitor.Visit(l.workflow); err != nil {
		return fmt.Errorf("running actionlint's rules: %w", err)
	}
	for _, rule := range rules {
		l.errors = append(l.errors, rule.Errs()...)
	}
	return nil
}

// teach puts into actionlint's tree what its parser leaves out, so that its rules see all: the steps in parallel
// groups, and the volumes of containers, with entrypoints and commands, among the ports.
func (l *linted) teach(w *Workflow) {
	for _, job := range w.Jobs {
		parsed := l.job(job.ID)
		if parsed == nil {
			continue
		}
		if len(parsed.Steps) == len(job.Steps) {
			parsed.Steps = teachSteps(parsed.Steps, job.Steps)
		}
		if job.Container != nil && parsed.Container != nil {
			parsed.Container.Ports = teachTexts(job.Container)
		}
		if parsed.Services == nil {
			continue
		}
		for _, s := range job.Services.List {
			if known := parsed.Services.Value[lower(s.ID)]; known != nil && known.Container != nil {
				known.Container.Ports = teachTexts(s.Container)
			}
		}
	}
}

func (l *linted) job(id string) *actionlint.Job {
	if l.workflow == nil {
		return nil
	}
	return l.workflow.Jobs[lower(id)]
}

func teachSteps(parsed []*actionlint.Step, steps []*Step) []*actionlint.Step {
	var all []*actionlint.Step
	for i, step := range steps {
		if len(step.Parallel) == 0 {
			all = append(all, parsed[i])
		}
		for _, inner := range step.Parallel {
			all = append(all, lintStep(inner))
		}
	}
	return all
}

func teachTexts(c *Container) []*actionlint.String {
	var all []*actionlint.String
	for _, t := range slices.Concat(c.Ports, c.Volumes, []Text{c.Entrypoint, c.Command}) {
		if t.Written() {
			all = append(all, lintString(t))
		}
	}
	return all
}

func lintString(t Text) *actionlint.String {
	if !t.Written() {
		return nil
	}
	return &actionlint.String{Value: t.Raw, Quoted: t.quoted, Pos: lintPos(t.Pos)}
}

func lintPos(p Pos) *actionlint.Pos { return &actionlint.Pos{Line: p.Line, Col: p.Col} }

func lintStep(s *Step) *actionlint.Step {
	step := &actionlint.Step{If: lintString(s.If), Name: lintString(s.Name), Pos: lintPos(s.Pos)}
	if s.ID != "" {
		step.ID = &actionlint.String{Value: s.ID, Pos: lintPos(s.Pos)}
	}
	step.Env = &actionlint.Env{Vars: map[string]*actionlint.EnvVar{}, Expression: lintString(s.Env.Expr)}
	for _, v := range s.Env.List {
		name := &actionlint.String{Value: v.Name, Pos: lintPos(v.Pos)}
		step.Env.Vars[lower(v.Name)] = &actionlint.EnvVar{Name: name, Value: lintString(v.Value)}
	}
	switch {
	case s.Run != nil:
		step.Exec = &actionlint.ExecRun{
			Run: lintString(s.Run.Script), Shell: lintString(s.Run.Shell),
			WorkingDirectory: lintString(s.Run.WorkingDirectory), RunPos: lintPos(s.Pos),
		}
	case s.Uses != nil && s.Uses.Text.Written():
		step.Exec = lintUses(s.Uses)
	}
	return step
}

func lintUses(u *Uses) *actionlint.ExecAction {
	action := &actionlint.ExecAction{Uses: lintString(u.Text), Inputs: map[string]*actionlint.Input{}}
	for _, v := range u.With {
		switch id := lower(v.Name); {
		case u.Kind == DockerImage && id == "entrypoint":
			action.Entrypoint = lintString(v.Value)
		case u.Kind == DockerImage && id == "args":
			action.Args = lintString(v.Value)
		default:
			name := &actionlint.String{Value: v.Name, Pos: lintPos(v.Pos)}
			action.Inputs[id] = &actionlint.Input{Name: name, Value: lintString(v.Value)}
		}
	}
	return action
}
