package kube

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Mode is where a job's containers live.
type Mode string

// The modes, best first: see docs/kubernetes.md.
const (
	// InPod: ephemeral containers of the runner's own pod.
	InPod Mode = "in-pod"
	// PodShared: a pod of the job's own that mounts the runner's volume.
	PodShared Mode = "pod, shared volume"
	// PodApart: a pod of the job's own; folders are kept in step by content.
	PodApart Mode = "pod, no shared volume"
)

func modes() []Mode { return []Mode{InPod, PodShared, PodApart} }

// Facts are what the choice of a mode rests on.
type Facts struct {
	// Pod is the runner's own pod, "" if the hook runs in none, or if it cannot be read: Unread says why.
	Pod, Unread string
	// WorkFolder is the runner's; WorkVolume the volume that has it, "" if none does, and WorkKind what that is in the API's
	// word. WorkWhole tells that the runner's container mounts all of it and can write there, Claim that another pod can
	// mount it. WorkMount is where the runner's container has the volume.
	WorkFolder, WorkVolume, WorkKind, WorkMount string
	WorkWhole                                   bool
	Claim                                       string
	// LinkVolume tells that there is a second volume, for links below /github, as LinkName.
	LinkVolume bool
	LinkName   string
	// Served is a container of an earlier job that still is in the pod.
	Served string
	// NeedsOwnPod lists what of the administrator's template an ephemeral container cannot have, Limits what of the limits.
	NeedsOwnPod, Limits []string
	// NoAgentImage says why the agent cannot be brought into a pod without a shared volume; "" if it can.
	NoAgentImage string
	// Missing are permissions that the service account lacks, of those that any mode needs.
	Missing []kubeapi.Access
}

// Obstacle is something that stands in the way of a mode.
type Obstacle struct {
	Mode Mode
	What string // "the work folder /w is not on a volume"
	Mend string // the next step; "" if nothing can be done
	// Soft: the mode works all the same, and is only not chosen by itself.
	Soft bool
}

// Choice is a mode with its reasons.
type Choice struct {
	Mode      Mode
	Obstacles []Obstacle // to this mode, if it was asked for, and to better ones that were left open
}

// Reason is one line for the log.
func (c Choice) Reason() string {
	line := "mode " + string(c.Mode)
	for _, m := range modes() {
		if m == c.Mode {
			break
		}
		if i := slices.IndexFunc(c.Obstacles, func(o Obstacle) bool { return o.Mode == m }); i >= 0 {
			line += fmt.Sprintf("; not %s: %s", m, c.Obstacles[i].What)
		}
	}
	return line
}

// Choose chooses the mode for a job. mode is the setting kubernetes.mode, volume kubernetes.volume. A setting that
// cannot be had is an error that says what is missing.
func Choose(mode, volume string, f Facts) (Choice, error) {
	allowed := Wanted(mode, volume)
	if len(allowed) == 0 {
		return Choice{}, verdict.New(verdict.Configuration, "set kubernetes.mode to auto, in-pod or pod, and kubernetes.volume to auto, shared or none",
			"unknown mode %q with volume %q", mode, volume)
	}
	var choice Choice
	for _, m := range allowed {
		found := obstacles(m, f)
		choice.Obstacles = append(choice.Obstacles, found...)
		if i := slices.IndexFunc(found, func(o Obstacle) bool { return !o.Soft || len(allowed) > 1 }); i >= 0 {
			continue
		}
		choice.Mode = m
		return choice, nil
	}
	return choice, impossible(choice.Obstacles)
}

// Wanted are the modes that the settings leave open, best first.
func Wanted(mode, volume string) []Mode {
	byVolume := map[string][]Mode{"": {PodShared, PodApart}, "auto": {PodShared, PodApart}, "shared": {PodShared}, "none": {PodApart}}[volume]
	switch mode {
	case "", "auto":
		if byVolume == nil {
			return nil
		}
		return append([]Mode{InPod}, byVolume...)
	case "in-pod":
		return []Mode{InPod}
	case "pod":
		return byVolume
	}
	return nil
}

// impossible explains that no mode works.
func impossible(all []Obstacle) error {
	var lines []string
	hint := ""
	for _, o := range all {
		if !o.Soft {
			lines = append(lines, fmt.Sprintf("%s: %s", o.Mode, o.What))
			if hint == "" {
				hint = o.Mend
			}
		}
	}
	return verdict.New(verdict.Configuration, hint, "there is no way to run this job's containers:\n%s", strings.Join(lines, "\n"))
}

// obstacles are what stands in the way of a mode.
func obstacles(m Mode, f Facts) []Obstacle {
	var all []Obstacle
	add := func(soft bool, mend, format string, args ...any) {
		all = append(all, Obstacle{Mode: m, What: fmt.Sprintf(format, args...), Mend: mend, Soft: soft})
	}
	if m != PodApart {
		f.sharing(m, add)
	}
	switch m {
	case InPod:
		f.ephemeral(add)
	case PodShared:
		if f.WorkVolume != "" && f.Claim == "" {
			add(false, "put the work folder on a persistent volume claim, or set kubernetes.volume to none",
				"the volume %s is of kind %s, which another pod cannot mount", f.WorkVolume, f.WorkKind)
		}
	case PodApart:
		if f.NoAgentImage != "" {
			add(false, "set kubernetes.agent_image to an image that has gantry-agent", "%s", f.NoAgentImage)
		}
	}
	f.permitted(m, add)
	return all
}

// permitted is about permissions.
func (f Facts) permitted(m Mode, add adder) {
	var missing []string
	for _, access := range f.Missing {
		if slices.Contains(Accesses(m), access) {
			missing = append(missing, access.String())
		}
	}
	if len(missing) == 0 {
		return
	}
	lacking := rbac.Lacking(m.need(), func(verb, group, resource string) bool {
		return slices.Contains(f.Missing, kubeapi.Access{Verb: verb, Group: group, Resource: resource})
	})
	add(false, AddToRole(lacking), "the service account may not %s", strings.Join(missing, ", "))
}

// AddToRole is the next step where permissions are missing.
func AddToRole(lacking []rbac.Rule) string {
	return "add to the rules of its Role, which `gantry rbac` prints as a whole:\n" + strings.TrimRight(rbac.YAML(lacking), "\n")
}

// need is what a mode is in the words of a Role's table.
func (m Mode) need() rbac.Need {
	return map[Mode]rbac.Need{
		InPod: {Mode: rbac.InPod}, PodShared: {Mode: rbac.Pod, Volume: rbac.Shared}, PodApart: {Mode: rbac.Pod, Volume: rbac.None},
	}[m]
}

// adder notes an obstacle.
type adder func(soft bool, mend, format string, args ...any)

// ReadPodHint is the next step if the runner's own pod cannot be read.
const ReadPodHint = "set ACTIONS_RUNNER_POD_NAME to the name of the runner's pod and ACTIONS_RUNNER_KUBERNETES_NAMESPACE to its namespace, " +
	"unless they are right, and allow its service account to get pods"

// sharing is about modes that share the runner's volume.
func (f Facts) sharing(m Mode, add adder) {
	switch {
	case f.Pod == "" && f.Unread != "":
		add(false, ReadPodHint,
			"the runner's own pod cannot be read: %s", f.Unread)
	case f.Pod == "":
		add(false, "run the runner in a pod", "this is not a pod of the cluster")
	case f.WorkFolder == "":
		add(false, "name the runner's folder", "the runner's work folder is not known")
	case f.WorkVolume == "":
		add(false, "mount a volume (an emptyDir, say) at the work folder in the runner's pod",
			"the work folder %s is not on a volume", f.WorkFolder)
	case m == InPod && !f.WorkWhole:
		add(false, "mount the volume without subPath, and not read-only",
			"the runner mounts only a part of the volume %s, and an ephemeral container can only mount all of it", f.WorkVolume)
	}
}

// ephemeral is about the runner's own pod.
func (f Facts) ephemeral(add adder) {
	if f.Served != "" {
		add(true, "let a runner's pod serve one job (ephemeral runners)",
			"the runner's pod has served another job already (%s), and ephemeral containers cannot be removed", f.Served)
	}
	if len(f.NeedsOwnPod) > 0 {
		add(true, "take it out of the template, or set kubernetes.mode to pod",
			"the pod template asks for what an ephemeral container cannot have (%s)", strings.Join(f.NeedsOwnPod, ", "))
	}
	if len(f.Limits) > 0 {
		add(true, "limit the runner's pod instead, or set kubernetes.mode to pod",
			"an ephemeral container has no limits of its own (%s)", strings.Join(f.Limits, ", "))
	}
}

// Accesses are the permissions without which a mode does not work.
func Accesses(m Mode) []kubeapi.Access {
	pods := func(verbs ...string) (all []kubeapi.Access) {
		for _, verb := range verbs {
			all = append(all, kubeapi.Access{Verb: verb, Resource: "pods"})
		}
		return all
	}
	if m == InPod {
		return append(pods("get"), kubeapi.Access{Verb: "patch", Resource: "pods/ephemeralcontainers"})
	}
	return append(pods("get", "list", "create", "delete"),
		kubeapi.Access{Verb: "create", Resource: "secrets"}, kubeapi.Access{Verb: "delete", Resource: "secrets"},
		kubeapi.Access{Verb: "list", Resource: "secrets"})
}
