package ocicli

import (
	"encoding/csv"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// plan is how a container is asked for. The command line is flags, an --env-file if envFile is not empty, then tail.
type plan struct {
	flags   []string // between the command (run, create) and the environment
	env     passedEnv
	tail    []string // mounts, entry point, image, arguments
	network string   // the network asked for
}

// args is the whole command line after the program's name. verb is for instance ["run", "-d"]; envFile is the path
// of a file with the lines of p.env.file, "" if there are none.
func (p *plan) args(verb []string, envFile string) []string {
	args := slices.Concat(verb, p.flags)
	if envFile != "" {
		args = append(args, "--env-file", envFile)
	}
	for _, name := range p.env.names {
		args = append(args, "-e", name)
	}
	return append(args, p.tail...)
}

// planContainer translates a spec. The order is that of the runner itself: what stands before Options can be
// overridden by them, what stands behind cannot.
func (d *differences) planContainer(c engine.ContainerSpec, network string) (*plan, error) {
	env, err := d.passEnv(c.Env)
	if err != nil {
		return nil, err
	}
	p := &plan{env: env, network: network}
	p.flag("--name", c.Name)
	for _, name := range sortedKeys(c.Labels) {
		p.flag("--label", name+"="+c.Labels[name])
	}
	p.flag("--workdir", c.WorkingDir)
	d.planNetwork(p, c)
	for _, port := range c.Ports {
		p.flag("-p", port)
	}
	p.flags = append(p.flags, c.Options...)
	if err := d.planMounts(p, c.Mounts); err != nil {
		return nil, err
	}
	// Images are pulled before, with the host's environment: a pull by run would hand the job's to the helpers.
	p.tail = append(p.tail, "--pull=never")
	if c.Entrypoint != "" {
		p.tail = append(p.tail, "--entrypoint", c.Entrypoint)
	}
	p.tail = append(p.tail, c.Image)
	p.tail = append(p.tail, c.Args...)
	return p, nil
}

func (p *plan) flag(name, value string) {
	if value != "" {
		p.flags = append(p.flags, name, value)
	}
}

// planNetwork joins the job's network, unless Options name one.
func (d *differences) planNetwork(p *plan, c engine.ContainerSpec) {
	if own, ok := optionValue(c.Options, "--network", "--net"); ok {
		p.network = own
		return
	}
	p.flag("--network", p.network)
	if !d.hasNames(p.network) {
		return
	}
	for _, alias := range c.Aliases {
		p.flag("--network-alias", alias)
	}
}

// optionValue finds the last value of a flag among split options, in both spellings.
func optionValue(options []string, names ...string) (value string, found bool) {
	for i, option := range options {
		name, after, joined := strings.Cut(option, "=")
		switch {
		case !slices.Contains(names, name):
		case joined:
			value, found = after, true
		case i+1 < len(options):
			value, found = options[i+1], true
		}
	}
	return value, found
}

func (d *differences) planMounts(p *plan, mounts []engine.Mount) error {
	for _, m := range mounts {
		flag, value, err := d.mountFlag(m)
		if err != nil {
			return err
		}
		p.tail = append(p.tail, flag, value)
	}
	return nil
}

// mountFlag writes a mount as -v, which makes a missing folder as Docker users expect it and understands z, or, if
// the paths have a colon or no source has options, as --mount.
func (d *differences) mountFlag(m engine.Mount) (flag, value string, err error) {
	if m.Target == "" {
		return "", "", verdict.New(verdict.Workflow, "write volumes as SOURCE:TARGET", "a mount of %q has no target", m.Source)
	}
	options := slices.Clone(m.Options)
	if m.ReadOnly {
		options = append(options, "ro")
	}
	if m.Source == "" && len(options) > 0 || strings.Contains(m.Source+m.Target, ":") {
		value, err = d.longMount(m)
		return "--mount", value, err
	}
	words := []string{m.Source, m.Target, strings.Join(options, ",")}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return "-v", strings.Join(words, ":"), nil
}

// longMount is the value of --mount: comma-separated fields, quoted like CSV.
func (d *differences) longMount(m engine.Mount) (string, error) {
	fields := []string{"type=" + mountType(m)}
	if m.Source != "" {
		fields = append(fields, "source="+m.Source)
	}
	fields = append(fields, "target="+m.Target)
	if m.ReadOnly {
		fields = append(fields, "ro")
	}
	for _, option := range m.Options {
		field, ok := d.longMountOption(option)
		if !ok {
			return "", verdict.New(verdict.Workflow, "use a path without a colon",
				"mounting %q on %q: %s has no way to write the option %q for a path with a colon", m.Source, m.Target, d.name, option)
		}
		if field != "" {
			fields = append(fields, field)
		}
	}
	return csvLine(fields...), nil
}

// csvLine quotes fields as a line of CSV. (A strings.Builder takes everything.)
func csvLine(fields ...string) string {
	var line strings.Builder
	w := csv.NewWriter(&line)
	_ = w.Write(fields)
	w.Flush()
	return strings.TrimSuffix(line.String(), "\n")
}

func mountType(m engine.Mount) string {
	if strings.HasPrefix(m.Source, "/") {
		return "bind"
	}
	return "volume"
}

// longMountOption translates an option of -v; field "" means that it is the default.
func (d *differences) longMountOption(option string) (field string, ok bool) {
	switch option {
	case "ro":
		return "ro", true
	case "rw", "cached", "delegated", "consistent":
		return "", true
	case "nocopy":
		return "volume-nocopy", true
	case "shared", "slave", "private", "rshared", "rslave", "rprivate":
		return "bind-propagation=" + option, true
	case "z":
		return "relabel=shared", d.mountRelabels
	case "Z":
		return "relabel=private", d.mountRelabels
	}
	return "", false
}
