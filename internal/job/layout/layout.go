// Package layout is the runner's folders on the host, and how their paths read inside of containers.
package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dirs are the folders of one runner (HostContext.GetDirectory). All paths are absolute.
type Dirs struct {
	Root      string // the application folder
	Work      string // Root/_work
	Temp      string // Work/_temp
	Actions   string // Work/_actions
	Tool      string // Work/_tool, or any other folder
	Externals string // Root/externals, with the runner's own programs
	Pipeline  string // Work/REPO: RUNNER_WORKSPACE
	Workspace string // Work/REPO/REPO: GITHUB_WORKSPACE
}

// New gives the folders of a runner at root with a job of the repository named repo, without its owner.
func New(root, repo string) Dirs {
	work := filepath.Join(root, "_work")
	return Dirs{
		Root: root, Work: work,
		Temp: filepath.Join(work, "_temp"), Actions: filepath.Join(work, "_actions"), Tool: filepath.Join(work, "_tool"),
		Externals: filepath.Join(root, "externals"),
		Pipeline:  filepath.Join(work, repo), Workspace: filepath.Join(work, repo, repo),
	}
}

// Home is the home of steps in containers.
func (d Dirs) Home() string { return filepath.Join(d.Temp, "_github_home") }

// WorkflowDir has the event.
func (d Dirs) WorkflowDir() string { return filepath.Join(d.Temp, "_github_workflow") }

// EventFile is GITHUB_EVENT_PATH.
func (d Dirs) EventFile() string { return filepath.Join(d.WorkflowDir(), "event.json") }

// FileCommands has the files through which steps talk to the runner.
func (d Dirs) FileCommands() string { return filepath.Join(d.Temp, "_runner_file_commands") }

// Create empties _temp and makes what is missing. name is the runner's name, event the text of the event's file.
func (d Dirs) Create(name string, event []byte) error {
	if err := d.CleanTemp(); err != nil {
		return err
	}
	for _, dir := range []string{
		d.Workspace, d.Home(), d.WorkflowDir(), d.FileCommands(), filepath.Join(d.Temp, "_runner_hook_responses"),
		d.Actions, d.Tool, d.Externals,
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("laying out a runner: %w", err)
		}
	}
	config, err := json.MarshalIndent(map[string]any{"agentName": name, "workFolder": "_work", "root": d.Root}, "", "  ")
	if err != nil {
		return fmt.Errorf("laying out a runner: %w", err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(d.Root, ".runner"), config, 0o644),
		os.WriteFile(d.EventFile(), event, 0o644),
	)
	if err != nil {
		return fmt.Errorf("laying out a runner: %w", err)
	}
	return nil
}

// CleanTemp removes what is in _temp. It succeeds if there is nothing.
func (d Dirs) CleanTemp() error {
	entries, err := os.ReadDir(d.Temp)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cleaning the temporary folder: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(d.Temp, entry.Name())); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("cleaning the temporary folder: %w", err)
	}
	return nil
}
