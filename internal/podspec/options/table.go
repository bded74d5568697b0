package options

import (
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// handler does all uses of one flag. There is at least one.
type handler func(t *translator, uses []createopts.Flag)

// entry says what becomes of a flag.
type entry struct {
	do    handler
	means string // in Markdown
	// running: it can be done for an ephemeral container too, which changes nothing of its pod.
	running bool
	// whole: it is the whole pod's, and so the job container's to say.
	whole bool
}

func (e entry) apply(t *translator, uses []createopts.Flag) {
	last := uses[len(uses)-1]
	switch {
	case t.Target == Ephemeral && !e.running:
		t.note(last, "%s", notRunning)
	case e.whole && !t.Job:
		t.note(last, "this is the whole pod's, and so only for the job container to say")
	default:
		e.do(t, uses)
	}
}

// handlers has an entry for every flag that createopts accepts.
func handlers() map[string]entry {
	table := map[string]entry{}
	for name, reason := range unsupported() {
		table[name] = entry{do: unsupportedBecause(reason), running: true}
	}
	for _, name := range nothingToDo() {
		table[name] = entry{do: func(*translator, []createopts.Flag) {}, running: true}
	}
	own := func(name, means string, do handler) { table[name] = entry{do: do, means: means, running: true} }
	inNewPod := func(name, means string, do handler) { table[name] = entry{do: do, means: means} }
	ofWholePod := func(name, means string, do handler) { table[name] = entry{do: do, means: means, whole: true} }

	own("env", "a variable; it goes over the agent's connection or into a Secret, never into the pod", (*translator).env)
	own("tz", "the variable `TZ`", lastOf((*translator).timeZone))
	own("entrypoint", "the entry point, of services and steps", lastOf((*translator).entrypoint))
	own("workdir", "`workingDir`", lastOf(func(t *translator, f createopts.Flag) { t.c.WorkingDir = f.Value }))
	own("init", "what gantry's agent is anyway, where it is the first process", lastOf((*translator).init))
	own("pull", "`imagePullPolicy`", lastOf((*translator).pull))
	own("name", "a further name of a service", (*translator).names)
	own("network", "further names of the container (`alias=`); there is no network to choose", (*translator).network)
	own("network-alias", "a further name of the container", (*translator).names)
	own("add-host", "`hostAliases`, or a line of /etc/hosts", (*translator).addHost)
	own("ulimit", "a limit of the processes that gantry's agent starts, where it can set it", (*translator).ulimit)
	own("mount", "like the workflow's `volumes:`; `type=tmpfs` is an `emptyDir` in memory", (*translator).mounts)
	own("volume", "like the workflow's `volumes:`", (*translator).volumes)
	own("device", "`VENDOR/CLASS=…`: one of the resource `VENDOR/CLASS`; paths of the node are not passed", (*translator).devices)

	own("user", "`runAsUser` and `runAsGroup`, by number", lastOf((*translator).user))
	own("privileged", "`privileged`", lastOf((*translator).privileged))
	own("cap-add", "`capabilities`", (*translator).capabilities)
	own("cap-drop", "`capabilities`", (*translator).capabilities)
	own("read-only", "`readOnlyRootFilesystem`", lastOf((*translator).readOnly))
	own("security-opt", "`no-new-privileges`, `seccomp=unconfined`, `apparmor=…` and `label=…`", (*translator).securityOptions)

	inNewPod("gpus", "so many of `nvidia.com/gpu`; `all` is one", lastOf((*translator).gpus))
	inNewPod("shm-size", "an `emptyDir` in memory at /dev/shm", lastOf((*translator).shmSize))
	inNewPod("storage-opt", "`size=…`: request and limit of `ephemeral-storage`", (*translator).storage)
	inNewPod("tmpfs", "an `emptyDir` in memory, with its size", (*translator).tmpfs)
	inNewPod("label", "a label of the pod, or an annotation if the value is none for a label", (*translator).labels)
	inNewPod("annotation", "an annotation of the pod", (*translator).annotations)

	ofWholePod("hostname", "`hostname`", lastOf((*translator).hostname))
	ofWholePod("group-add", "`supplementalGroups`, by number", (*translator).groups)
	ofWholePod("sysctl", "`sysctls`", (*translator).sysctls)
	ofWholePod("dns", "`dnsConfig`, in place of the cluster's name servers", (*translator).dns)
	ofWholePod("dns-search", "`dnsConfig`", (*translator).dns)
	ofWholePod("dns-option", "`dnsConfig`", (*translator).dns)
	ofWholePod("platform", "a `nodeSelector` for that kind of node", lastOf((*translator).platform))
	ofWholePod("arch", "a `nodeSelector` for that kind of node", lastOf((*translator).platform))
	ofWholePod("os", "a `nodeSelector` for that kind of node", lastOf((*translator).platform))
	return table
}

// lastOf makes a handler for a flag whose last use counts.
func lastOf(do func(*translator, createopts.Flag)) handler {
	return func(t *translator, uses []createopts.Flag) { do(t, uses[len(uses)-1]) }
}

func unsupportedBecause(reason string) handler {
	return func(t *translator, uses []createopts.Flag) {
		for _, f := range uses {
			if !harmless(f) {
				t.note(f, "%s", reason)
			}
		}
	}
}

// harmless says that a value asks for nothing but what holds anyway.
func harmless(f createopts.Flag) bool {
	switch f.Name {
	case "ipc", "uts", "pid", "cgroupns", "userns", "restart":
		return f.Value == "" || f.Value == "private" || f.Value == "no"
	}
	return false
}

// nothingToDo are flags that are honoured by what gantry does anyway: it removes containers at once when the job is
// over, attaches nothing, and containers of a pod reach each other's ports. Resources and health checks are
// translated together before.
func nothingToDo() []string {
	return []string{
		"disable-content-trust", "expose", "interactive", "quiet", "replace", "rm", "stop-signal", "stop-timeout", "tty",
		"cpus", "cpu-period", "cpu-quota", "cpu-shares", "memory", "memory-reservation",
		"health-cmd", "health-interval", "health-retries", "health-start-interval", "health-start-period",
		"health-timeout", "no-healthcheck",
	}
}

// Meaning is what a flag means in Kubernetes, in Markdown.
type Meaning struct {
	Flag, Means string
	// InPod: ephemeral containers can have it too. JobOnly: it is for the job container to say.
	InPod, JobOnly bool
}

// Meanings are those of the flags that do something, by name.
func Meanings() []Meaning {
	var all []Meaning
	for name, e := range handlers() {
		if e.means != "" {
			all = append(all, Meaning{"--" + name, e.means, e.running, e.whole})
		}
	}
	for _, name := range []string{"cpus", "cpu-period", "cpu-quota"} {
		all = append(all, Meaning{Flag: "--" + name, Means: "request and limit of `cpu`"})
	}
	all = append(all, Meaning{Flag: "--cpu-shares", Means: "request of `cpu`, 1024 for one processor"},
		Meaning{Flag: "--memory", Means: "request and limit of `memory`"},
		Meaning{Flag: "--memory-reservation", Means: "request of `memory`"},
		Meaning{Flag: "--health-*", Means: "the health check that the job waits for", InPod: true})
	slices.SortFunc(all, func(a, b Meaning) int { return strings.Compare(a.Flag, b.Flag) })
	return all
}

// Reasons for notes.
const (
	notRunning  = "the container is an ephemeral one of a pod that runs, which cannot have this; kubernetes.mode: pod can"
	noSetting   = "Kubernetes has no such setting for a container"
	ofTheNode   = "this belongs to the cluster's nodes and their container runtime"
	ofTheAdmin  = "give the pod this in the runner's template (kubernetes.template)"
	oneNetwork  = "all containers of a job share the network of one pod"
	readsClient = "the file or variable would be the runner's own"
	pullSecrets = "name the registry's account in the workflow's credentials"
)

// unsupported are the flags that are always noted, with the reason.
func unsupported() map[string]string {
	reasons := map[string]string{
		"publish":     oneNetwork + ", and reach each other's ports at localhost; no port of the node is taken",
		"publish-all": oneNetwork + ", and reach each other's ports at localhost; no port of the node is taken",
		"pids-limit":  "the kubelet limits the processes of a whole pod (podPidsLimit)",
		"restart":     "a container of a job is not started again when it ends",
		"runtime":     "the administrator can set runtimeClassName in the runner's template (kubernetes.template)",
		"pid":         "a job does not see the processes of the node",
		"volumes-from": "name the folders that containers share as volumes in the runner's template " +
			"(kubernetes.template)",
	}
	add := func(reason string, names ...string) {
		for _, name := range names {
			reasons[name] = reason
		}
	}
	add(noSetting, "blkio-weight", "blkio-weight-device", "cgroup-conf", "cgroup-parent", "cgroupns", "cgroups",
		"cpu-count", "cpu-percent", "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems",
		"device-cgroup-rule", "device-read-bps", "device-read-iops", "device-write-bps", "device-write-iops",
		"io-maxbandwidth", "io-maxiops", "kernel-memory", "memory-swap", "memory-swappiness", "oom-kill-disable",
		"oom-score-adj", "personality", "rdt-class", "timeout", "umask")
	add(ofTheNode, "conmon-pidfile", "decryption-key", "gidmap", "group-entry", "hostuser", "image-volume", "init-ctr",
		"init-path", "isolation", "log-driver", "log-opt", "passwd", "passwd-entry", "pidfile", "pod", "pod-id-file",
		"requires", "sdnotify", "seccomp-policy", "shm-size-systemd", "subgidname", "subuidname", "systemd", "uidmap",
		"use-api-socket", "userns", "uts", "ipc", "variant", "chrootdirs", "read-only-tmpfs", "retry", "retry-delay")
	add(ofTheAdmin, "secret", "volume-driver", "domainname")
	add(oneNetwork, "hosts-file", "ip", "ip6", "link", "link-local-ip", "mac-address", "no-hostname", "no-hosts")
	add(readsClient, "env-file", "env-host", "env-merge", "http-proxy", "label-file", "unsetenv", "unsetenv-all")
	add(pullSecrets, "authfile", "cert-dir", "creds", "tls-verify")
	add("the check decides only whether the job can start", "health-log-destination", "health-max-log-count",
		"health-max-log-size", "health-on-failure", "health-startup-cmd", "health-startup-interval",
		"health-startup-retries", "health-startup-success", "health-startup-timeout")
	return reasons
}
