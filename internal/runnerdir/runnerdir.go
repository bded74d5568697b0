// Package runnerdir reads the application directory of a GitHub Actions runner: whether it is one, its
// configuration, its .env file, and whether it runs.
package runnerdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNone: the folder is not the application directory of a runner.
var ErrNone = errors.New("not the application directory of a runner")

// Runner is a runner's application directory.
type Runner struct {
	Dir string // absolute
	// Configured says that config.sh has been run (or a just-in-time configuration has been written).
	Configured bool
	Name       string // the runner's; "" until it is configured
	// Ephemeral says that it is configured to serve one job.
	Ephemeral bool
	Work      string // its work folder, absolute, whether it exists or not
	UID, GID  int    // the owner of the folder: normally the user that the runner runs as
	// Service is the name of its systemd service; "" if there is none.
	Service string
}

// Open looks at a folder. It fails with ErrNone if nothing there says that it is a runner's.
func Open(dir string) (*Runner, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the runner: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("looking at the runner's folder: %w", err)
	}
	if !info.IsDir() || !looksLikeRunner(dir) {
		return nil, fmt.Errorf("%s: %w (there is no run.sh, config.sh, .runner or bin/Runner.Listener)", dir, ErrNone)
	}
	r := &Runner{Dir: dir, Work: filepath.Join(dir, "_work")}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		r.UID, r.GID = int(sys.Uid), int(sys.Gid)
	}
	if service, err := os.ReadFile(filepath.Join(dir, ".service")); err == nil {
		r.Service = strings.TrimSpace(string(service))
	}
	return r, r.readSettings()
}

func looksLikeRunner(dir string) bool {
	return hasOne(dir, "run.sh", "config.sh", ".runner", "bin/Runner.Listener")
}

func hasOne(dir string, names ...string) bool {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// readSettings reads .runner, a JSON file that may begin with a byte order mark (ConfigurationStore.cs).
func (r *Runner) readSettings() error {
	text, err := os.ReadFile(filepath.Join(r.Dir, ".runner"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the runner's settings: %w", err)
	}
	var settings struct {
		AgentName, WorkFolder string
		Ephemeral             bool
	}
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &settings); err != nil {
		return fmt.Errorf("reading the runner's settings in %s: %w", filepath.Join(r.Dir, ".runner"), err)
	}
	r.Configured, r.Name, r.Ephemeral = true, settings.AgentName, settings.Ephemeral
	switch {
	case filepath.IsAbs(settings.WorkFolder):
		r.Work = filepath.Clean(settings.WorkFolder)
	case settings.WorkFolder != "":
		r.Work = filepath.Join(r.Dir, settings.WorkFolder)
	}
	return nil
}

// Find gives the first folder that is a runner's, with signs that no other program's folder has. Empty names are
// passed over.
func Find(dirs ...string) (*Runner, error) {
	for _, dir := range dirs {
		if dir != "" && hasOne(dir, ".runner", "bin/Runner.Listener") {
			return Open(dir)
		}
	}
	return nil, ErrNone
}

// Above lists a folder and all that it lies in.
func Above(dir string) []string {
	dirs := []string{dir}
	for parent := filepath.Dir(dir); parent != dir; parent = filepath.Dir(dir) {
		dirs = append(dirs, parent)
		dir = parent
	}
	return dirs
}

// EnvPath is the runner's .env file.
func (r *Runner) EnvPath() string { return filepath.Join(r.Dir, ".env") }
