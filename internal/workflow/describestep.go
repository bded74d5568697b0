package workflow

import (
	"fmt"
	"strings"
)

func (d *description) steps(steps []*Step) {
	for i, step := range steps {
		d.step(fmt.Sprintf("%d.", i+1), step)
	}
}

func (d *description) step(number string, s *Step) {
	d.line("%s %s%s%s", number, s.title(), when(s.ID != "", " ("+s.ID+")"), when(s.Background, " &"))
	d.within(func() {
		d.value("if", s.If)
		if s.Run != nil {
			d.value("shell", s.Run.Shell)
			d.value("in", s.Run.WorkingDirectory)
		}
		if s.Uses != nil {
			d.vars("with", Vars{List: s.Uses.With})
		}
		d.vars("env", s.Env)
		d.number("timeout", s.TimeoutMinutes, " min")
		d.value("continue on error", s.ContinueOnError.Text)
		for _, inner := range s.Parallel {
			d.step("-", inner)
		}
	})
}

// title is the name, or what the step does.
func (s *Step) title() string {
	if name := oneLine(s.Name.Raw); name != "" {
		return name + when(s.Uses != nil, " ["+s.what()+"]")
	}
	return s.what()
}

func (s *Step) what() string {
	switch {
	case s.Run != nil:
		return "run " + firstLine(s.Run.Script.Raw)
	case s.Uses != nil:
		return "uses " + oneLine(s.Uses.Text.Raw)
	case s.Cancel != nil:
		return "cancel " + s.Cancel.Step.ID
	case s.Wait != nil && s.Wait.All:
		return "wait for all"
	case s.Wait != nil:
		var ids []string
		for _, need := range s.Wait.For {
			ids = append(ids, need.ID)
		}
		return "wait for " + strings.Join(ids, ", ")
	case len(s.Parallel) > 0:
		return "at the same time"
	}
	return "nothing"
}

func (d *description) value(what string, t Text) {
	if t.Written() && t.Raw != "" {
		d.line("%s: %s", what, oneLine(t.Raw))
	}
}

func (d *description) number(what string, n Number, unit string) {
	if n.Text.Written() {
		d.line("%s: %s%s", what, oneLine(n.Text.Raw), unit)
	}
}

func (d *description) list(what string, words []string) {
	if len(words) > 0 {
		d.line("%s: %s", what, strings.Join(words, ", "))
	}
}

// vars shows names only: values may be secrets.
func (d *description) vars(what string, v Vars) {
	d.value(what, v.Expr)
	var names []string
	for _, entry := range v.List {
		names = append(names, entry.Name)
	}
	d.list(what, names)
}

func (d *description) defaults(v Defaults) {
	d.value("default shell", v.Shell)
	d.value("default folder", v.WorkingDirectory)
}

func when(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

// firstLine is what GitHub shows of a script without a name.
func firstLine(script string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(script, " \t\r\n"), "\n")
	return oneLine(first)
}

// oneLine makes text harmless for a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
