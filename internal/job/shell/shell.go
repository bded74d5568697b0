// Package shell is how scripts of `run:` steps are started (ScriptHandlerHelpers.cs).
package shell

import (
	"errors"
	"strings"
)

// Shell is what `shell:` asks for.
type Shell struct {
	Command string
	Args    string // a format with {0} for the script's path
}

// errNoFormat is the runner's text.
var errNoFormat = errors.New("Invalid shell option. Shell must be a valid built-in (bash, sh, cmd, powershell, pwsh) " +
	"or a format string containing '{0}'")

// Parse reads the value of `shell:`. Without a value the shell is sh; on the host the runner then starts bash, if it
// is there, with the arguments of sh.
func Parse(option string) (Shell, error) {
	if option == "" {
		option = "sh"
	}
	command, args, _ := strings.Cut(option, " ")
	args = strings.TrimLeft(args, " \t\r\n")
	if args == "" {
		args = format(command)
	}
	if !strings.Contains(args, "{0}") {
		return Shell{}, errNoFormat
	}
	return Shell{Command: command, Args: args}, nil
}

func format(command string) string {
	switch command {
	case "pwsh", "powershell":
		return `-command ". '{0}'"`
	case "bash":
		return "--noprofile --norc -e -o pipefail {0}"
	case "sh":
		return "-e {0}"
	case "python":
		return "{0}"
	}
	return ""
}

// Extension is what the name of a script ends in.
func (s Shell) Extension() string {
	switch s.Command {
	case "pwsh", "powershell":
		return ".ps1"
	case "bash", "sh":
		return ".sh"
	case "python":
		return ".py"
	}
	return ""
}

// CommandLine gives the arguments for a script, as .NET's string.Format does. A quote in the path is escaped.
func (s Shell) CommandLine(script string) string {
	script = strings.ReplaceAll(script, `"`, `\"`)
	return strings.NewReplacer("{{", "{", "}}", "}", "{0}", script).Replace(s.Args)
}

// FixUp gives the text of the script's file.
func (s Shell) FixUp(script string) string {
	if s.Command != "pwsh" && s.Command != "powershell" {
		return script
	}
	return "$ErrorActionPreference = 'stop'\n" + script +
		"\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }"
}
