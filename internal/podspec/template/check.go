package template

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/config"
)

// check finds what no pod of gantry's can have.
func (t *Template) check() config.Problems {
	f := &findings{t: t}
	f.metadata()
	f.pod()
	f.containers()
	f.initContainers()
	return f.problems
}

// inOrder sorts problems by their places.
func inOrder(problems config.Problems) {
	slices.SortStableFunc(problems, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Col, b.Place.Col))
	})
}

func (f *findings) metadata() {
	for _, m := range []struct {
		name   string
		values map[string]any
	}{{"labels", f.t.labels}, {"annotations", f.t.annotations}} {
		for _, key := range slices.Sorted(maps.Keys(m.values)) {
			at := "metadata." + m.name + "." + key
			switch {
			case ownLabel(key):
				f.add(at, "choose another name", "is gantry's own: by it, it finds the pods of a job")
			case validation.IsQualifiedName(key) != nil:
				f.add(at, "write [domain/]name with letters, digits, \"-\", \"_\" and \".\"", "is no name for a label")
			case m.name == "labels" && validation.IsValidLabelValue(text(m.values[key])) != nil:
				f.add(at, "write at most 63 letters, digits, \"-\", \"_\" and \".\", or make it an annotation",
					"%q is no value for a label", text(m.values[key]))
			}
		}
	}
}

// ownLabel says that gantry finds its pods by a label; the second is the name that GitHub's hook uses.
func ownLabel(key string) bool {
	return strings.HasPrefix(key, "io.gantry/") || key == "runner-pod"
}

// pod finds settings of the pod that would keep the job from working.
func (f *findings) pod() {
	const steps = "gantry tells the processes of a step by the container that they run in"
	for key, why := range map[string]string{
		"shareProcessNamespace": steps, "hostPID": steps,
	} {
		if on, _ := f.t.pod[key].(bool); on {
			f.add("spec."+key, "leave it out", "%s", why)
		}
	}
	if policy := text(f.t.pod["restartPolicy"]); policy != "" && policy != "Never" {
		f.add("spec.restartPolicy", "write Never, or leave it out", "containers of a job must not start again: what steps have done in them would be lost")
	}
	if _, ok := f.t.pod["ephemeralContainers"]; ok {
		f.add("spec.ephemeralContainers", "write them below containers", "a pod cannot begin with ephemeral containers")
	}
	if name := text(object(f.t.pod["os"])["name"]); name != "" && name != "linux" {
		f.add("spec.os.name", "leave it out", "gantry's job containers are Linux containers")
	}
	f.unique("spec.volumes", list(f.t.pod["volumes"]))
}

// unique finds items without a name and names given twice.
func (f *findings) unique(at string, items []any) {
	seen := map[string]bool{}
	for i, item := range items {
		name := text(object(item)["name"])
		switch here := fmt.Sprintf("%s[%d]", at, i); {
		case name == "":
			f.add(here, "add name: …", "has no name")
		case seen[name]:
			f.add(here+".name", "choose another name", "%q is the name of an earlier one, too", name)
		}
		seen[name] = true
	}
}

func (f *findings) containers() {
	seen := map[string]bool{}
	for _, e := range f.t.containers {
		if seen[e.name] {
			f.add(e.path+".name", "write all of it in one place", "%q is the name of an earlier container, too", e.name)
		}
		seen[e.name] = true
		if name, ok := e.addressed(); ok {
			f.addressed(e, name)
		} else {
			f.added(e)
		}
		f.members(e)
	}
}

// addressed checks an entry for a container of gantry's.
func (f *findings) addressed(e entry, name string) {
	if name == "" {
		f.add(e.path+".name", "write $job, $services, or $ and the name of a service", "\"$\" is followed by no name")
	}
	if name == JobName {
		for _, key := range []string{"command", "args"} {
			if _, ok := e.tree[key]; ok {
				f.add(e.path+"."+key, "leave it out: steps are started by the workflow",
					"the first process of the job container is gantry's agent, which runs the steps")
			}
		}
	}
	if _, ok := e.tree["restartPolicy"]; ok {
		f.add(e.path+".restartPolicy", "leave it out", "gantry decides when containers of a job start")
	}
}

// added checks a container that a template adds.
func (f *findings) added(e entry) {
	switch {
	case e.name == "":
		f.add(e.path, "add name: …, or name: $job for the job container", "a container has no name")
	case validation.IsDNS1123Label(e.name) != nil:
		f.add(e.path+".name", "write lower case letters, digits and \"-\", at most 63", "%q is no name for a container", e.name)
	}
	if text(e.tree["image"]) == "" {
		f.add(e.path, "add image: …, or name: $"+e.name+" if you mean a container of the job", "a container that is added needs an image")
	}
}

// members checks lists within a container.
func (f *findings) members(e entry) {
	f.unique(e.path+".env", list(e.tree["env"]))
	seen := map[string]bool{}
	for i, item := range list(e.tree["volumeMounts"]) {
		at := fmt.Sprintf("%s.volumeMounts[%d]", e.path, i)
		target := path.Clean(text(object(item)["mountPath"]))
		_, ours := e.addressed()
		switch {
		case text(object(item)["mountPath"]) == "":
			f.add(at, "add mountPath: /…", "is mounted nowhere")
		case text(object(item)["name"]) == "":
			f.add(at, "add name: … of a volume", "mounts no volume")
		case seen[target]:
			f.add(at+".mountPath", "choose another path", "something is mounted at %s already", target)
		case ours && covers(AgentFolder, target):
			f.add(at+".mountPath", "choose another path", "%s is gantry's own", target)
		}
		seen[target] = true
	}
}

// covers says that a path is another, or lies in it.
func covers(folder, target string) bool {
	return target == folder || folder == "/" || strings.HasPrefix(target, folder+"/")
}

func (f *findings) initContainers() {
	seen := map[string]bool{}
	for _, e := range f.t.init {
		if _, ok := e.addressed(); ok {
			f.add(e.path+".name", "move it to spec.containers", "names with $ mean the job's containers, which stand below containers")
			continue
		}
		if seen[e.name] {
			f.add(e.path+".name", "choose another name", "%q is the name of an earlier init container, too", e.name)
		}
		seen[e.name] = true
		if e.name != initOfOfficialHook {
			f.added(e)
			f.members(e)
		}
	}
}
