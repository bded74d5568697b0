package joblog

import (
	"fmt"
	"strings"
)

// Sink is told what a step's output means.
type Sink interface {
	// Print shows a line of the log. Kind is "" for plain output, or debug, notice, warning, error, group, endgroup,
	// command. Secrets are masked.
	Print(kind, text string)
	// Annotate reports a notice, warning or error with its place. Secrets are masked.
	Annotate(kind string, props map[string]string, message string)
	// SetOutput and SaveState are the commands that files have replaced.
	SetOutput(name, value string)
	SaveState(name, value string)
}

// Filter reads one step's lines. It is not safe for several goroutines.
type Filter struct {
	Sink  Sink
	Masks *Masks
	// Debug shows debug lines. AllowUnsecure is ACTIONS_ALLOW_UNSECURE_COMMANDS; SetEnv and AddPath do these.
	Debug           bool
	AllowUnsecure   bool
	SetEnv, AddPath func(name, value string)
	// Failed says that a command could not be carried out, which fails the step.
	Failed bool

	stop string // commands are off until this comes as a command
	echo bool
}

// Line takes one line of the step's output (ActionCommandManager.cs).
func (f *Filter) Line(line string) {
	c, ok := ParseCommand(line)
	switch {
	case !ok:
	case f.stop != "":
		if c.Name == f.stop {
			f.stop = ""
			return
		}
		ok = false
	default:
		ok = f.do(c)
	}
	if !ok {
		f.Sink.Print("", f.Masks.Mask(line))
	} else if f.echo && c.Name != "add-mask" && c.Name != "echo" {
		f.Sink.Print("command", f.Masks.Mask(line))
	}
}

// do carries out a command; false: it is not one.
func (f *Filter) do(c Command) bool {
	switch c.Name {
	case "add-mask":
		f.Masks.Add(c.Data)
		if strings.TrimSpace(c.Data) == "" {
			f.warn("Can't add secret mask for empty string in ##[add-mask] command.")
		}
	case "debug":
		if f.Debug {
			f.lines("debug", c.Data)
		}
	case "notice", "warning", "error":
		f.lines(c.Name, c.Data)
		f.Sink.Annotate(c.Name, c.Props, f.Masks.Mask(c.Data))
	case "group", "endgroup":
		f.Sink.Print(c.Name, f.Masks.Mask(c.Data))
	case "stop-commands":
		f.stop = strings.ToLower(c.Data)
	case "echo":
		f.setEcho(c.Data)
	case "add-matcher", "remove-matcher": // problem matchers are not kept
	default:
		return f.store(c)
	}
	return true
}

// store carries out the commands that set something.
func (f *Filter) store(c Command) bool {
	name := c.Props["name"]
	switch c.Name {
	case "set-output", "save-state":
		if name == "" {
			f.fail("Required field 'name' is missing in ##[%s] command.", c.Name)
			return true
		}
		f.warn("The `%s` command is deprecated and will be disabled soon. Please upgrade to using Environment Files.", c.Name)
		if c.Name == "set-output" {
			f.Sink.SetOutput(name, c.Data)
		} else {
			f.Sink.SaveState(name, c.Data)
		}
	case "set-env":
		f.unsecure(c.Name, f.SetEnv, name, c.Data)
	case "add-path":
		f.unsecure(c.Name, f.AddPath, "", c.Data)
	default:
		return false
	}
	return true
}

func (f *Filter) unsecure(command string, do func(name, value string), name, value string) {
	if !f.AllowUnsecure || do == nil {
		f.fail("The `%s` command is disabled. Please upgrade to using Environment Files or opt into unsecure command execution by setting the `ACTIONS_ALLOW_UNSECURE_COMMANDS` environment variable to `true`.", command)
		return
	}
	do(name, value)
}

func (f *Filter) setEcho(value string) {
	switch strings.ToUpper(strings.TrimSpace(value)) {
	case "ON":
		f.echo = true
	case "OFF":
		f.echo = false
	default:
		f.fail("Invalid echo command value. Possible values can be: 'on', 'off'. Current value is: '%s'.", value)
	}
}

func (f *Filter) warn(format string, args ...any) {
	f.Sink.Print("warning", f.Masks.Mask(fmt.Sprintf(format, args...)))
}

func (f *Filter) fail(format string, args ...any) {
	f.Failed = true
	f.Sink.Print("error", f.Masks.Mask(fmt.Sprintf(format, args...)))
}

// lines prints a message that may have several lines.
func (f *Filter) lines(kind, message string) {
	for line := range strings.SplitSeq(message, "\n") {
		f.Sink.Print(kind, f.Masks.Mask(strings.TrimSuffix(line, "\r")))
	}
}
