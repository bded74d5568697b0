package template

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/podspec/options"
)

// Own says which parts of a planned pod the template's names mean. What the pod holds besides is found by itself.
type Own struct {
	// Job is the name of the job container in the pod, "" if there is none.
	Job string
	// Services are in the order of the workflow.
	Services []Service
}

// Service is one service container of a planned pod.
type Service struct {
	Container string // its name in the pod, among the containers or the init containers
	// Names are what a template may call it, without "$": the base name of its image (for several services too), the
	// numbered one, the workflow's name if known.
	Names []string
}

// Apply merges the template into a pod that gantry plans, and returns the result; pod itself is left as it is. t may be
// nil. Lists are merged by key: what the template adds comes behind what is there, its init containers before the
// services. Notes are for the log: what has no meaning and is ignored, as GitHub's hook does (an image for $job).
//
// Problems are conflicts with what gantry needs: its volumes, mounts and labels, the command of the job container.
func (t *Template) Apply(pod *corev1.Pod, own Own) (result *corev1.Pod, notes []string, problems config.Problems) {
	if t == nil {
		return pod.DeepCopy(), nil, nil
	}
	spec, err := tree(pod.Spec)
	if err != nil {
		return nil, nil, config.Problems{{Text: err.Error()}}
	}
	a := &application{findings: findings{t: t}, spec: spec, own: own}
	a.apply()
	result = pod.DeepCopy()
	result.Labels = marks(pod.Labels, t.labels)
	result.Annotations = marks(pod.Annotations, t.annotations)
	result.Spec = corev1.PodSpec{}
	if err := fill(a.spec, &result.Spec); err != nil {
		a.problems = append(a.problems, config.Problem{Text: err.Error()})
	}
	return result, a.notes, a.problems
}

// marks are labels or annotations with the template's above them.
func marks(base map[string]string, over map[string]any) map[string]string {
	if len(over) == 0 {
		return maps.Clone(base)
	}
	merged := map[string]string{}
	maps.Copy(merged, base)
	for key, value := range over {
		merged[key] = text(value)
	}
	return merged
}

// application is one template being applied to one pod.
type application struct {
	findings
	spec  map[string]any // of the pod, in the making
	own   Own
	notes []string
}

func (a *application) note(path, format string, args ...any) {
	place := a.t.place(path)
	a.notes = append(a.notes, fmt.Sprintf("%s: %s: %s", place, path, fmt.Sprintf(format, args...)))
}

func (a *application) apply() {
	a.collisions()
	containers, init := list(a.spec["containers"]), list(a.spec["initContainers"])
	a.spec = merge(a.spec, a.t.pod)
	for _, e := range a.t.containers {
		if _, ours := e.addressed(); ours {
			a.checkImage(e)
		}
	}
	if a.own.Job != "" {
		a.change(a.own.Job, []string{JobName}, containers)
	}
	for _, s := range a.own.Services {
		a.change(s.Container, s.Names, containers)
		a.change(s.Container, s.Names, init)
	}
	for _, e := range a.t.containers {
		if _, ours := e.addressed(); !ours {
			containers = append(containers, e.tree)
		}
	}
	a.spec["containers"] = containers
	if init = a.withInit(init); len(init) > 0 {
		a.spec["initContainers"] = init
	}
	a.volumesExist()
	inOrder(a.problems)
}

// collisions finds what a template calls the same as something that gantry has planned.
func (a *application) collisions() {
	planned := map[string]bool{}
	for _, c := range slices.Concat(list(a.spec["containers"]), list(a.spec["initContainers"])) {
		planned[text(object(c)["name"])] = true
	}
	for _, e := range slices.Concat(a.t.containers, a.t.init) {
		if planned[e.name] {
			hint := "choose another name"
			if e.name == a.own.Job {
				hint = "write name: $job to change the job container"
			}
			a.add(e.path+".name", hint, "%q is the name of a container of gantry's", e.name)
		}
	}
	volumes := names(list(a.spec["volumes"]))
	for i, v := range list(a.t.pod["volumes"]) {
		if name := text(object(v)["name"]); slices.Contains(volumes, name) {
			a.add(fmt.Sprintf("spec.volumes[%d].name", i), "choose another name", "%q is the name of a volume of gantry's", name)
		}
	}
}

func names(items []any) []string {
	var all []string
	for _, item := range items {
		all = append(all, text(object(item)["name"]))
	}
	return all
}

// checkImage tells that an image is ignored.
func (a *application) checkImage(e entry) {
	if image, ok := e.tree["image"]; ok {
		a.note(e.path+".image", "%v is ignored: the workflow names the image", image)
	}
}

// change puts the entries that mean a container above it, if it is among these.
func (a *application) change(container string, names []string, containers []any) {
	i := slices.IndexFunc(containers, func(c any) bool { return text(object(c)["name"]) == container })
	if i < 0 {
		return
	}
	base, over := object(containers[i]), map[string]any{}
	for _, e := range a.t.about(names) {
		entry := maps.Clone(e.tree)
		entry["volumeMounts"] = a.mounts(e, base)
		over = merge(over, entry)
	}
	if len(over) > 0 {
		containers[i] = mergeContainer(base, over)
	}
}

// mergeContainer puts what a template says of a container above it.
func mergeContainer(base, over map[string]any) map[string]any {
	over = maps.Clone(over)
	resources := object(over["resources"])
	for _, key := range []string{"name", "image", "resources"} {
		delete(over, key)
	}
	merged := merge(base, over)
	if len(list(merged["volumeMounts"])) == 0 {
		delete(merged, "volumeMounts")
	}
	if resources != nil {
		merged["resources"] = mergeResources(object(base["resources"]), resources)
	}
	return merged
}

// mounts are the mounts of an entry, without those in whose place the workflow has asked for one.
func (a *application) mounts(e entry, base map[string]any) []any {
	kept := []any{}
	for i, item := range list(e.tree["volumeMounts"]) {
		target := path.Clean(text(object(item)["mountPath"]))
		asked := false
		for _, planned := range list(base["volumeMounts"]) {
			at := path.Clean(text(object(planned)["mountPath"]))
			byOption := options.MadeVolume(text(base["name"]), text(object(planned)["name"]))
			switch {
			case byOption && at == target:
				asked = true
			case !byOption && covers(target, at):
				a.add(fmt.Sprintf("%s.volumeMounts[%d].mountPath", e.path, i), "choose another path",
					"a volume at %s would cover %s, which gantry needs", target, at)
			}
		}
		if !asked {
			kept = append(kept, item)
		}
	}
	return kept
}

// withInit puts the template's init containers before the services, which run as side-cars: they may prepare
// something for these.
func (a *application) withInit(init []any) []any {
	at := slices.IndexFunc(init, func(c any) bool {
		name := text(object(c)["name"])
		return slices.ContainsFunc(a.own.Services, func(s Service) bool { return s.Container == name })
	})
	if at < 0 {
		at = len(init)
	}
	var added []any
	for _, e := range a.t.init {
		if e.name == initOfOfficialHook {
			a.note(e.path, "%s is ignored: it is the init container of GitHub's hook, and gantry needs none", e.name)
			continue
		}
		added = append(added, e.tree)
	}
	return slices.Insert(slices.Clone(init), at, added...)
}

// volumesExist finds mounts of volumes that the pod does not have.
func (a *application) volumesExist() {
	volumes := names(list(a.spec["volumes"]))
	for _, e := range slices.Concat(a.t.containers, a.t.init) {
		if e.name == initOfOfficialHook {
			continue
		}
		for i, m := range list(e.tree["volumeMounts"]) {
			if name := text(object(m)["name"]); !slices.Contains(volumes, name) {
				a.add(fmt.Sprintf("%s.volumeMounts[%d].name", e.path, i), "the volumes of the pod are "+strings.Join(volumes, ", "),
					"there is no volume %q", name)
			}
		}
	}
}
