// Package options translates container.options, which are flags of `docker create`, for Kubernetes. It is pure.
//
// What Kubernetes has a field for goes into the pod or the container. What gantry does itself (environment, entry
// point, health checks, names in /etc/hosts, ulimits) is returned as data. What nobody can do is returned as notes,
// or is an error if the administrator wants it so. No flag of createopts.Table is dropped silently.
package options

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
)

// Target is the kind of container that options are translated for.
type Target uint8

// The targets. The fields of an ephemeral container's corev1.Container are those of EphemeralContainerCommon, to
// which it can be converted.
const (
	// Pod is a container of a pod that is yet to be made, a native side-car included.
	Pod Target = iota
	// Ephemeral is an ephemeral container of a pod that runs: it has no resources, ports, probes and life-cycle of
	// its own, mounts only the volumes that the pod has, and changes nothing of the pod.
	Ephemeral
)

// Abilities are what gantry can do for one container beside what Kubernetes offers. What is false here and asked
// for is noted.
type Abilities struct {
	// Agent: the first process is gantry's agent. It starts the entry point, hands on the environment, and reaps.
	Agent bool
	// Ulimits: Result.Ulimits will be set before the user's program starts.
	Ulimits bool
	// Hosts: Result.Hosts will be added to /etc/hosts of a running pod. Pods to be made need no such ability.
	Hosts bool
	// Mounts: Result.Mounts will be treated like the workflow's volumes.
	Mounts bool
}

// Request is one container and the options that the workflow wants for it.
type Request struct {
	// Args are the flags, split: engine.ContainerSpec.Options. The handler appends flags for Limits to them, as an
	// engine with a command line needs them; these are recognised.
	Args []string
	// Target and Can say what is possible.
	Target Target
	Can    Abilities
	// Job says that the container is the job container: it may set what is the whole pod's (hostname, dns, sysctl,
	// group-add). From services these are noted, because they would change the job container too.
	Job bool
	// Limits are the administrator's: a container gets what it asks for, but at most these, and these if it asks for
	// nothing.
	Limits config.Limits
	// Unsupported is config's kubernetes.unsupported_options: "fail" makes an error of notes.
	Unsupported string
}

// Result is what Apply leaves to its caller.
type Result struct {
	// Env are the variables of --env. They may be secrets and are in no way put into the pod. The workflow's own
	// env: has precedence over them.
	Env map[string]string
	// Entrypoint is --entrypoint, "" if there is none. An entry point of the call has precedence. The image's CMD
	// does not hold with it.
	Entrypoint string
	// Health is the health check that the options ask for; nil if they say nothing of it, and then the image's holds.
	Health *Health
	// Names are further names that the container is to be reached by (--network-alias, --name).
	Names []string
	// Hosts are --add-host. In a pod to be made they are in pod.Spec.HostAliases already.
	Hosts []corev1.HostAlias
	// Ulimits are the resource limits of --ulimit, if the request says that they can be set.
	Ulimits []Ulimit
	// Mounts are those of --volume and --mount, but for memory and volumes without a name, if the request says that
	// they can be had.
	Mounts []engine.Mount
	// Notes name what is lost, one line each, for the log. None of them names a value of --env.
	Notes []Note
}

// Ulimit is one resource limit of a process. -1 is no limit.
type Ulimit struct {
	Name       string // "nofile", as docker writes it
	Soft, Hard int64
}

// Note is an option that is not honoured, or not to the letter.
type Note struct {
	Flag   string // as the workflow wrote it, with its value unless that may be a secret: "--device /dev/fuse"
	Reason string // why, and what to do instead
}

func (n Note) String() string { return n.Flag + ": " + n.Reason }

// UnsupportedError lists options that cannot be honoured, where the administrator wants that to be an error.
type UnsupportedError struct{ Notes []Note }

func (e *UnsupportedError) Error() string {
	lines := make([]string, len(e.Notes))
	for i, n := range e.Notes {
		lines[i] = n.String()
	}
	return "options that this runner's Kubernetes cannot honour:\n" + strings.Join(lines, "\n")
}

// ValueError is a flag whose value cannot be understood. It is the workflow author's to mend.
type ValueError struct {
	Flag, Value string
	Problem     string
}

func (e *ValueError) Error() string { return fmt.Sprintf("%s %s: %s", e.Flag, e.Value, e.Problem) }

// Apply changes container, and pod where an option is a matter of the whole pod, as the options ask. container need
// not be in pod yet, but has its final name: volumes for --shm-size and --tmpfs are named after it. For an
// ephemeral container pod is only read, and may be nil. What container and pod hold already stays, unless an
// option names it.
//
// Errors are *createopts.Error, *ValueError and *UnsupportedError, joined when there are several; all three are the
// workflow's problem. After an error pod and container must not be used.
func Apply(r Request, pod *corev1.Pod, container *corev1.Container) (Result, error) {
	asked, err := createopts.ParseArgs(r.Args)
	if err != nil {
		return Result{}, err
	}
	t := &translator{Request: r, pod: pod, c: container, flags: withoutLimits(asked.Flags, r.Limits)}
	t.translate()
	if r.Unsupported == "fail" && len(t.out.Notes) > 0 {
		t.errs = append(t.errs, &UnsupportedError{t.out.Notes})
	}
	t.noteLimits()
	return t.out, errors.Join(t.errs...)
}

// translator holds what is being changed for one request.
type translator struct {
	Request
	pod   *corev1.Pod
	c     *corev1.Container
	flags []createopts.Flag
	out   Result
	errs  []error
	// marked are the labels and annotations that options have set.
	marked map[string]bool
}

// translate does one flag after the other, in the order of their first use; a flag's handler sees all its uses.
func (t *translator) translate() {
	t.resources()
	t.health()
	table, done := handlers(), map[string]bool{}
	for _, f := range t.flags {
		if done[f.Name] {
			continue
		}
		done[f.Name] = true
		if uses := t.uses(f.Name); !isOff(uses) {
			table[f.Name].apply(t, uses)
		}
	}
	t.settleSecurity()
}

// uses are all uses of a flag, in order.
func (t *translator) uses(name string) []createopts.Flag {
	var uses []createopts.Flag
	for _, f := range t.flags {
		if f.Name == name {
			uses = append(uses, f)
		}
	}
	return uses
}

// last is the use that counts of a flag that is meant to be given once.
func (t *translator) last(name string) (createopts.Flag, bool) {
	uses := t.uses(name)
	if len(uses) == 0 {
		return createopts.Flag{}, false
	}
	return uses[len(uses)-1], true
}

// isOff says that a flag is a switch, and switched off in the end.
func isOff(uses []createopts.Flag) bool {
	last := uses[len(uses)-1]
	spec, known := createopts.Lookup("--" + last.Name)
	return known && spec.Kind == createopts.Bool && last.Value == "false"
}

func (t *translator) note(f createopts.Flag, format string, args ...any) {
	t.out.Notes = append(t.out.Notes, Note{shown(f), fmt.Sprintf(format, args...)})
}

func (t *translator) wrong(f createopts.Flag, format string, args ...any) {
	t.errs = append(t.errs, &ValueError{f.Written, f.Value, fmt.Sprintf(format, args...)})
}

// shown is a flag as the workflow wrote it, without the value of a variable: that may be a secret.
func shown(f createopts.Flag) string {
	spec, _ := createopts.Lookup("--" + f.Name)
	switch {
	case spec.Kind == createopts.Bool:
		return f.Written
	case f.Name == "env" || f.Name == "env-merge" || f.Name == "creds":
		name, _, _ := strings.Cut(f.Value, "=")
		return f.Written + " " + name
	}
	return f.Written + " " + f.Value
}
