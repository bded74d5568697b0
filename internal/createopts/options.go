package createopts

import "strings"

// Values returns the values of every use of a flag, in order. name is the long name without dashes.
func (o *Options) Values(name string) []string {
	var values []string
	for _, f := range o.Flags {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// Last returns the value that counts of a flag that is meant to be given once: the last; "" if there is none.
func (o *Options) Last(name string) string {
	values := o.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// On says whether a boolean flag is given and not switched off again.
func (o *Options) On(name string) bool { return o.Last(name) == "true" }

// ForeignTo returns the flags that only other engines know. engine is Docker or Podman.
func (o *Options) ForeignTo(engine Engines) []Flag {
	var foreign []Flag
	x := newIndex()
	for _, f := range o.Flags {
		if x.long[f.Name].Engines&engine == 0 {
			foreign = append(foreign, f)
		}
	}
	return foreign
}

// Network returns the first network or network mode ("host", "none", "container:x") that the options name; "" if
// they name none and the container is to join the job's network.
func (o *Options) Network() string {
	values := o.Values("network")
	if len(values) == 0 {
		return ""
	}
	return NetworkName(values[0])
}

// NetworkName returns the network of a --network value, which is a name, Docker's "name=x,alias=y" or Podman's
// "x:alias=y".
func NetworkName(value string) string {
	if attachment, ok := keyValues(value); ok {
		return attachment.last("name")
	}
	if name, options, ok := strings.Cut(value, ":"); ok && strings.Contains(options, "=") {
		return name
	}
	return value
}

// NetworkAliases returns the names that the options give the container on its network.
func (o *Options) NetworkAliases() []string {
	aliases := o.Values("network-alias")
	for _, value := range o.Values("network") {
		attachment, ok := keyValues(value)
		if _, options, podman := strings.Cut(value, ":"); !ok && podman {
			attachment, _ = keyValues(options)
		}
		aliases = append(aliases, attachment.all("alias")...)
	}
	return aliases
}

// Name is the container's name, or "".
func (o *Options) Name() string { return o.Last("name") }

// User is "NAME|UID[:GROUP|GID]", or "".
func (o *Options) User() string { return o.Last("user") }

// Workdir is the working directory in the container, or "".
func (o *Options) Workdir() string { return o.Last("workdir") }

// Entrypoint is the program to start, or "".
func (o *Options) Entrypoint() string { return o.Last("entrypoint") }

// Hostname is the container's host name, or "".
func (o *Options) Hostname() string { return o.Last("hostname") }

// Memory is the memory limit in the engine's notation ("2g"), or "".
func (o *Options) Memory() string { return o.Last("memory") }

// CPUs is the number of processors as a decimal, or "".
func (o *Options) CPUs() string { return o.Last("cpus") }

// Privileged says whether the container gets all the host's privileges.
func (o *Options) Privileged() bool { return o.On("privileged") }

// Env returns NAME=VALUE, or NAME for a variable of the client, in order.
func (o *Options) Env() []string { return o.Values("env") }

// Labels returns the labels; a name that comes twice has its last value.
func (o *Options) Labels() map[string]string {
	labels := map[string]string{}
	for _, l := range o.Values("label") {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	return labels
}

// Volumes returns the values of --volume as written; ParseVolume reads one.
func (o *Options) Volumes() []string { return o.Values("volume") }

// Mounts returns the mounts of --mount.
func (o *Options) Mounts() []MountFlag {
	var mounts []MountFlag
	for _, value := range o.Values("mount") {
		mounts = append(mounts, ParseMountFlag(value))
	}
	return mounts
}

// Health is a container's health check as the options give it; every field may be "".
type Health struct {
	Cmd, Interval, Timeout, Retries, StartPeriod, StartInterval string
	// Disabled switches off the image's own check.
	Disabled bool
}

// Health returns what the options say of the health check.
func (o *Options) Health() Health {
	return Health{
		Cmd:           o.Last("health-cmd"),
		Interval:      o.Last("health-interval"),
		Timeout:       o.Last("health-timeout"),
		Retries:       o.Last("health-retries"),
		StartPeriod:   o.Last("health-start-period"),
		StartInterval: o.Last("health-start-interval"),
		Disabled:      o.On("no-healthcheck") || o.Last("health-cmd") == "none",
	}
}
