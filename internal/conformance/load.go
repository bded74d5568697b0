package conformance

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/hook"
)

//go:embed cases
var embedded embed.FS

// Collection is a set of cases and the jobs that they share.
type Collection struct {
	Cases []Case // in the order of areas and ids
	Jobs  map[string]SharedJob
}

// SharedJob is a job that several cases use one after the other.
type SharedJob struct {
	Title  string      `yaml:"title"`
	Needs  []string    `yaml:"needs"`
	Runner RunnerSetup `yaml:"runner"`
	Call   yaml.Node   `yaml:"call"`
}

// Needs are the names of the needs of a case and of the job that it shares, in their order.
func (all *Collection) Needs(c *Case) []string {
	needs := slices.Concat(c.Needs, all.Jobs[c.Job].Needs)
	slices.Sort(needs)
	return slices.Compact(needs)
}

// commandsOf are the commands of a call.
func commandsOf(call *Call) []hook.Command {
	switch {
	case call.Host != nil, call.Together != nil:
		return nil
	case call.Stdin != nil:
		return []hook.Command{hook.PrepareJob, hook.RunScriptStep, hook.RunContainerStep, hook.CleanupJob}
	case call.Prepare != nil:
		return []hook.Command{hook.PrepareJob}
	case call.Container != nil:
		return []hook.Command{hook.RunContainerStep}
	case call.Cleanup:
		return []hook.Command{hook.CleanupJob}
	}
	return []hook.Command{hook.RunScriptStep}
}

// Cases are the cases of this program.
func Cases() (*Collection, error) {
	folder, err := fs.Sub(embedded, "cases")
	if err != nil {
		return nil, fmt.Errorf("opening the cases: %w", err)
	}
	return Load(folder)
}

// Load reads cases from a folder: one a file, and jobs.yaml. The error lists every problem of every file.
func Load(folder fs.FS) (*Collection, error) {
	names, err := fs.Glob(folder, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing cases: %w", err)
	}
	all := &Collection{}
	var problems []error
	for _, name := range names {
		if err := all.read(folder, name); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all.Jobs)) {
		job := all.Jobs[name]
		for _, err := range checkNeeds(job.Needs, &job.Call) {
			problems = append(problems, fmt.Errorf("jobs.yaml: %s: %w", name, err))
		}
	}
	for i := range all.Cases {
		for _, err := range all.check(&all.Cases[i]) {
			problems = append(problems, fmt.Errorf("%s.yaml: %w", all.Cases[i].ID, err))
		}
	}
	slices.SortStableFunc(all.Cases, func(a, b Case) int {
		if byArea := slices.Index(areas(), a.Area) - slices.Index(areas(), b.Area); byArea != 0 {
			return byArea
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, errors.Join(problems...)
}

func (all *Collection) read(folder fs.FS, name string) error {
	text, err := fs.ReadFile(folder, name)
	if err != nil {
		return err
	}
	if name == "jobs.yaml" {
		return decode(text, &all.Jobs)
	}
	var c Case
	if err := decode(text, &c); err != nil {
		return err
	}
	if want := strings.TrimSuffix(path.Base(name), ".yaml"); c.ID != want {
		return fmt.Errorf("its id is %q", c.ID)
	}
	all.Cases = append(all.Cases, c)
	return nil
}

// decode reads one document; unknown keys are errors.
func decode(text []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// strict decodes a node, of which unknown keys are errors: Node.Decode itself does not look.
func strict(node *yaml.Node, into any) error {
	text, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	if err := decode(text, into); err != nil {
		return fmt.Errorf("at line %d: %w", node.Line, err)
	}
	return nil
}

// areas are the chapters of a report, in their order.
func areas() []string {
	return []string{
		"input", "arguments", "environment", "path", "working directory", "mounts", "volumes", "ports", "services",
		"health", "credentials", "pulls", "alpine", "response", "state", "container steps", "builds", "exit statuses",
		"output", "stdin", "concurrency", "cancellation", "crash and leftovers", "hostile jobs", "secrets", "small images",
		"options", "cleanup", "errors",
	}
}

var caseID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// check finds everything that is wrong with a case.
func (all *Collection) check(c *Case) []error {
	var problems []error
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	report(!caseID.MatchString(c.ID), "the id %q is not of small letters, digits and single dashes", c.ID)
	report(c.Title == "", "it has no title")
	report(!slices.Contains([]Level{Must, Should, May}, c.Level), "the level is %q, not must, should or may", c.Level)
	report(!slices.Contains(areas(), c.Area), "there is no area %q", c.Area)
	report(c.RestsOn.Source == "" || c.RestsOn.Says == "", "rests_on has no source, or does not say what stands there")
	nodes := []*yaml.Node{&c.Prepared}
	for i := range c.Calls {
		nodes = append(nodes, &c.Calls[i])
	}
	problems = append(problems, checkNeeds(all.Needs(c), nodes...)...)
	if _, shared := all.Jobs[c.Job]; c.Job != "" {
		report(!shared, "jobs.yaml has no job %q", c.Job)
		report(c.Runner.Env != nil || c.Runner.Path != nil || c.Runner.Files != nil, "a shared job's runner cannot be changed")
	} else {
		report(!c.Prepared.IsZero(), "prepared is about the job of jobs.yaml, and there is none")
	}
	report(len(c.Calls) == 0 && c.Prepared.IsZero(), "it does nothing")
	if err := checkExpect(&c.Prepared); err != nil {
		problems = append(problems, fmt.Errorf("prepared: %w", err))
	}
	if c.Job != "" {
		c.commands = append(c.commands, hook.PrepareJob)
	}
	for i := range c.Calls {
		if err := c.checkCall(&c.Calls[i]); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// checkCall decodes a call as far as that can be done before it is made, and notes which commands it is of.
func (c *Case) checkCall(node *yaml.Node) error {
	call, err := unmarshalCall(node)
	if err != nil {
		return err
	}
	c.commands = append(c.commands, commandsOf(call)...)
	for i := range call.Together {
		if err := c.checkCall(&call.Together[i]); err != nil {
			return err
		}
	}
	if _, known := forms()[call.Form]; call.Form != "" && !known {
		return fmt.Errorf("line %d: there is no form %q", node.Line, call.Form)
	}
	if !slices.Contains([]string{"", "other", "namesake"}, call.Runner) {
		return fmt.Errorf("line %d: a runner is other or namesake, not %q", node.Line, call.Runner)
	}
	for _, s := range call.Signals {
		if _, known := signals()[s.Send]; !known {
			return fmt.Errorf("line %d: there is no signal %q", node.Line, s.Send)
		}
	}
	return checkExpect(&call.Expect)
}

// checkExpect decodes an expectation with something in place of what is known only later.
func checkExpect(node *yaml.Node) error {
	if node.IsZero() {
		return nil
	}
	n := 0
	expanded, err := expand(node, func(string) (string, bool) { n++; return strconv.Itoa(n), true })
	if err != nil {
		return err
	}
	return strict(expanded, &Expect{})
}
