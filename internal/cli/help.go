package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// exitStatuses is what a command's exit statuses mean, for its help.
const exitStatuses = "exit"

// exits makes the annotations of a command whose statuses 0 and 1 mean this.
func exits(fine, negative string) map[string]string {
	return map[string]string{exitStatuses: fmt.Sprintf("0 %s, 1 %s, 2 wrong usage, 3 gantry could not do it.", fine, negative)}
}

// writeHelp prints what a command is for: one sentence, an example, more words, its flags, and the statuses last.
func writeHelp(cmd *cobra.Command, w io.Writer) {
	var b strings.Builder
	paragraph := func(title, text string) {
		text = strings.TrimRight(text, "\n ")
		if text == "" {
			return
		}
		if title != "" {
			b.WriteString("\n" + title + "\n")
		} else if b.Len() > 0 {
			b.WriteString("\n")
		}
		b.WriteString(text + "\n")
	}
	paragraph("", cmd.Short+".")
	paragraph("Example:", cmd.Example)
	paragraph("", cmd.Long)
	paragraph("Usage:", "  "+cmd.UseLine())
	paragraph("Commands:", listCommands(cmd))
	paragraph("Flags:", cmd.Flags().FlagUsages())
	statuses := cmd.Annotations[exitStatuses]
	if statuses == "" {
		statuses = "0 fine, 1 negative result, 2 wrong usage, 3 gantry could not do it."
	}
	paragraph("", "Exit status: "+statuses)
	io.WriteString(w, b.String())
}

func listCommands(cmd *cobra.Command) string {
	var b strings.Builder
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-10s %s\n", sub.Name(), sub.Short)
		}
	}
	return b.String()
}

// onlyFlags is for commands without arguments.
func onlyFlags(_ *cobra.Command, args []string) error { return noArgs(args) }

// noArgs refuses arguments that a command does not take.
func noArgs(args []string) error {
	if len(args) > 0 {
		return &usageError{errors.New("unknown command or argument " + args[0])}
	}
	return nil
}

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
