// Package buildguard runs the programs of an image build for a hook that may be killed at any time: what they leave
// behind, processes, mounts and files, is gone when the guard is.
//
// The guard is a process of its own between the hook and the builder. It reads its Task from standard input, which the
// hook keeps open for as long as it wants the build; writes what the programs say to standard error, and a Result to
// standard output. Programs of a build leave their process group, their session and their parents (RUN lines that start
// something in the background, fuse-overlayfs), but not the guard: it is the subreaper of all of them.
package buildguard

// Task is a build: a private folder, and the programs that are run one after the other.
type Task struct {
	// Dir is the folder that the guard makes (0700), and removes with all that is in it. Its parent exists, and holds
	// nothing but such folders: those of guards that were killed are removed too.
	Dir string
	// Folders, Files and Links are made in Dir, in this order; their names are below it. Files are for the user alone.
	Folders []string
	Files   map[string]string
	Links   map[string]string // name to target
	// Commands are run until one fails; each is a program's absolute path and its arguments.
	Commands [][]string
	// Env is the whole environment of the commands.
	Env []string
	// Remove is a command that deletes the folder, appended to it, where the guard may not delete files: those of the
	// other users that a builder without root has. Empty: there are none.
	Remove []string
}

// Result is how a Task ended.
type Result struct {
	// Failed is the index of the command that failed; -1: all went well. A guard that was told to stop says so too.
	Failed int
	// Status is its exit status, or 128 and the number of the signal that ended it.
	Status int
	// Error says why a command or the folder could not be made; then Status is 0.
	Error string
	// Left says what could not be removed afterwards.
	Left string
}
