package createopts

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/engine"
)

// Mount makes an engine mount of what the runner sends. The runner understands no volume option but a lone "ro";
// what else the workflow wrote ("z", "ro,Z", "cached", "nocopy", "U", "rshared" …) is taken from the raw entry.
func Mount(v hook.MountVolume) (engine.Mount, error) {
	if v.UserProvidedValue != "" {
		return ParseVolume(v.UserProvidedValue)
	}
	m := engine.Mount{Source: v.SourceVolumePath, Target: v.TargetVolumePath, ReadOnly: v.ReadOnly}
	if err := checkTarget(m.Target); err != nil {
		return engine.Mount{}, fmt.Errorf("volume %q: %w", m.Source+":"+m.Target, err)
	}
	return m, nil
}

// ParseVolume reads "SOURCE:TARGET[:OPTIONS]", or "TARGET[:ro]" for an anonymous volume. SOURCE is a host path or
// the name of a volume, TARGET a path in the container, OPTIONS are separated by commas and not judged but for
// "ro" and "rw". Errors name the text and the reason.
func ParseVolume(text string) (engine.Mount, error) {
	m, options, err := cutVolume(text)
	if err == nil {
		err = checkTarget(m.Target)
	}
	if err == nil && strings.ContainsAny(text, "\x00\r\n") {
		err = fmt.Errorf("has a line break in it")
	}
	if err == nil {
		err = addOptions(&m, options)
	}
	if err != nil {
		return engine.Mount{}, fmt.Errorf("volume %q: %w", text, err)
	}
	return m, nil
}

func cutVolume(text string) (m engine.Mount, options string, err error) {
	parts := strings.Split(text, ":")
	switch {
	case text == "":
		return m, "", fmt.Errorf("is empty: write SOURCE:TARGET")
	case len(parts) == 1:
		return engine.Mount{Target: parts[0]}, "", nil
	case len(parts) == 2 && (parts[1] == "ro" || parts[1] == "rw"):
		return engine.Mount{Target: parts[0]}, parts[1], nil
	case parts[0] == "":
		return m, "", fmt.Errorf("has nothing before the first \":\"")
	case len(parts) == 2:
		return engine.Mount{Source: parts[0], Target: parts[1]}, "", nil
	case len(parts) == 3:
		return engine.Mount{Source: parts[0], Target: parts[1]}, parts[2], nil
	}
	return m, "", fmt.Errorf("has too many \":\": write SOURCE:TARGET:OPTIONS, with commas between the options")
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return fmt.Errorf("the path in the container is missing")
	case !strings.HasPrefix(target, "/"):
		return fmt.Errorf("the path in the container, %q, does not start with \"/\"", target)
	case path.Clean(target) == "/":
		return fmt.Errorf("the container's root directory cannot be a mount")
	}
	return nil
}

// addOptions puts the options into m; "ro" and "rw" become its ReadOnly.
func addOptions(m *engine.Mount, options string) error {
	if options == "" {
		return nil
	}
	list := strings.Split(options, ",")
	if slices.Contains(list, "") {
		return fmt.Errorf("an option is empty in %q", options)
	}
	m.ReadOnly = slices.Contains(list, "ro")
	if m.ReadOnly && slices.Contains(list, "rw") {
		return fmt.Errorf("is both ro and rw")
	}
	m.Options = slices.DeleteFunc(list, func(o string) bool { return o == "ro" || o == "rw" })
	if len(m.Options) == 0 {
		m.Options = nil
	}
	return nil
}
