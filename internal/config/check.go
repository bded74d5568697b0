package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/glob"
	"github.com/gantry-ci/gantry/internal/spell"
)

// A check says what is wrong with one value: a scalar, an item of a list, or the name or the value of a map's entry.
type check func(value string) error

func oneOf(words ...string) check {
	return func(value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		h := &hinted{text: fmt.Sprintf("%q is none of %s", value, strings.Join(words, ", "))}
		if best := spell.Closest(value, words); best != "" {
			h.hint = "did you mean " + best + "?"
		}
		return h
	}
}

// unlessEmpty makes a check that lets "" pass.
func unlessEmpty(c check) check {
	return func(value string) error {
		if value == "" {
			return nil
		}
		return c(value)
	}
}

func absolutePath(value string) error {
	switch {
	case strings.HasPrefix(value, "~"):
		return &hinted{fmt.Sprintf("%q is not an absolute path", value), `"~" has no meaning here: write the path out`}
	case !strings.HasPrefix(value, "/"):
		return fmt.Errorf("%q is not an absolute path", value)
	}
	return oneLine(value)
}

func oneLine(value string) error {
	if strings.ContainsAny(value, "\x00\r\n") {
		return fmt.Errorf("%q has a line break in it", value)
	}
	return nil
}

func oneWord(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	if strings.ContainsAny(value, " \t\r\n\x00") {
		return fmt.Errorf("%q has a blank in it", value)
	}
	return nil
}

var memoryForm = regexp.MustCompile(`(?i)^[0-9]+(\.[0-9]+)?([kmgtp]?b?|[kmgtp]ib)$`)

func memory(value string) error {
	if !memoryForm.MatchString(value) {
		return &hinted{fmt.Sprintf("%q is not an amount of memory", value), `write "512m" or "2g"`}
	}
	if strings.Trim(strings.TrimRight(strings.ToLower(value), "kmgtpib"), "0.") == "" {
		return &hinted{"is zero", "leave the key out for no limit"}
	}
	return nil
}

var decimalForm = regexp.MustCompile(`^[0-9]+(\.[0-9]{1,9})?$`)

func cpus(value string) error {
	if !decimalForm.MatchString(value) {
		return &hinted{fmt.Sprintf("%q is not a number of processors", value), `write "2" or "1.5"`}
	}
	if strings.Trim(value, "0.") == "" {
		return &hinted{"is zero", "leave the key out for no limit"}
	}
	return nil
}

func notNegative(value string) error {
	if strings.HasPrefix(value, "-") {
		return &hinted{value + " is negative", "0 means no limit"}
	}
	return nil
}

// createArg checks one argument. Values that stand as items of their own may be anything.
func createArg(value string) error {
	name, _, _ := strings.Cut(value, "=")
	if blank := strings.IndexAny(name, " \t"); strings.HasPrefix(value, "-") && blank > 0 {
		return &hinted{fmt.Sprintf("%q holds several arguments", value),
			fmt.Sprintf("write one item an argument: %q, %q", value[:blank], strings.TrimSpace(value[blank:]))}
	}
	if value == "" {
		return errors.New("is empty")
	}
	return oneLine(value)
}

var envNameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func envName(name string) error {
	if !envNameForm.MatchString(name) {
		return fmt.Errorf("%q is not a name of an environment variable", name)
	}
	return nil
}

func noNUL(value string) error {
	if strings.ContainsRune(value, 0) {
		return errors.New("has a NUL character in it")
	}
	return nil
}

func mount(value string) error {
	m, err := createopts.ParseVolume(value)
	switch {
	case err != nil:
		return err
	case m.Source == "":
		return &hinted{fmt.Sprintf("%q has no source", value), "write SOURCE:TARGET or SOURCE:TARGET:OPTIONS"}
	case strings.Contains(m.Source, "/") || strings.HasPrefix(m.Source, "~") || strings.HasPrefix(m.Source, "."):
		return absolutePath(m.Source)
	}
	return nil
}

func imagePrefix(value string) error {
	if _, rest, ok := strings.Cut(value, "://"); ok {
		return &hinted{fmt.Sprintf("%q is a URL", value), fmt.Sprintf("write %q", rest)}
	}
	return oneWord(value)
}

func mountOption(value string) error {
	if strings.ContainsAny(value, ",:") {
		return fmt.Errorf("%q is more than one option", value)
	}
	return oneWord(value)
}

func imageGlob(value string) error {
	if err := oneWord(value); err != nil {
		return err
	}
	_, err := glob.Compile(value)
	return err
}

// denyFlag checks a rule against the table of flags: a misspelt one would never deny anything.
func denyFlag(value string) error {
	flag, pattern, hasPattern := strings.Cut(value, "=")
	if !strings.HasPrefix(flag, "-") {
		return &hinted{fmt.Sprintf("%q is not a flag", value), `flags start with "-", as in --privileged`}
	}
	if name, rest, ok := strings.Cut(flag, " "); ok {
		return &hinted{fmt.Sprintf("%q has a blank in it", value), fmt.Sprintf("write %s=%s", name, strings.TrimSpace(rest))}
	}
	spec, known := createopts.Lookup(flag)
	if !known {
		return &hinted{fmt.Sprintf("%q is not a create flag that gantry knows", flag), createopts.Suggest(flag)}
	}
	if _, err := strconv.ParseBool(pattern); hasPattern && spec.Kind == createopts.Bool && err != nil {
		return &hinted{fmt.Sprintf("%q has a value, but %s is on or off", value, flag), "write " + flag}
	}
	_, err := glob.CompileFlat(pattern)
	return err
}

func denyMount(value string) error {
	if err := oneWord(value); err != nil {
		return err
	}
	if !strings.HasPrefix(value, "/") && strings.Contains(value, "/") {
		return &hinted{fmt.Sprintf("%q is neither a host path nor the name of a volume", value), `host paths start with "/"`}
	}
	for part := range strings.SplitSeq(value, "/") {
		if strings.HasPrefix(value, "/") && strings.Contains(part, "**") && part != "**" {
			return &hinted{fmt.Sprintf("%q has \"**\" beside other characters", value), `write "/**/"`}
		}
		if _, err := glob.Compile(part); err != nil {
			return err
		}
	}
	return nil
}

var commands = []string{
	string(hook.PrepareJob), string(hook.RunScriptStep), string(hook.RunContainerStep), string(hook.CleanupJob),
}
