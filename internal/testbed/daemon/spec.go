package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Spec says how a daemon is started. It is kept in a file, with the process that runs: whoever reads the file may end
// the daemon and start it again.
type Spec struct {
	Name string
	Args []string
	Env  []string
	Dir  string
	Log  string
	// Mounts is the file of another daemon, which runs, whose mounts this one shall see; "": the mounts of the
	// thread that starts it.
	Mounts string `json:",omitempty"`

	Process Process // the last that was started
}

// Read finds a daemon again.
func Read(file string) (Spec, error) {
	var s Spec
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading how a daemon was started: %w", err)
	}
	return s, nil
}

// Start runs the daemon and notes it in the file.
func (s Spec) Start(file string) (Process, error) {
	err := s.in(func() error {
		cmd := exec.Command(s.Args[0], s.Args[1:]...)
		cmd.Env, cmd.Dir = s.Env, s.Dir
		var err error
		s.Process, err = Start(s.Name, s.Log, cmd)
		return err
	})
	if err != nil {
		return s.Process, err
	}
	return s.Process, s.save(file)
}

// save replaces the file in one go: others may read it at any time.
func (s Spec) save(file string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("noting how %s was started: %w", s.Name, err)
	}
	return nil
}

// in calls do with the mounts that the daemon shall see.
func (s Spec) in(do func() error) error {
	if s.Mounts == "" {
		return do()
	}
	other, err := Read(s.Mounts)
	if err != nil {
		return err
	}
	return onThread(func() error {
		space, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", other.Process.PID))
		if err != nil {
			return fmt.Errorf("entering the mounts of %s: %w", other.Name, err)
		}
		defer space.Close()
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("entering the mounts of %s: %w", other.Name, err)
		}
		return do()
	})
}

// WithMounts calls do on a thread with mounts of its own, once prepare has changed them: what do starts sees them, the
// rest of the machine does not.
func WithMounts(prepare, do func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("making a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("keeping mounts in: %w", err)
		}
		if err := prepare(); err != nil {
			return err
		}
		return do()
	})
}

// onThread calls do on a thread of its own, which ends with it: whatever it has unshared ends too.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		// A thread shares its root and working directory with the others, which setns does not allow.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("leaving the other threads: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// ReadAll reads the files of a directory's daemons, by their names. A directory that is not there has none.
func ReadAll(dir string) (map[string]Spec, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing daemons: %w", err)
	}
	all := map[string]Spec{}
	for _, entry := range files {
		if filepath.Ext(entry.Name()) != ".json" {
			continue
		}
		s, err := Read(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		all[s.Name] = s
	}
	return all, nil
}

// Network names the network namespace of this process: what was made in another is not to be looked for here.
func Network() (string, error) {
	space, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", fmt.Errorf("finding the network: %w", err)
	}
	return space, nil
}
