package conformance

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/hook"
)

// Level says how much a case counts.
type Level string

// The levels. A hook conforms if every case that it must pass passes.
const (
	// Must: the runner's contract, or what every job relies on.
	Must Level = "must"
	// Should: what the documentation or the runner's own Docker mode lets users expect.
	Should Level = "should"
	// May: good to have; hooks differ.
	May Level = "may"
)

// Case is one promise of a hook, as a file of the folder cases says it. See docs/conformance.md.
type Case struct {
	// ID is the name of the file, without .yaml.
	ID    string `yaml:"id"`
	Title string `yaml:"title"`
	Level Level  `yaml:"level"`
	// Area is the chapter of the report.
	Area    string  `yaml:"area"`
	RestsOn RestsOn `yaml:"rests_on"`
	// Needs are names of Needs; without one of them the case is skipped.
	Needs []string `yaml:"needs"`
	// Job names a job of jobs.yaml that the case's calls belong to, prepared before them and shared with other cases.
	Job string `yaml:"job"`
	// Prepared is what must be so of that job's prepare_job.
	Prepared yaml.Node `yaml:"prepared"`
	// Alone: no other case may run at the same time.
	Alone bool `yaml:"alone"`
	// Runner changes the runner of a case that has no Job.
	Runner RunnerSetup `yaml:"runner"`
	Calls  []yaml.Node `yaml:"calls"`

	commands []hook.Command
}

// Commanded says whether a case calls a command of the hook, or one is called for the job that it shares. A request that
// a case words itself counts as each of them.
func (c *Case) Commanded(command hook.Command) bool { return slices.Contains(c.commands, command) }

// RestsOn is where a promise comes from.
type RestsOn struct {
	// Source is a source file of the runner, a page of documentation, or a test of the official hooks.
	Source string `yaml:"source"`
	// Says is what stands there, in own words.
	Says string `yaml:"says"`
}

// RunnerSetup is what is special about the runner of a case.
type RunnerSetup struct {
	// Env is added to the hook's environment.
	Env map[string]string `yaml:"env"`
	// Path is prepended to the hook's PATH, as the runner does with what steps wrote to $GITHUB_PATH.
	Path []string `yaml:"path"`
	// Files are made before the first call.
	Files []File `yaml:"files"`
}

// File is something to make on the host before a call. Path is absolute, or relative to the runner's folder.
type File struct {
	Path   string `yaml:"path"`
	Text   string `yaml:"text"`
	Mode   uint32 `yaml:"mode"`
	Folder bool   `yaml:"folder"`
	Link   string `yaml:"link"`
	Pipe   bool   `yaml:"pipe"`
	Remove bool   `yaml:"remove"`
}

// Call is one thing that happens: a command of the hook, or something done to its surroundings. Exactly one of
// Prepare, Script, Program, Line, Container, Cleanup, Stdin, Host and Together says what.
type Call struct {
	// Name is how the report names the call, if what it does does not say enough.
	Name string `yaml:"name"`
	// Runner is other for a call of another runner on the machine, and namesake for one of the same name.
	Runner string `yaml:"runner"`
	// Prepare is prepare_job.
	Prepare *Prepare `yaml:"prepare"`
	// Script is a `run:` step: run_script_step with a file that `sh -e` runs.
	Script *string `yaml:"script"`
	// Program is run_script_step with a program and the pieces of its arguments, as the wire has them.
	Program []string `yaml:"program"`
	// Line is run_script_step with a command line, which is split at every blank, as the runner does it.
	Line string `yaml:"line"`
	// Container is run_container_step.
	Container *ContainerStep `yaml:"container"`
	Cleanup   bool           `yaml:"cleanup"`
	// Stdin is the whole standard input of the hook.
	Stdin *string `yaml:"stdin"`
	// Host is something that the world does to the hook: see Host.
	Host *Host `yaml:"host"`
	// Together are calls at the same time.
	Together []yaml.Node `yaml:"together"`

	// With is merged into the request's args: objects member by member, anything else replaces. A value null is null
	// on the wire, and the tag !absent leaves the member out.
	With yaml.Node `yaml:"with"`
	// Form is another wording of the same request: see Forms.
	Form string `yaml:"form"`
	// State is sent in place of the runner's: an object, or null.
	State yaml.Node `yaml:"state"`
	// Before are files that are made before the call.
	Before []File `yaml:"before"`
	// Env is added to the environment of the hook for this call.
	Env map[string]string `yaml:"env"`
	// After delays a call of Together until something has happened.
	After *When `yaml:"after"`
	// Cancel is the runner's: SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL, to the hook's process.
	Cancel *When `yaml:"cancel"`
	// Signals are sent to the hook's process, one after the other.
	Signals []Signal `yaml:"signals"`
	// Watch is what must be so all the time that the call lasts.
	Watch *Watch `yaml:"watch"`
	// Since is where standard output begins to count: what comes before it, and itself, does not. Hooks may print
	// something of their own before a step begins.
	Since string `yaml:"since"`

	Expect yaml.Node `yaml:"expect"`
}

// Prepare is a job as prepare_job has it.
type Prepare struct {
	// Image is the job container's; "" for a job without one. Images are named as in Images, or by their full name.
	Image    string    `yaml:"image"`
	Services []Service `yaml:"services"`
}

// Service is one service container. With is as in Call.
type Service struct {
	Image string    `yaml:"image"`
	With  yaml.Node `yaml:"with"`
}

// ContainerStep is a container action.
type ContainerStep struct {
	Image string `yaml:"image"`
	// Dockerfile is a path as in File, in place of an image.
	Dockerfile string `yaml:"dockerfile"`
	// Args are worded as the runner words `runs.args`: quoted, then split at blanks.
	Args []string `yaml:"args"`
	// Shell is a script for /bin/sh -c in the container, in place of the image's entry point.
	Shell string `yaml:"shell"`
}

// Host is done by the suite itself, between calls.
type Host struct {
	// Files are made after what the call expects has been seen.
	Files []File `yaml:"files"`
	// Fail lets the suite's registry fail so many requests for a repository.
	Fail map[string]int `yaml:"fail"`
	// Move puts another image of the suite behind a repository's tag 1.
	Move map[string]string `yaml:"move"`
	// Hold lets the suite's registry keep requests for a repository waiting.
	Hold map[string]time.Duration `yaml:"hold"`
	// Note remembers what the job has on the engine: note: x makes the variables x.container.0, x.network.0,
	// x.volume.0 and so on.
	Note string `yaml:"note"`
	// Listen takes a TCP port of this machine until the case ends.
	Listen string `yaml:"listen"`
	// Foreign starts a container of that name which sleeps and belongs to no runner. It is removed when the case ends.
	Foreign string `yaml:"foreign"`
	// Kill ends containers at once, by their ids; all stands for those of this job.
	Kill []string `yaml:"kill"`
	// Remove removes containers, by their ids.
	Remove []string `yaml:"remove"`
	// Enter runs a program in a container. Its status is that of the call.
	Enter *Enter `yaml:"enter"`
}

// Enter is a program in a container.
type Enter struct {
	Container string   `yaml:"container"`
	Program   []string `yaml:"program"`
}

// When is a condition. All that is given must hold.
type When struct {
	// Stdout: the hook has printed this (in Together: the first call has).
	Stdout string `yaml:"stdout"`
	// Process: a process of this machine has this in its arguments.
	Process string `yaml:"process"`
	// Containers: at least so many containers of this job exist.
	Containers int `yaml:"containers"`
	// Networks likewise.
	Networks int `yaml:"networks"`
	// Requested: the suite's registry was asked for this repository.
	Requested string `yaml:"requested"`
	// Started: the hook's process is there.
	Started bool `yaml:"started"`
	// Passed is time after the rest has come true.
	Passed time.Duration `yaml:"passed"`
}

// Signal is one signal to the hook's process.
type Signal struct {
	When When   `yaml:"when"`
	Send string `yaml:"send"`
}

// Watch is about the whole time of a call.
type Watch struct {
	// Arguments is what no process of this machine may have in its arguments.
	Arguments string `yaml:"arguments_lack"`
	// Files are what no file below _work may contain.
	Files []string `yaml:"files_lack"`
}

// unmarshalCall reads a call; unknown keys are errors.
func unmarshalCall(node *yaml.Node) (*Call, error) {
	call := &Call{}
	if err := strict(node, call); err != nil {
		return nil, err
	}
	kinds := 0
	for _, given := range []bool{
		call.Prepare != nil, call.Script != nil, call.Program != nil, call.Line != "", call.Container != nil,
		call.Cleanup, call.Stdin != nil, call.Host != nil, call.Together != nil,
	} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, fmt.Errorf("line %d: a call is exactly one of prepare, script, program, line, container, cleanup, stdin, host, together", node.Line)
	}
	return call, nil
}

// kind is what the report calls a call.
func (c *Call) kind() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Prepare != nil:
		return "prepare_job"
	case c.Script != nil, c.Program != nil, c.Line != "":
		return "run_script_step"
	case c.Container != nil:
		return "run_container_step"
	case c.Cleanup:
		return "cleanup_job"
	case c.Host != nil:
		return "host"
	case c.Together != nil:
		return "together"
	}
	return "stdin"
}
