package ocicli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/verdict"
)

// passedEnv is how a container's environment reaches it.
type passedEnv struct {
	names  []string // for "-e NAME", sorted
	values []string // NAME=VALUE, for the environment of the engine's program
	file   []string // NAME=VALUE, for a file: names that would steer the program if they were in its environment
}

// steering are the names of variables that change what a program does, whatever the program. A star stands for
// anything, at either end.
func steering() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_*", "XDG_*", "*_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"SSH_AUTH_SOCK", "SSH_ASKPASS*", "GNUPGHOME", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
		"GOCOVERDIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "MALLOC_*", "NOTIFY_SOCKET", "LISTEN_*", "OTEL_*",
	}
}

// passEnv sorts an environment by the way it can take. A value never stands in a command line. What steers the
// program goes by file, and what may come to steer it one day does too; but a file has one line for a variable, so
// of a value with several lines the first is an error, and the second goes like any other.
func (d *differences) passEnv(env map[string]string) (passedEnv, error) {
	var passed passedEnv
	for _, name := range sortedKeys(env) {
		value := env[name]
		fits := !strings.ContainsAny(name+value, "\n\r") && !strings.ContainsAny(name, " \t#")
		steers := matchesAny(name, steering()) || matchesAny(name, d.steering)
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00"):
			return passedEnv{}, verdict.New(verdict.Workflow, "", "the environment variable %q cannot be set in a container", name)
		case steers && !fits:
			return passedEnv{}, verdict.New(verdict.Workflow, "give the variable another name, or set it in the step's script",
				"the environment variable %q has a value of several lines, which cannot be handed to %s under this name: "+
					"it would steer %s itself", name, d.name, d.name)
		case steers || fits && matchesAny(name, d.families):
			passed.file = append(passed.file, name+"="+value)
		default:
			passed.names = append(passed.names, name)
			passed.values = append(passed.values, name+"="+value)
		}
	}
	return passed, nil
}

func matchesAny(name string, patterns []string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if start, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(name, start)
		}
		if end, ok := strings.CutPrefix(pattern, "*"); ok {
			return strings.HasSuffix(name, end)
		}
		return name == pattern
	})
}

// writeEnvFile puts entries into a private file; remove deletes it. Without entries there is no file.
func (d *Driver) writeEnvFile(entries []string) (path string, remove func(), err error) {
	if len(entries) == 0 {
		return "", func() {}, nil
	}
	dir, err := d.privateDir()
	if err != nil {
		return "", nil, err
	}
	file, err := os.CreateTemp(dir, privateName("env")) // 0600
	if err != nil {
		return "", nil, privateVerdict(fmt.Errorf("making a file for environment variables: %w", err))
	}
	remove = func() { _ = os.Remove(file.Name()) }
	_, err = file.WriteString(strings.Join(entries, "\n") + "\n")
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		remove()
		return "", nil, privateVerdict(fmt.Errorf("writing environment variables to %s: %w", file.Name(), err))
	}
	return file.Name(), remove, nil
}

// privateVerdict explains a private file or folder that cannot be made.
func privateVerdict(err error) error {
	return verdict.New(verdict.Infrastructure, "free disk space on the runner's machine; may the runner's user write there?", "%w", err)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
