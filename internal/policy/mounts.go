package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/glob"
)

// exposure is a host path or a volume that a request brings into its container.
type exposure struct {
	source string // as written
	shown  string
	// opaque says why it cannot be told what is exposed, or is "".
	opaque string
	// socket says that the engine's socket is exposed whatever the source; file that source is only read as a file.
	socket, file bool
}

// exposures lists all ways into the host's files: `volumes:`, --volume, --mount, devices and files that flags name,
// other containers' volumes.
func exposures(r Request) []exposure {
	var all []exposure
	for _, v := range r.Volumes {
		text := volumeText(v)
		for _, source := range volumeSources(text) {
			all = append(all, exposure{source: source, shown: fmt.Sprintf("%q in its volumes", text)})
		}
	}
	for _, f := range r.Options.Flags {
		all = append(all, flagExposures(f)...)
	}
	for i, e := range all {
		if isRelative(e.source) {
			all[i].opaque = "a relative path cannot be judged: write the whole path"
		}
	}
	return all
}

func flagExposures(f createopts.Flag) []exposure {
	shown := f.Written + " " + f.Value + " in its options"
	switch f.Name {
	case "volumes-from":
		return []exposure{{shown: shown, opaque: "it cannot be told what other containers have mounted"}}
	case "use-api-socket":
		return []exposure{{shown: f.Written + " in its options", socket: f.Value == "true"}}
	}
	var all []exposure
	mounts, file := sources(f)
	for _, source := range mounts {
		all = append(all, exposure{source: source, shown: shown})
	}
	if file != "" {
		all = append(all, exposure{source: file, shown: shown, file: true})
	}
	return all
}

// sources gives the host paths and volumes that one flag mounts, and the file of the host that it names.
func sources(f createopts.Flag) (mounts []string, file string) {
	switch f.Name {
	case "volume":
		return volumeSources(f.Value), ""
	case "mount":
		return mountSources(createopts.ParseMountFlag(f.Value)), ""
	}
	spec, _ := createopts.Lookup("--" + f.Name)
	if spec.Kind == createopts.HostPath {
		file, _, _ = strings.Cut(f.Value, ":")
	}
	if f.Name == "device" && !strings.HasPrefix(file, "/") {
		return nil, "" // "vendor.com/gpu=all" names no path
	}
	return nil, file
}

// volumeSources reads SOURCE:TARGET:OPTIONS. Podman's overlay mounts name more host paths among the options.
func volumeSources(text string) []string {
	source, rest, found := strings.Cut(text, ":")
	if !found || rest == "ro" || rest == "rw" {
		return nil // an anonymous volume
	}
	list := []string{source}
	_, options, _ := strings.Cut(rest, ":")
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		if name == "upperdir" || name == "workdir" {
			list = append(list, value)
		}
	}
	return list
}

func mountSources(m createopts.MountFlag) []string {
	switch m.Type {
	case "tmpfs", "ramfs", "image":
		return m.Devices
	case "glob":
		return append(m.Devices, aboveWildcard(m.Source))
	}
	return append(m.Devices, m.Source)
}

// aboveWildcard gives the directory in which a pattern of Podman begins to choose.
func aboveWildcard(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return path.Dir(pattern[:i] + "x")
	}
	return pattern
}

// isRelative says whether the engine would look for the source from its own working directory.
func isRelative(source string) bool {
	return !strings.HasPrefix(source, "/") && (strings.Contains(source, "/") || strings.HasPrefix(source, ".") ||
		strings.HasPrefix(source, "~"))
}

func checkMounts(p config.Policy, r Request, exposed []exposure) []Violation {
	var all []Violation
	for _, e := range exposed {
		for _, rule := range p.DenyMounts {
			if reason, denied := deniesMount(rule, e, r); denied {
				all = append(all, Violation{Key: "policy.deny_mounts", Value: rule, Offender: e.shown, Reason: reason})
				break
			}
		}
	}
	return all
}

func deniesMount(rule string, e exposure, r Request) (reason string, denied bool) {
	switch {
	case e.opaque != "":
		return e.opaque, true
	case e.source == "":
		return "", false
	case strings.HasPrefix(e.source, "/") != strings.HasPrefix(rule, "/"):
		return "", false
	case !strings.HasPrefix(rule, "/"):
		pattern, err := glob.Compile(rule)
		return "", err != nil || pattern.Match(e.source)
	}
	for _, name := range hostNames(e.source, r.RealPath) {
		if exposes(name, unalias(rule)) {
			return whyDenied(e.source, name), true
		}
	}
	return "", false
}

func whyDenied(written, name string) string {
	if path.Clean(written) == name {
		return ""
	}
	return "that is " + name
}

// hostNames gives the names by which a host path is judged.
func hostNames(source string, realPath func(string) string) []string {
	names := aliases(source)
	if realPath != nil {
		if real := realPath(source); real != "" {
			names = append(names, aliases(real)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// aliases gives the cleaned path and what it is by the links that every Linux system has.
func aliases(p string) []string {
	p = unalias(p)
	names := []string{p, throughProc(p)}
	if p == "/var" {
		names = append(names, "/run") // where /var/run is no link
	}
	return names
}

// unalias cleans a path and gives /var/run its other name.
func unalias(p string) string {
	p = path.Clean("/" + p)
	for _, alias := range [][2]string{{"/var/run", "/run"}, {"/var/lock", "/run/lock"}} {
		if rest, ok := strings.CutPrefix(p, alias[0]); ok && (rest == "" || rest[0] == '/') {
			return alias[1] + rest
		}
	}
	return p
}

// throughProc finds what a path below /proc leads to: /proc/1/root is the root directory, and who has a process's
// directory, or all of /proc, has that link too. Files of the kernel's own, as /proc/cpuinfo, stay what they are.
func throughProc(p string) string {
	rest, ok := strings.CutPrefix(p, "/proc")
	if !ok || rest != "" && rest[0] != '/' {
		return p
	}
	parts := strings.SplitN(strings.TrimPrefix(rest, "/"), "/", 3)
	process := strings.Trim(parts[0], "0123456789") == "" || parts[0] == "self" || parts[0] == "thread-self"
	switch {
	case !process:
		return p
	case len(parts) == 3 && parts[1] == "root":
		return throughProc(unalias(parts[2]))
	}
	return "/"
}

// exposes says whether having name in a container reaches a path that rule, a glob of an absolute path, matches:
// name is that path, or below it, or above it. Behind a "**" only names that match are found, not those above them.
func exposes(name, rule string) bool {
	return reaches(split(name), split(rule), true)
}

func split(p string) []string {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// reaches compares part by part. above says that names above a match count.
func reaches(name, rule []string, above bool) bool {
	switch {
	case len(rule) == 0:
		return true
	case len(name) == 0 && (above || len(rule) == 1 && rule[0] == "**"):
		return true
	case len(name) == 0:
		return false
	case rule[0] == "**":
		return reaches(name, rule[1:], false) || reaches(name[1:], rule, false)
	}
	pattern, err := glob.Compile(rule[0])
	return err != nil || pattern.Match(name[0]) && reaches(name[1:], rule[1:], above)
}
