package install

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/runnerdir"
)

// Variables of the runner's .env file.
const (
	HookVariable = "ACTIONS_RUNNER_CONTAINER_HOOKS"
	// MisspeltHookVariable stands on GitHub's page about container hooks; the runner does not know it.
	MisspeltHookVariable = "ACTIONS_RUNNER_CONTAINER_HOOK"
	// RequireVariable forbids jobs without a job container. GitHub's page gives it as an example of the hook's path.
	RequireVariable = "ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER"
	RunnerVariable  = "GANTRY_RUNNER_DIR"
	EngineVariable  = "GANTRY_ENGINE"
)

// asidePrefix begins a line that keeps a value which gantry replaced. The runner passes such a line over, because it
// has no "=": one in the value is written as %3D.
const asidePrefix = "# set aside by gantry install: "

// aside is the line that keeps a variable.
func aside(name, value string) string {
	return asidePrefix + name + " " + strings.NewReplacer("%", "%25", "=", "%3D").Replace(value)
}

// keptBy reads such a line.
func keptBy(line string) (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, asidePrefix)
	if !ok {
		return "", "", false
	}
	name, value, ok = strings.Cut(rest, " ")
	return name, strings.NewReplacer("%3D", "=", "%25", "%").Replace(value), ok
}

// edit is a change of an .env file, step by step, and what there is to say about it.
type edit struct {
	lines []string
	notes []string
	// ours tells whether a hook is gantry's.
	ours func(hook string) bool
}

func (e *edit) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// installed gives the file that makes the runner call the hook.
func (e *edit) installed(hook, runner, engine string) runnerdir.Env {
	e.set(HookVariable, hook)
	e.set(RunnerVariable, runner)
	if engine != "" {
		e.set(EngineVariable, engine)
	}
	e.dropMisspelt()
	return runnerdir.WithLines(e.lines)
}

// uninstalled gives the file as it was before, as far as nobody else has changed it since.
func (e *edit) uninstalled() runnerdir.Env {
	if hook, ok := runnerdir.WithLines(e.lines).Get(HookVariable); ok && !e.ours(hook) {
		e.note("kept %s=%s: it is not gantry's", HookVariable, hook)
	} else {
		e.restore(HookVariable)
	}
	e.restore(RunnerVariable)
	e.restore(EngineVariable)
	e.dropMisspelt()
	return runnerdir.WithLines(e.lines)
}

// set makes the file say name=value, once. The value before stays in a comment, unless there is one or it was ours.
func (e *edit) set(name, value string) {
	before, had := runnerdir.WithLines(e.lines).Get(name)
	line := name + "=" + value
	at := slices.IndexFunc(e.lines, defines(name))
	if had && before == value && e.count(name) == 1 {
		return
	}
	e.lines = slices.DeleteFunc(e.lines, defines(name))
	if at < 0 {
		at = len(e.lines)
	}
	at = min(at, len(e.lines))
	insert := []string{line}
	switch {
	case !had || before == value:
		e.note("added %s", line)
	case name == HookVariable && e.ours(before) || e.isAside(name):
		e.note("replaced %s=%s by %s", name, before, value)
	default:
		insert = []string{aside(name, before), line}
		e.note("replaced %s=%s by %s; --uninstall brings it back", name, before, value)
	}
	e.lines = slices.Insert(e.lines, at, insert...)
}

// restore removes a variable, or brings the value back that set replaced.
func (e *edit) restore(name string) {
	before := len(e.lines)
	e.lines = slices.DeleteFunc(e.lines, defines(name))
	if len(e.lines) < before {
		e.note("removed %s", name)
	}
	for i, line := range e.lines {
		if kept, value, ok := keptBy(line); ok && kept == name {
			e.lines[i] = name + "=" + value
			e.note("restored %s", e.lines[i])
		}
	}
}

// dropMisspelt removes the name that no runner knows, if what it names is ours.
func (e *edit) dropMisspelt() {
	value, ok := runnerdir.WithLines(e.lines).Get(MisspeltHookVariable)
	if !ok {
		return
	}
	if !e.ours(value) {
		e.note("warning: %s=%s is in the file: the runner knows no such variable, its name ends in HOOKS", MisspeltHookVariable, value)
		return
	}
	e.lines = slices.DeleteFunc(e.lines, defines(MisspeltHookVariable))
	e.note("removed %s, which no runner knows: the name ends in HOOKS", MisspeltHookVariable)
}

func (e *edit) count(name string) int {
	n := 0
	for _, line := range e.lines {
		if defines(name)(line) {
			n++
		}
	}
	return n
}

func (e *edit) isAside(name string) bool {
	return slices.ContainsFunc(e.lines, func(line string) bool {
		kept, _, ok := keptBy(line)
		return ok && kept == name
	})
}

func defines(name string) func(line string) bool {
	return func(line string) bool { return strings.HasPrefix(line, name+"=") }
}

// isGantrys tells whether a hook is one of ours: the agent lies beside it, or it is the one that is being installed.
func isGantrys(hook, installing string) bool {
	return hook == installing || isFile(filepath.Join(filepath.Dir(hook), agentName))
}
