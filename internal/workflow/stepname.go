package workflow

import (
	"strconv"
	"strings"
)

// maxNameLength is GitHub's limit for ids.
const maxNameLength = 100

// nameSteps gives every step its ContextName, by GitHub's rules: ids first, then made-up names in the order of the
// steps, with a number where one is taken.
func nameSteps(steps []*Step) {
	taken := map[string]bool{}
	all := flatten(steps)
	for _, step := range all {
		step.ContextName = step.ID
		taken[strings.ToLower(step.ID)] = true
	}
	for _, step := range all {
		if step.ID == "" {
			step.ContextName = unique("__"+legal(step.stem()), taken)
		}
	}
}

// flatten puts the steps of a parallel group in the place of the group.
func flatten(steps []*Step) []*Step {
	var all []*Step
	for _, step := range steps {
		if len(step.Parallel) > 0 {
			all = append(all, step.Parallel...)
		} else {
			all = append(all, step)
		}
	}
	return all
}

// stem is what the name of a step without an id is made from.
func (s *Step) stem() string {
	switch {
	case s.Wait != nil && s.Wait.All:
		return "wait-all"
	case s.Wait != nil:
		return "wait"
	case s.Cancel != nil:
		return "cancel"
	case s.Uses == nil:
		return "run"
	}
	switch s.Uses.Kind {
	case DockerImage:
		return s.Uses.Image
	case LocalAction:
		return "self"
	}
	return s.Uses.Owner + "/" + s.Uses.Repo
}

// legal puts an underscore for every character that an id cannot have.
func legal(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, s)
}

func unique(name string, taken map[string]bool) string {
	for attempt := 1; ; attempt++ {
		suffix := ""
		if attempt > 1 {
			suffix = "_" + strconv.Itoa(attempt)
		}
		candidate := name[:min(len(name), maxNameLength-len(suffix))] + suffix
		if key := strings.ToLower(candidate); !taken[key] {
			taken[key] = true
			return candidate
		}
	}
}
