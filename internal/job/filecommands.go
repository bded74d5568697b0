package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/filecmd"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

// fileCommand is one of the files through which a step talks to the runner (FileCommandManager.cs).
type fileCommand struct {
	context string // member of github with its path
	prefix  string
	process func(x *execution, text string) error
}

// fileCommands are in the order in which the runner reads them.
func fileCommands() []fileCommand {
	return []fileCommand{
		{"path", "add_path_", func(x *execution, text string) error {
			x.addPaths(filecmd.Paths(text)...)
			return nil
		}},
		{"env", "set_env_", func(x *execution, text string) error {
			return each(text, filecmd.Env, x.setEnv)
		}},
		{"step_summary", "step_summary_", (*execution).summary},
		{"state", "save_state_", func(x *execution, text string) error {
			return each(text, filecmd.Pairs, x.saveState)
		}},
		{"output", "set_output_", func(x *execution, text string) error {
			return each(text, filecmd.Pairs, x.setOutput)
		}},
	}
}

func each(text string, parse func(string) ([]filecmd.Pair, error), do func(name, value string)) error {
	pairs, err := parse(text)
	for _, p := range pairs {
		do(p.Name, p.Value)
	}
	return err
}

// makeFiles makes empty files for the step, and puts their paths into the context github.
func (x *execution) makeFiles() error {
	guid := newGUID()
	if err := os.MkdirAll(x.dirs.FileCommands(), 0o755); err != nil {
		return fmt.Errorf("making the step's files: %w", err)
	}
	for _, c := range fileCommands() {
		path := filepath.Join(x.dirs.FileCommands(), c.prefix+guid)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return fmt.Errorf("making the step's files: %w", err)
		}
		x.mu.Lock()
		x.github[c.context] = path
		x.mu.Unlock()
	}
	return nil
}

// readFiles does what the step has written to its files. Mistakes fail the step and are told in its log.
func (x *execution) readFiles() {
	for _, c := range fileCommands() {
		text, err := readRegular(x.github[c.context])
		if err == nil && text != "" {
			err = c.process(x, text)
		}
		if err != nil {
			x.log.error(fmt.Sprintf("Unable to process file command '%s' successfully.", c.context))
			x.log.error(err.Error())
			x.failCommand()
		}
	}
}

// readRegular reads a file that a step may have replaced. One that is gone is empty.
func readRegular(path string) (string, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file any more", path)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

func (x *execution) summary(text string) error {
	if len(text) > filecmd.MaxSummary {
		x.log.error(fmt.Sprintf("$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of %dk, got %dk. "+
			"For more information see: https://docs.github.com/actions/using-workflows/"+
			"workflow-commands-for-github-actions#adding-a-markdown-summary", filecmd.MaxSummary/1024, len(text)/1024))
		return nil
	}
	x.log.emit(jobevent.Event{Kind: jobevent.Summary, Text: text})
	return nil
}
