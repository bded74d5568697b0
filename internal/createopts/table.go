package createopts

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/spell"
)

// Engines is a set of engines that know a flag.
type Engines uint8

// The engines of the table.
const (
	Docker Engines = 1 << iota
	Podman
	Both = Docker | Podman
)

// Kind says what a flag's value is, as far as anybody has to care.
type Kind uint8

// The kinds of flags.
const (
	Text     Kind = iota // any value
	Bool                 // needs no value; "--init=false" is possible
	HostPath             // a path on the host, up to the first ":"
)

// Spec describes one create flag.
type Spec struct {
	Name    string // long name, without dashes
	Short   string // one letter, or ""
	Aliases []string
	Kind    Kind
	Many    bool // may be given several times; otherwise the last one counts
	Engines Engines
	// Refused says why the flag has no place in container.options, or is "".
	Refused string
}

// Reasons for refusing a flag.
const (
	refusedRemove   = "gantry removes the container itself, after the job's last step"
	refusedTerminal = "nothing is attached to the container: gantry runs the steps in it and shows their output"
	refusedIDFile   = "gantry keeps the container's id itself"
	refusedRootFS   = "the container is made from an image"
	refusedHelp     = "it prints the engine's help in place of making a container"
)

// Table returns the create flags of Docker 20.10 to 28 and Podman 4 and 5, sorted by name.
func Table() []Spec {
	specs := slices.Concat(
		refused(),
		flags(Both, Bool, false, "disable-content-trust", "init", "no-healthcheck", "oom-kill-disable",
			"privileged", "publish-all,P", "quiet,q", "read-only"),
		flags(Docker, Bool, false, "use-api-socket"),
		flags(Podman, Bool, false, "env-host", "http-proxy", "no-hostname", "no-hosts", "passwd", "read-only-tmpfs",
			"replace", "tls-verify", "unsetenv-all"),
		flags(Both, Text, false, "blkio-weight", "cgroup-parent", "cgroupns", "cpu-period", "cpu-quota",
			"cpu-rt-period", "cpu-rt-runtime", "cpu-shares,c", "cpus", "cpuset-cpus", "cpuset-mems", "entrypoint",
			"gpus", "health-cmd,healthcheck-command", "health-interval,healthcheck-interval",
			"health-retries,healthcheck-retries", "health-start-period,healthcheck-start-period",
			"health-timeout,healthcheck-timeout", "hostname,h", "ip", "ip6", "ipc", "kernel-memory",
			"log-driver", "mac-address", "memory,m", "memory-reservation", "memory-swap", "memory-swappiness", "name",
			"oom-score-adj", "pid", "pids-limit", "platform", "pull", "restart", "shm-size", "stop-signal",
			"stop-timeout", "user,u", "userns", "uts", "workdir,w"),
		flags(Docker, Text, false, "cpu-count", "cpu-percent", "domainname", "health-start-interval",
			"io-maxbandwidth", "io-maxiops", "isolation", "runtime", "volume-driver"),
		flags(Podman, Text, false, "arch,override-arch", "cgroups", "creds", "group-entry",
			"health-log-destination", "health-max-log-count", "health-max-log-size", "health-on-failure",
			"health-startup-cmd", "health-startup-interval", "health-startup-retries", "health-startup-success",
			"health-startup-timeout", "image-volume", "init-ctr", "os,override-os", "passwd-entry", "personality",
			"pod", "rdt-class", "retry", "retry-delay", "sdnotify", "seccomp-policy", "shm-size-systemd",
			"subgidname", "subuidname", "systemd", "timeout", "tz", "umask", "variant,override-variant"),
		flags(Podman, HostPath, false, "authfile,auth-file", "cert-dir", "conmon-pidfile", "hosts-file",
			"init-path", "pidfile", "pod-id-file"),
		flags(Both, Text, true, "add-host", "annotation", "blkio-weight-device", "cap-add", "cap-drop",
			"device-cgroup-rule", "device-read-bps", "device-read-iops", "device-write-bps", "device-write-iops",
			"dns", "dns-option,dns-opt", "dns-search", "env,e", "expose", "group-add", "label,l",
			"link-local-ip", "log-opt", "mount", "network,net", "network-alias,net-alias", "publish,p",
			"security-opt", "sysctl", "tmpfs", "ulimit", "volume,v", "volumes-from"),
		flags(Docker, Text, true, "link", "storage-opt"),
		flags(Podman, Text, true, "cgroup-conf", "chrootdirs", "decryption-key", "env-merge", "gidmap", "hostuser",
			"requires", "secret", "uidmap", "unsetenv"),
		flags(Both, HostPath, true, "device", "env-file", "label-file"),
		// Of no use to a job, but the runner accepts them without hooks.
		flags(Both, Bool, false, "rm", "interactive,i", "tty,t"),
	)
	slices.SortFunc(specs, func(a, b Spec) int { return cmp.Compare(a.Name, b.Name) })
	return specs
}

// refused are flags that engines know and that make no sense for a container of a job.
func refused() []Spec {
	because := func(reason string, specs ...Spec) []Spec {
		for i := range specs {
			specs[i].Refused = reason
		}
		return specs
	}
	return slices.Concat(
		because(refusedRemove, flags(Podman, Bool, false, "rmi")...),
		because(refusedTerminal, flags(Both, Bool, false, "detach,d", "sig-proxy")...),
		because(refusedTerminal, flags(Both, Text, false, "detach-keys")...),
		because(refusedTerminal, flags(Both, Text, true, "attach,a")...),
		because(refusedTerminal, flags(Podman, Text, true, "preserve-fds", "preserve-fd")...),
		because(refusedIDFile, flags(Both, HostPath, false, "cidfile")...),
		because(refusedRootFS, flags(Podman, Bool, false, "rootfs")...),
		because(refusedHelp, flags(Both, Bool, false, "help")...),
	)
}

// flags makes specs from names like "memory,m" or "network,net": one letter is the short name, more an alias.
func flags(engines Engines, kind Kind, many bool, names ...string) []Spec {
	specs := make([]Spec, 0, len(names))
	for _, entry := range names {
		name, rest, _ := strings.Cut(entry, ",")
		s := Spec{Name: name, Engines: engines, Kind: kind, Many: many}
		switch len(rest) {
		case 0:
		case 1:
			s.Short = rest
		default:
			s.Aliases = []string{rest}
		}
		specs = append(specs, s)
	}
	return specs
}

// trimDashes gives a flag's bare name and whether it was written with two dashes.
func trimDashes(flag string) (name string, long bool) {
	if name, long = strings.CutPrefix(flag, "--"); long {
		return name, true
	}
	return strings.TrimPrefix(flag, "-"), false
}

// index finds specs by long name, alias and short letter.
type index struct {
	long, short map[string]Spec
	names       []string // for suggestions
}

func newIndex() index {
	x := index{map[string]Spec{}, map[string]Spec{}, nil}
	for _, s := range Table() {
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			x.long[name] = s
			if s.Refused == "" {
				x.names = append(x.names, name)
			}
		}
		if s.Short != "" {
			x.short[s.Short] = s
		}
	}
	return x
}

// Lookup finds a flag by "--long", an alias of it, or "-s".
func Lookup(flag string) (Spec, bool) {
	x := newIndex()
	name, long := trimDashes(flag)
	if long {
		s, ok := x.long[name]
		return s, ok
	}
	s, ok := x.short[name]
	return s, ok
}

// suggest gives "did you mean --x?" for a misspelt name, or "".
func (x index) suggest(name string) string {
	if best := spell.Closest(name, x.names); best != "" {
		return "did you mean --" + best + "?"
	}
	return ""
}

// Suggest gives "did you mean --x?" for a flag that Lookup does not know, or "".
func Suggest(flag string) string {
	name, _ := trimDashes(flag)
	return newIndex().suggest(name)
}
