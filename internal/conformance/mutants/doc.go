// Package mutants breaks hooks on purpose, to show that the cases of conformance find it: a case that no broken hook
// fails promises nothing.
//
// A mutant is a good hook with one behaviour broken, by a program around it that alters what goes in, what comes out,
// or what lies about. table.yaml says what each breaks and which cases must fail with it; all others must pass.
package mutants

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

//go:embed table.yaml
var table []byte

// Mutant is one broken behaviour. What it does not mention stays as it is.
type Mutant struct {
	Name   string `yaml:"name"`
	Breaks string `yaml:"breaks"`
	// Fails are patterns of the ids of the cases that must fail with it.
	Fails []string `yaml:"fails"`
	// Also are patterns of cases that fail with it too, or may, and would say nothing new. All others must pass.
	Also []string `yaml:"also"`

	// Engine is the label of the engine that it is tried on, if only that one shows it; otherwise Docker.
	Engine string `yaml:"engine"`

	// Alone: it disturbs everybody's containers on the engine.
	Alone bool `yaml:"alone"`

	// On limits it to these commands.
	On []string `yaml:"on"`
	// If limits it to requests whose text matches, and Unless to those whose text does not.
	If     Pattern `yaml:"if"`
	Unless Pattern `yaml:"unless"`

	Stdin   Stdin         `yaml:"stdin"`
	Request Request       `yaml:"request"`
	Hook    Hook          `yaml:"hook"`
	Instead *Instead      `yaml:"instead"`
	Output  []Replacement `yaml:"output"` // of whole outputs, which then come at the end
	// OutputLimit is after how many bytes standard output ends; 0 for never.
	OutputLimit int64    `yaml:"output_limit"`
	Status      Status   `yaml:"status"`
	Response    Response `yaml:"response"`
	// Before and After are scripts for sh -e, run on the machine. They have ENGINE, the engine's program, ROOT, the
	// runner's folder, TOKEN, its name, IMAGE, one with a shell, RESPONSE, the response
	// file, and of the last prepare_job JOB, NETWORK and SERVICE. After has STATUS, the exit status.
	Before string `yaml:"before"`
	After  string `yaml:"after"`
}

// Stdin alters the text of the request.
type Stdin struct {
	Keep    Pattern       `yaml:"keep"` // only what matches
	Limit   int           `yaml:"limit"`
	Replace []Replacement `yaml:"replace"`
}

// Request alters the request's args. A text $NAME in Set is that variable of the hook's environment. Paths have names and indices with dots between them, and * for each of them.
type Request struct {
	Drop    []string       `yaml:"drop"`
	Set     map[string]any `yaml:"set"`
	Replace []struct {
		In          string `yaml:"in"`
		Replacement `yaml:",inline"`
	} `yaml:"replace"`
	// Remove takes elements out of an array: those of which a member matches.
	Remove []struct {
		In      string  `yaml:"in"`
		Member  string  `yaml:"member"`
		Matches Pattern `yaml:"matches"`
	} `yaml:"remove"`
	// DropNames removes members of objects by their name, and DropValues by their value.
	DropNames  []Named `yaml:"drop_names"`
	DropValues []Named `yaml:"drop_values"`
	// Shell runs a script step's program by this, as "$@".
	Shell string `yaml:"shell"`
	// Words splits arguments by other rules: posix, or none for pieces as they are.
	Words string `yaml:"words"`
	// Unstated sends no state.
	Unstated bool `yaml:"unstated"`
}

// Named are members of an object.
type Named struct {
	In      string  `yaml:"in"`
	Matches Pattern `yaml:"matches"`
}

// Replacement is of regexp.
type Replacement struct {
	Match Pattern `yaml:"match"`
	With  string  `yaml:"with"`
}

// Hook alters how the good hook is started.
type Hook struct {
	Env map[string]string `yaml:"env"`
	// EnvOfJob takes variables of the request into the hook's environment: those whose name matches.
	EnvOfJob Pattern `yaml:"env_of_job"`
	// Twice calls it two times.
	Twice bool `yaml:"twice"`
	// Deaf does not pass signals on.
	Deaf bool `yaml:"deaf"`
	// Lonely leaves the hook running when a signal comes, and ends.
	Lonely bool `yaml:"lonely"`
	// Hold leaves a process behind that keeps the output open.
	Hold bool `yaml:"hold"`
	// Chatty prints the request.
	Chatty bool `yaml:"chatty"`
	// Exclusive fails calls while another one is going on.
	Exclusive bool `yaml:"exclusive"`
	// Serial lets only one call at a time through.
	Serial bool `yaml:"serial"`
	// Exec, if given, does script steps in place of the hook.
	Exec *Exec `yaml:"exec"`
}

// Exec runs script steps by the engine's exec, as simple hooks do.
type Exec struct {
	OpenStdin bool `yaml:"open_stdin"`
	Terminal  bool `yaml:"terminal"`
	Request   bool `yaml:"request"` // the request is the step's input
	InArgs    bool `yaml:"in_args"` // variables with their values in the arguments
}

// Instead does not call the hook at all. Shell is a script as Before.
type Instead struct {
	Status int    `yaml:"status"`
	Print  string `yaml:"print"`
	Shell  string `yaml:"shell"`
}

// Status maps the hook's exit status.
type Status struct {
	Zero    *int `yaml:"zero"`
	NonZero *int `yaml:"nonzero"`
}

// Response alters the response file after the hook has ended.
type Response struct {
	Drop []string       `yaml:"drop"`
	Set  map[string]any `yaml:"set"`
	// Text replaces it all.
	Text *string `yaml:"text"`
	// Append adds text.
	Append string `yaml:"append"`
}

// Pattern is a regular expression in YAML.
type Pattern struct{ *regexp.Regexp }

// UnmarshalYAML compiles it.
func (p *Pattern) UnmarshalYAML(node *yaml.Node) error {
	re, err := regexp.Compile(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	p.Regexp = re
	return nil
}

// All are the mutants of the table.
func All() ([]Mutant, error) {
	var all []Mutant
	d := yaml.NewDecoder(bytes.NewReader(table))
	d.KnownFields(true)
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("reading the table of mutants: %w", err)
	}
	var problems []error
	seen := map[string]bool{}
	for _, m := range all {
		if m.Name == "" || m.Breaks == "" || len(m.Fails) == 0 || seen[m.Name] {
			problems = append(problems, fmt.Errorf("mutant %q: it has no name of its own, does not say what it breaks, or fails nothing", m.Name))
		}
		seen[m.Name] = true
	}
	return all, errors.Join(problems...)
}

// Find is the mutant of that name; "none" breaks nothing.
func Find(name string) (*Mutant, error) {
	if name == "none" {
		return &Mutant{}, nil
	}
	all, err := All()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("there is no mutant %q", name)
}

// Kills says whether a case must fail with it.
func (m *Mutant) Kills(id string) bool { return matchesOne(m.Fails, id) }

// Spares says whether a case must pass with it. What waits for output of a call that goes on cannot, if output is altered.
func (m *Mutant) Spares(id string) bool {
	waits := matchesOne([]string{"cancel-*", "concurrent-*", "container-of-step-dies", "output-at-once"}, id)
	return !matchesOne(m.Fails, id) && !matchesOne(m.Also, id) && !(waits && len(m.Output) > 0)
}

func matchesOne(patterns []string, id string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { ok, err := path.Match(p, id); return ok && err == nil })
}
