package worksync

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Config says how a work folder is kept in step. Start with Defaults.
type Config struct {
	// Rules say what travels in which direction; of several that match the last one holds.
	Rules []tree.Rule `json:"rules,omitempty"`
	// Fixed are folders that the container can neither remove on the host nor replace by something else; the runner
	// writes below them.
	Fixed []string `json:"fixed,omitempty"`
	// Plain are folders from which no links come to the host: the runner follows them when it reads or writes there.
	Plain []string `json:"plain,omitempty"`
	// Awaited are folders with files that the runner reads after a step, and takes for empty if they are not there. One
	// that cannot be read in the container fails the step.
	Awaited []string `json:"awaited,omitempty"`
	// MaxFile is the size in bytes above which a file is left out, MaxTotal the same for what travels in one direction
	// at once; 0: no bound. MaxNames is how many names a container may bring to the host; their length is bounded too
	// then.
	MaxFile  int64 `json:"maxFile,omitempty"`
	MaxTotal int64 `json:"maxTotal,omitempty"`
	MaxNames int   `json:"maxNames,omitempty"`
	// NoWatch has all folders listed each time, where the kernel's word about changes cannot be trusted.
	NoWatch bool `json:"noWatch,omitempty"`
}

// defaultMaxNames takes about 200 MB on each side; the memory for them is the hook's, which others decide about.
const defaultMaxNames = 500_000

// maxNamesSize bounds all names and targets of links in bytes.
const maxNamesSize = 64 << 20

// Defaults are for the work folder of the actions runner. User's rules are to follow these.
func Defaults() Config {
	return Config{
		Rules: []tree.Rule{
			{Path: "_temp/.gantry", Flow: tree.None},                // the agents' own folders
			{Path: "_temp/_runner_hook_responses", Flow: tree.None}, // between runner and hook
			{Path: "/_update", Flow: tree.None},
			// The runner fetches actions in the middle of a job, and then runs, builds and reads them: a link that a step
			// has put here would lead it elsewhere. It reads nothing here that steps write.
			{Path: "/_actions", Flow: tree.In},
			{Path: "/_tool", Flow: tree.In},             // the runner reads nothing that a job installs
			{Path: "_temp/_github_home", Flow: tree.In}, // nor what it keeps at home
			{Path: "_temp/_github_workflow", Flow: tree.In},
		},
		Fixed: []string{
			"_temp", "_actions", "_tool", "_temp/_runner_file_commands", "_temp/_github_home", "_temp/_github_workflow",
		},
		Plain:    []string{"_temp/_runner_file_commands", "_actions"},
		Awaited:  []string{"_temp/_runner_file_commands"},
		MaxNames: defaultMaxNames,
	}
}

// Check lists everything that is wrong with a configuration.
func (c Config) Check() error {
	var all []error
	for _, r := range c.Rules {
		all = append(all, r.Check())
	}
	if c.MaxFile < 0 || c.MaxTotal < 0 || c.MaxNames < 0 {
		all = append(all, errors.New("a limit is below zero"))
	}
	return errors.Join(all...)
}

// refuses says why a change of the container's is not taken over; "" if it is.
func (c Config) refuses(change tree.Change) string {
	switch {
	case change.Kind != tree.Folder && slices.Contains(c.Fixed, change.Path):
		return "is a folder that the runner needs, and stays one on its machine"
	case change.Kind == tree.Link && slices.ContainsFunc(c.Plain, func(p string) bool { return within(change.Path, p) }):
		return "is a link, which the runner would follow on its machine"
	case change.Kind == tree.File && c.MaxFile > 0 && change.Size > c.MaxFile:
		return tooLarge(change.Size, c.MaxFile)
	}
	return ""
}

// waits says whether the runner waits for what a step writes to a path.
func (c Config) waits(p string) bool {
	return slices.ContainsFunc(c.Awaited, func(folder string) bool { return within(p, folder) })
}

// tooMuch says why a file is left out that is larger than files, or all together, may be; "" if it is not. What is not
// left out is added to total.
func (c Config) tooMuch(change tree.Change, total *int64) string {
	switch {
	case change.Kind != tree.File:
		return ""
	case c.MaxFile > 0 && change.Size > c.MaxFile:
		return tooLarge(change.Size, c.MaxFile)
	case c.MaxTotal > 0 && change.Size > c.MaxTotal-*total:
		return "was left out: " + sizeOf(c.MaxTotal) + " may travel at once"
	}
	*total += change.Size
	return ""
}

func tooLarge(size, limit int64) string {
	return "was left out: it has " + sizeOf(size) + ", and " + sizeOf(limit) + " may travel"
}

// sizeOf words a number of bytes.
func sizeOf(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// within says whether a path is another one or lies below it.
func within(p, above string) bool { return p == above || strings.HasPrefix(p, above+"/") }

// above gives every folder that a path lies in, the path itself first.
func above(p string, f func(string) bool) bool {
	for ; p != "."; p = path.Dir(p) {
		if f(p) {
			return true
		}
	}
	return false
}
