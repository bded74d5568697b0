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
		f.plain(line)
	case f.stop != "":
		if c.Name == f.stop {
			f.stop = ""
		}
		f.plain(line)
	case c.Name == "stop-commands":
		f.plain(line)
		f.stopCommands(c.Data)
	default:
		f.command(c, line)
	}
}

func (f *Filter) plain(line string) { f.Sink.Print("", f.Masks.Mask(line)) }

// command carries out a command; what is none is a line as any other.
func (f *Filter) command(c Command, line string) {
	do := f.commands()[c.Name]
	if do == nil {
		f.plain(line)
		return
	}
	if f.echo && c.Name != "add-mask" && c.Name != "echo" {
		f.Sink.Print("command", f.Masks.Mask(line))
	}
	if err := do(c); err != nil {
		if c.Name == "add-mask" {
			line = c.Name
		}
		f.fail("Unable to process command '" + line + "' successfully.")
		f.fail(err.Error())
	}
}

// commands are the runner's own. An error fails the step.
func (f *Filter) commands() map[string]func(Command) error {
	ignored := func(Command) error { return nil } // problem matchers are not kept
	return map[string]func(Command) error{
		"add-mask": f.addMask, "debug": f.debug, "notice": f.annotate, "warning": f.annotate, "error": f.annotate,
		"group": f.group, "endgroup": f.group, "echo": f.setEcho, "add-matcher": ignored, "remove-matcher": ignored,
		"set-output": f.setOutput, "save-state": f.saveState, "set-env": f.setEnv, "add-path": f.addPath,
	}
}

func (f *Filter) addMask(c Command) error {
	if strings.TrimSpace(c.Data) == "" {
		f.warn("Can't add secret mask for empty string in ##[add-mask] command.")
		return nil
	}
	if f.echo {
		f.Sink.Print("", "::add-mask::"+Stars)
	}
	f.Masks.Add(c.Data)
	return nil
}

func (f *Filter) debug(c Command) error {
	if f.Debug {
		f.lines("debug", c.Data)
	}
	return nil
}

func (f *Filter) annotate(c Command) error {
	f.lines(c.Name, c.Data)
	f.Sink.Annotate(c.Name, c.Props, f.Masks.Mask(c.Data))
	return nil
}

func (f *Filter) group(c Command) error {
	f.Sink.Print(c.Name, f.Masks.Mask(c.Data))
	return nil
}

// stopCommands switches commands off until the token comes. One that anybody could write by accident is refused.
func (f *Filter) stopCommands(token string) {
	token = strings.ToLower(token)
	if token == "" || token == "pause-logging" || token == "stop-commands" || f.commands()[token] != nil {
		f.fail("You cannot use a endToken that is an empty string, the string 'pause-logging', or another workflow command. " +
			"For more information see: https://docs.github.com/actions/learn-github-actions/workflow-commands-for-github-actions" +
			"#example-stopping-and-starting-workflow-commands or opt into insecure command execution by setting the " +
			"`ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS` environment variable to `true`.")
		return
	}
	f.stop = token
}

// saying is an error in the runner's own words.
type saying string

func (s saying) Error() string { return string(s) }

func said(format string, args ...any) error { return saying(fmt.Sprintf(format, args...)) }

// named is the property name of a command that sets something.
func named(c Command) (string, error) {
	if c.Props["name"] == "" {
		return "", said("Required field 'name' is missing in ##[%s] command.", c.Name)
	}
	return c.Props["name"], nil
}

func (f *Filter) deprecated(command string) {
	f.warn(fmt.Sprintf("The `%s` command is deprecated and will be disabled soon. Please upgrade to using Environment Files. "+
		"For more information see: https://github.blog/changelog/"+
		"2022-10-11-github-actions-deprecating-save-state-and-set-output-commands/", command))
}

func (f *Filter) setOutput(c Command) error {
	name, err := named(c)
	if err == nil {
		f.deprecated(c.Name)
		f.Sink.SetOutput(name, c.Data)
	}
	return err
}

func (f *Filter) saveState(c Command) error {
	name, err := named(c)
	if err == nil {
		f.deprecated(c.Name)
		f.Sink.SaveState(name, c.Data)
	}
	return err
}

func (f *Filter) setEnv(c Command) error {
	if err := f.unsecure(c.Name, f.SetEnv); err != nil {
		return err
	}
	name, err := named(c)
	if err != nil {
		return err
	}
	if strings.EqualFold(name, "NODE_OPTIONS") {
		f.issue("error", "Can't update NODE_OPTIONS environment variable using ::set-env:: command.")
		return nil
	}
	f.SetEnv(name, c.Data)
	return nil
}

func (f *Filter) addPath(c Command) error {
	err := f.unsecure(c.Name, f.AddPath)
	if err == nil {
		f.AddPath("", c.Data)
	}
	return err
}

// unsecure refuses a command unless it is allowed.
func (f *Filter) unsecure(command string, do func(name, value string)) error {
	if f.AllowUnsecure && do != nil {
		return nil
	}
	return said("The `%s` command is disabled. Please upgrade to using Environment Files or opt into unsecure command "+
		"execution by setting the `ACTIONS_ALLOW_UNSECURE_COMMANDS` environment variable to `true`. For more information see: "+
		"https://github.blog/changelog/2020-10-01-github-actions-deprecating-set-env-and-add-path-commands/", command)
}

func (f *Filter) setEcho(c Command) error {
	switch strings.ToUpper(strings.TrimSpace(c.Data)) {
	case "ON":
		f.echo = true
	case "OFF":
		f.echo = false
	default:
		return said("Invalid echo command value. Possible values can be: 'on', 'off'. Current value is: '%s'.", c.Data)
	}
	return nil
}

func (f *Filter) warn(text string) { f.issue("warning", text) }

func (f *Filter) fail(text string) {
	f.Failed = true
	f.issue("error", text)
}

func (f *Filter) issue(kind, text string) {
	text = f.Masks.Mask(text)
	f.Sink.Print(kind, text)
	f.Sink.Annotate(kind, nil, text)
}

// lines prints a message that may have several lines.
func (f *Filter) lines(kind, message string) {
	for line := range strings.SplitSeq(message, "\n") {
		f.Sink.Print(kind, f.Masks.Mask(strings.TrimSuffix(line, "\r")))
	}
}
