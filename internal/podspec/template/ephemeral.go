package template

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/config"
)

// notEphemeral are the keys that an ephemeral container cannot have, or that are in its own process' way: it is gantry's
// agent that starts the program of a service there.
func notEphemeral() []string {
	return []string{"args", "command", "lifecycle", "livenessProbe", "ports", "readinessProbe", "resizePolicy", "resources", "restartPolicy",
		"restartPolicyRules", "startupProbe"}
}

// ApplyEphemeral merges what the template says of one container into an ephemeral container of a running pod. names are
// JobName for the job container and for container steps, and Service.Names for a service. t may be nil. Notes name what
// an ephemeral container cannot have (resources, ports, probes, life-cycle, another command, mounts with a subPath, volumes
// that pod does not have).
func (t *Template) ApplyEphemeral(pod *corev1.Pod, container *corev1.Container, names ...string) (notes []string, problems config.Problems) {
	if t == nil {
		return nil, nil
	}
	base, err := tree(container)
	if err != nil {
		return nil, config.Problems{{Text: err.Error()}}
	}
	a, above := &application{findings: findings{t: t}}, map[string]any{}
	for _, e := range t.about(names) {
		a.checkImage(e)
		over := maps.Clone(e.tree)
		for _, key := range notEphemeral() {
			if _, ok := over[key]; ok {
				a.note(e.path+"."+key, "an ephemeral container cannot have this; kubernetes.mode: pod can")
				delete(over, key)
			}
		}
		over["volumeMounts"] = a.ephemeralMounts(e, base, pod)
		above = merge(above, over)
	}
	var merged corev1.Container
	if err := fill(mergeContainer(base, above), &merged); err != nil {
		return nil, config.Problems{{Text: err.Error()}}
	}
	*container = merged
	return a.notes, a.problems
}

// about are the entries for a container, those for all services first.
func (t *Template) about(names []string) []entry {
	var all []entry
	for _, e := range t.containers {
		if name, ok := e.addressed(); ok && name == ServicesName && !slices.Contains(names, JobName) {
			all = append(all, e)
		}
	}
	for _, e := range t.containers {
		if name, ok := e.addressed(); ok && name != ServicesName && slices.Contains(names, name) {
			all = append(all, e)
		}
	}
	return all
}

// ephemeralMounts are the mounts of an entry that a running pod can give to an ephemeral container.
func (a *application) ephemeralMounts(e entry, base map[string]any, pod *corev1.Pod) []any {
	kept := []any{}
	for _, item := range a.mounts(e, base) {
		m := object(item)
		at := fmt.Sprintf("%s.volumeMounts[%d]", e.path, slices.IndexFunc(list(e.tree["volumeMounts"]), func(other any) bool {
			return text(object(other)["mountPath"]) == text(m["mountPath"])
		}))
		switch {
		case m["subPath"] != nil || m["subPathExpr"] != nil:
			a.note(at, "an ephemeral container cannot mount a part of a volume; kubernetes.mode: pod can")
		case !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == text(m["name"]) }):
			a.note(at, "the runner's pod has no volume %q: give it to that pod, or use kubernetes.mode: pod", text(m["name"]))
		default:
			kept = append(kept, item)
		}
	}
	return kept
}

// NeedsOwnPod lists what of the template cannot be had in the runner's own pod ("spec.nodeSelector", "container
// side-car"), in the template's order; empty if in-pod mode can honour all of it. t may be nil.
func (t *Template) NeedsOwnPod() []string {
	if t == nil {
		return nil
	}
	var paths []string
	for name, values := range map[string]map[string]any{"metadata.labels": t.labels, "metadata.annotations": t.annotations} {
		if len(values) > 0 {
			paths = append(paths, name)
		}
	}
	for key := range t.pod {
		if key != "restartPolicy" { // Never, which any pod of a job has
			paths = append(paths, "spec."+key)
		}
	}
	said := map[string]string{}
	for _, e := range slices.Concat(t.containers, t.init) {
		if what := e.needsOwnPod(); what != "" {
			paths = append(paths, e.path)
			said[e.path] = what
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		x, y := t.place(a), t.place(b)
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Col, y.Col), cmp.Compare(a, b))
	})
	for i, path := range paths {
		paths[i] = cmp.Or(said[path], path)
	}
	return paths
}

// needsOwnPod says what of a container an ephemeral one cannot have; "" if it can have all.
func (e entry) needsOwnPod() string {
	if _, ours := e.addressed(); !ours {
		if e.name == initOfOfficialHook {
			return ""
		}
		return "container " + e.name
	}
	for _, key := range notEphemeral() {
		if _, ok := e.tree[key]; ok {
			return key + " of container " + e.name
		}
	}
	for _, m := range list(e.tree["volumeMounts"]) {
		if object(m)["subPath"] != nil || object(m)["subPathExpr"] != nil {
			return "subPath of container " + e.name
		}
	}
	return ""
}
