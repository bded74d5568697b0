package enginefake

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// knows tells whether Shell can run a program.
func knows(argv []string) bool {
	return len(argv) > 0 && slices.Contains([]string{"sh", "echo", "sleep", "cat", "true", "false"}, path.Base(argv[0]))
}

// Shell is the process of containers that need no better one. It knows sh -c with commands separated by semicolons,
// echo (with double quotes, variables and >&2), sleep, exit, true and false.
func Shell(ctx context.Context, p Process) int {
	if path.Base(p.Argv[0]) != "sh" {
		status, _ := run(ctx, p, p.Argv)
		return status
	}
	if len(p.Argv) < 3 || p.Argv[1] != "-c" {
		return 0
	}
	variable := func(name string) string {
		if n, err := strconv.Atoi(name); err == nil {
			if n+3 < len(p.Argv) {
				return p.Argv[n+3]
			}
			return ""
		}
		return p.Spec.Env[name]
	}
	status := 0
	for command := range strings.SplitSeq(p.Argv[2], ";") {
		exited := false
		if status, exited = run(ctx, p, words(command, variable)); exited || ctx.Err() != nil {
			break
		}
	}
	return status
}

// run runs one command; exited tells that it ends the shell.
func run(ctx context.Context, p Process, argv []string) (status int, exited bool) {
	if len(argv) == 0 {
		return 0, false
	}
	switch path.Base(argv[0]) {
	case "echo":
		out := p.Stdout
		if last := len(argv) - 1; argv[last] == ">&2" {
			argv, out = argv[:last], p.Stderr
		}
		fmt.Fprintln(out, strings.Join(argv[1:], " "))
	case "sleep":
		seconds, _ := strconv.ParseFloat(argv[1], 64)
		select {
		case <-ctx.Done():
			return 137, true
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		}
	case "exit":
		status, _ = strconv.Atoi(argv[1])
		return status, true
	case "false":
		return 1, false
	}
	return 0, false
}

// words splits a command at blanks outside double quotes, and puts in the variables' values.
func words(command string, variable func(string) string) []string {
	var all []string
	var word strings.Builder
	quoted, open := false, false
	flush := func() {
		if open {
			all = append(all, os.Expand(word.String(), variable))
		}
		word.Reset()
		open = false
	}
	for _, r := range command {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case r == ' ' && !quoted:
			flush()
		default:
			word.WriteRune(r)
			open = true
		}
	}
	flush()
	return all
}
