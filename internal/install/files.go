package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Names of what is installed. The order is that in which they are replaced: each works with the one before it in its
// old and in its new version.
const (
	fullName  = "gantry"
	agentName = "gantry-agent"
	shimName  = "hook.sh"
)

func programs() []string { return []string{fullName, agentName, shimName} }

// listName names the file in which a folder keeps what was put there and for whom.
const listName = "installed.json"

// list is the content of that file.
type list struct {
	Files   []string `json:"files"`
	Runners []string `json:"runners"`
}

func readList(dir string) (list, error) {
	var l list
	text, err := os.ReadFile(filepath.Join(dir, listName))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		return l, fmt.Errorf("reading what is installed in %s: %w", dir, err)
	}
	return l, nil
}

func (l list) write(dir string) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("writing what is installed in %s: %w", dir, err)
	}
	if _, err := put(bytes.NewReader(append(text, '\n')), filepath.Join(dir, listName), 0o644); err != nil {
		return fmt.Errorf("writing what is installed in %s: %w", dir, err)
	}
	return nil
}

// with adds an entry, once.
func with(entries []string, entry string) []string {
	if slices.Contains(entries, entry) {
		return entries
	}
	return append(entries, entry)
}

// copyPrograms puts the programs into a folder, each as a whole: a hook that runs keeps the file it was started
// from, one that starts meets an old or a new one. It returns the names of those that were not there as they are.
func copyPrograms(source, dir string) (changed []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the hook's folder: %w", err)
	}
	for _, name := range programs() {
		file, err := os.Open(filepath.Join(source, name))
		if err != nil {
			return changed, fmt.Errorf("installing %s: %w", name, err)
		}
		isNew, err := put(file, filepath.Join(dir, name), 0o755)
		if err := errors.Join(err, file.Close()); err != nil {
			return changed, fmt.Errorf("installing %s: %w", name, err)
		}
		if isNew {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// put replaces path by what content holds, unless it holds that already.
func put(content io.Reader, path string, mode fs.FileMode) (changed bool, err error) {
	text, err := io.ReadAll(content)
	if err != nil {
		return false, err
	}
	if same, err := os.ReadFile(path); err == nil && bytes.Equal(same, text) {
		return false, os.Chmod(path, mode)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(file.Name()))
	}
	return true, nil
}

// removeFiles removes what the list says was put into the folder, and the folder if nothing else is in it.
func removeFiles(dir string, l list) (folderGone bool, err error) {
	for _, name := range append(slices.Clone(l.Files), listName) {
		if rmErr := os.Remove(filepath.Join(dir, filepath.Base(name))); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("removing an installed file: %w", rmErr))
		}
	}
	left, readErr := os.ReadDir(dir)
	if err != nil || readErr != nil || len(left) > 0 {
		return false, err
	}
	if err := os.Remove(dir); err != nil {
		return false, fmt.Errorf("removing the hook's folder: %w", err)
	}
	return true, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
