package runnerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Env is the content of a runner's .env file. The listener reads it when it starts: of each line, what stands before
// the first "=" is the name and everything behind it the value, blanks and quotes included; lines without "=" are
// passed over; the last line of a name counts (Program.cs). "#" has no meaning of its own.
type Env struct{ lines []string }

// ParseEnv reads a file's text.
func ParseEnv(text string) Env {
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if text == "" {
		return Env{}
	}
	return Env{strings.Split(text, "\n")}
}

// ReadEnv reads a file; one that is not there is empty.
func ReadEnv(path string) (Env, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Env{}, fmt.Errorf("reading the runner's environment: %w", err)
	}
	return ParseEnv(string(text)), nil
}

// Lines are all lines.
func (e Env) Lines() []string { return append([]string(nil), e.lines...) }

// WithLines is an Env of these lines.
func WithLines(lines []string) Env { return Env{lines} }

// String is the file's text. It ends with a line feed: config.sh appends lines.
func (e Env) String() string {
	if len(e.lines) == 0 {
		return ""
	}
	return strings.Join(e.lines, "\n") + "\n"
}

// Get is the value that the runner takes. ok is false if the file does not name the variable.
func (e Env) Get(name string) (value string, ok bool) {
	for _, line := range e.lines {
		if n, v, isSet := strings.Cut(line, "="); isSet && n == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// Over gives the environment of the runner's processes: base with the file's variables above it.
func (e Env) Over(base []string) []string {
	env := append([]string(nil), base...)
	for _, line := range e.lines {
		if name, _, isSet := strings.Cut(line, "="); isSet && name != "" && !strings.HasPrefix(name, "#") {
			env = append(env, line)
		}
	}
	return env
}

// Write replaces the runner's .env file as a whole. Owner and mode stay; a new file gets the owner of the runner's
// folder. A link is refused: whoever runs the installation may be allowed to write more than the runner's user.
func (r *Runner) Write(e Env) error {
	path := r.EnvPath()
	mode, uid, gid := fs.FileMode(0o644), r.UID, r.GID
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("writing the runner's environment: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("writing the runner's environment: %s is not a regular file", path)
	default:
		mode = info.Mode().Perm()
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(sys.Uid), int(sys.Gid)
		}
	}
	return replace(path, e.String(), mode, uid, gid)
}

func replace(path, text string, mode fs.FileMode, uid, gid int) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".env-*")
	if err != nil {
		return fmt.Errorf("writing the runner's environment: %w", err)
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(mode))
	if uid != os.Geteuid() || gid != os.Getegid() {
		err = errors.Join(err, file.Chown(uid, gid))
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the runner's environment: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}
