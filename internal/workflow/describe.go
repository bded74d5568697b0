package workflow

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/expr"
)

// Describe writes what a workflow does, for people: the chosen jobs in their order, what each needs, how often it runs,
// its containers and steps. Nothing is evaluated.
func Describe(out io.Writer, w *Workflow, chosen Selection) error {
	d := &description{chosen: chosen}
	d.workflow(w)
	_, err := io.WriteString(out, d.text.String())
	return err
}

// description is text that grows by lines.
type description struct {
	chosen Selection
	text   strings.Builder
	indent int
}

func (d *description) line(format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	fmt.Fprintf(&d.text, "%s%s\n", strings.Repeat("  ", d.indent), text)
}

// within writes lines below the last one.
func (d *description) within(write func()) {
	d.indent++
	write()
	d.indent--
}

func (d *description) workflow(w *Workflow) {
	d.line("workflow %s", oneLine(w.Name))
	d.within(func() {
		if w.Name != w.File {
			d.line("file: %s", w.File)
		}
		d.list("on", w.Events)
		for _, input := range w.Inputs {
			d.input("input", input)
		}
		if w.Call != nil {
			d.call(w.Call)
		}
		d.vars("env", w.Env)
		d.defaults(w.Defaults)
		d.list("ignored", notes(w.Ignored))
		for i, level := range w.Order() {
			d.stage(i+1, slices.DeleteFunc(level, func(j *Job) bool { return !d.chosen.has(w, j) }))
		}
	})
}

func (d *description) stage(number int, jobs []*Job) {
	if len(jobs) == 0 {
		return
	}
	d.line("stage %d", number)
	d.within(func() {
		for _, job := range jobs {
			d.job(job)
		}
	})
}

func notes(ignored []Note) []string {
	var all []string
	for _, note := range ignored {
		if note.Job == "" {
			all = append(all, note.Key)
		} else {
			all = append(all, note.Job+"."+note.Key)
		}
	}
	return all
}

func (d *description) call(c *CallInputs) {
	for _, input := range c.Inputs {
		d.input("takes", input)
	}
	for _, secret := range c.Secrets {
		d.line("takes secret %s%s", secret.Name, when(secret.Required, " (required)"))
	}
	for _, output := range c.Outputs {
		d.line("gives %s = %s", output.Name, oneLine(output.Value.Raw))
	}
}

func (d *description) input(what string, in Input) {
	text := fmt.Sprintf("%s %s: %s", what, in.Name, in.Type)
	if len(in.Options) > 0 {
		text += fmt.Sprintf(" of %s", strings.Join(in.Options, ", "))
	}
	if in.Default.Text.Written() {
		text += fmt.Sprintf(" = %q", in.Default.Text.Raw)
	}
	d.line("%s%s", text, when(in.Required, " (required)"))
}

func (d *description) job(j *Job) {
	title := j.ID
	if name := oneLine(j.Name.Raw); name != "" && name != j.ID {
		title += ": " + name
	}
	d.line("job %s", title)
	d.within(func() {
		var needs []string
		for _, need := range j.Needs {
			needs = append(needs, need.ID)
		}
		d.list("needs", needs)
		d.value("if", j.If)
		d.list("runs on", j.RunsOn.words())
		d.strategy(j.Strategy)
		d.number("timeout", j.TimeoutMinutes, " min")
		d.value("continue on error", j.ContinueOnError.Text)
		d.vars("env", j.Env)
		d.defaults(j.Defaults)
		d.container("container", j.Container)
		d.value("services", j.Services.Expr)
		for _, s := range j.Services.List {
			d.container("service "+s.ID, s.Container)
		}
		d.steps(j.Steps)
		d.called(j.Call)
		for _, output := range j.Outputs {
			d.line("gives %s = %s", output.Name, oneLine(output.Value.Raw))
		}
	})
}

func (r RunsOn) words() []string {
	var all []string
	for _, t := range append([]Text{r.Expr}, r.Labels...) {
		if t.Written() {
			all = append(all, oneLine(t.Raw))
		}
	}
	if r.Group.Written() {
		all = append(all, "group "+oneLine(r.Group.Raw))
	}
	return all
}

func (d *description) strategy(s Strategy) {
	if s.Matrix != nil {
		d.matrix(s.Matrix.Tree)
	}
	d.value("fail fast", s.FailFast.Text)
	d.number("at once", s.MaxParallel, " jobs")
}

func (d *description) matrix(t Tree) {
	if t.HasExpr() {
		d.line("matrix: known when it runs")
		return
	}
	all, err := t.combinations()
	if err != nil {
		d.line("matrix: %s", err)
		return
	}
	all = slices.DeleteFunc(all, func(c Combination) bool { return !c.Has(d.chosen.Matrix) })
	d.line("matrix: %d jobs", len(all))
	d.within(func() {
		for _, c := range all {
			d.line("%s", combined(c))
		}
	})
}

func combined(c Combination) string {
	var parts []string
	for _, name := range c.Values.Names() {
		value, _ := c.Values.Get(name)
		parts = append(parts, fmt.Sprintf("%s=%s", name, short(value)))
	}
	return strings.Join(parts, " ")
}

func short(value expr.Value) string {
	switch v := value.(type) {
	case expr.Object:
		var parts []string
		for _, name := range v.Names() {
			parts = append(parts, fmt.Sprintf("%s: %s", name, short(member(v, name))))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *expr.Array:
		var parts []string
		for _, item := range v.Items {
			parts = append(parts, short(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return oneLine(expr.Text(value))
}

func (d *description) container(what string, c *Container) {
	if c == nil {
		return
	}
	image := c.Image
	if !image.Written() {
		image = c.Expr
	}
	d.line("%s: %s", what, oneLine(image.Raw))
	d.within(func() {
		if c.Credentials.Expr.Written() || c.Credentials.Username.Written() {
			d.line("with credentials")
		}
		d.vars("env", c.Env)
		d.list("ports", raws(c.Ports))
		d.list("volumes", raws(c.Volumes))
		d.value("options", c.Options)
		d.value("entrypoint", c.Entrypoint)
		d.value("command", c.Command)
	})
}

func raws(list []Text) []string {
	var all []string
	for _, t := range list {
		all = append(all, oneLine(t.Raw))
	}
	return all
}

func (d *description) called(c *Call) {
	if c == nil {
		return
	}
	d.line("calls %s%s", oneLine(c.Uses.Raw), when(c.Inherit, " with all secrets"))
	d.within(func() {
		for _, argument := range c.With {
			d.line("with %s = %s", argument.Name, oneLine(argument.Value.Text.Raw))
		}
		var names []string
		for _, secret := range c.Secrets {
			names = append(names, secret.Name)
		}
		d.list("secrets", names)
		if c.Workflow != nil {
			d.workflow(c.Workflow)
		}
	})
}
