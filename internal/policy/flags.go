package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/glob"
)

// use is a create flag as a rule sees it: the one in its options, or the one that `volumes:` and `ports:`
// stand for.
type use struct {
	flag, value string
	shown       string
}

func checkFlags(p config.Policy, r Request) []Violation {
	var all []Violation
	uses := flagUses(r)
	for _, rule := range p.DenyFlags {
		for _, u := range uses {
			if denies(rule, u) {
				all = append(all, Violation{Key: "policy.deny_flags", Value: rule, Offender: u.shown})
			}
		}
	}
	return all
}

// flagUses lists what the request uses; --mount is a --volume too.
func flagUses(r Request) []use {
	var uses []use
	for _, f := range r.Options.Flags {
		shown := fmt.Sprintf("%s %s in its options", f.Written, f.Value)
		if spec, ok := createopts.Lookup("--" + f.Name); ok && spec.Kind == createopts.Bool {
			shown = f.Written + " in its options"
		}
		uses = append(uses, use{f.Name, f.Value, shown})
		if f.Name == "mount" {
			m := createopts.ParseMountFlag(f.Value)
			uses = append(uses, use{"volume", m.Source + ":" + m.Target, shown})
		}
	}
	for _, v := range r.Volumes {
		text := volumeText(v)
		uses = append(uses, use{"volume", text, fmt.Sprintf("%q in its volumes", text)})
	}
	for _, port := range r.Ports {
		uses = append(uses, use{"publish", port, fmt.Sprintf("%q in its ports", port)})
	}
	return uses
}

func volumeText(v hook.MountVolume) string {
	if v.UserProvidedValue != "" {
		return v.UserProvidedValue
	}
	return strings.TrimPrefix(v.SourceVolumePath+":"+v.TargetVolumePath, ":")
}

// denies says whether a rule such as "--privileged" or "--pid=host" matches a use. A rule that cannot be read
// matches everything.
func denies(rule string, u use) bool {
	flag, value, hasValue := strings.Cut(rule, "=")
	spec, ok := createopts.Lookup(flag)
	if !ok {
		return true
	}
	if spec.Name != u.flag {
		return false
	}
	if spec.Kind == createopts.Bool {
		want, err := strconv.ParseBool(value)
		return u.value == strconv.FormatBool(want || !hasValue || err != nil)
	}
	if !hasValue {
		return true
	}
	return matchesValue(spec.Name, value, u.value)
}

// matchesValue compares by every spelling that the engines understand.
func matchesValue(flag, rule, value string) bool {
	pattern, err := glob.CompileFlat(canonicalValue(flag, rule))
	if err != nil {
		return true
	}
	for _, v := range spellings(flag, value) {
		if pattern.Match(v) {
			return true
		}
	}
	return flag == "cap-add" && strings.EqualFold(value, "all")
}

// spellings gives the value, and its pieces where Podman accepts several separated by commas, in the form that is
// compared.
func spellings(flag, value string) []string {
	forms := []string{value}
	if spec, ok := createopts.Lookup("--" + flag); ok && spec.Many && strings.Contains(value, ",") {
		for piece := range strings.SplitSeq(value, ",") {
			forms = append(forms, strings.Trim(piece, ` "`))
		}
	}
	for i, form := range forms {
		forms[i] = canonicalValue(flag, form)
	}
	return forms
}

// canonicalValue undoes what the engines do not distinguish.
func canonicalValue(flag, value string) string {
	switch flag {
	case "cap-add", "cap-drop":
		return strings.TrimPrefix(strings.ToUpper(value), "CAP_")
	case "network":
		return createopts.NetworkName(value)
	case "security-opt":
		if name, rest, ok := strings.Cut(value, ":"); ok && !strings.Contains(name, "=") {
			return name + "=" + rest // Docker's old spelling
		}
	}
	return value
}
