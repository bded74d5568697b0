package imagebuild

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
)

// buildah builds in this pod, without a daemon and without root. RUN lines are isolated by chroot alone, because a
// container's processes may not do what containers take: they see the pod's network and the names of its processes. The
// store is the build's own, so that nothing of it stays; base images are fetched for every build.
func buildah() tool {
	return tool{
		name: "buildah", program: "buildah",
		probe: buildahProbe, task: buildahTask,
		pushes:   func(command int, _ string) bool { return command == 1 },
		patterns: buildahPatterns(),
	}
}

// buildahProbe builds next to nothing with overlay storage. Whether that works depends on the kernel, on the user, on
// what file system lies below and on /dev/fuse; where it does not, buildah only finds out in the middle of a build. The
// other way, vfs, works everywhere and copies every layer.
func buildahProbe(p plan) buildguard.Task {
	task := p.buildahTask()
	task.Folders = append(task.Folders, "context")
	task.Files["context/Dockerfile"] = "FROM scratch\nCOPY Dockerfile /\n"
	task.Commands = [][]string{append(p.buildah("overlay"), "bud", "--isolation", "chroot", "-t", "gantry-probe", p.below("context"))}
	return task
}

func buildahTask(p plan, overlay bool) buildguard.Task {
	storage := "vfs"
	if overlay {
		storage = "overlay"
	}
	build := append(p.buildah(storage), "bud", "--isolation", "chroot", "--layers=false",
		"--format", "docker", // OCI images have no SHELL and no HEALTHCHECK
		"--authfile", p.below("auth", "config.json"), "-t", p.image.pushed.Name())
	for _, name := range slices.Sorted(maps.Keys(p.spec.Labels)) {
		build = append(build, "--label", name+"="+p.spec.Labels[name])
	}
	build = append(build, "-f", p.spec.Dockerfile, p.spec.Context)
	push := append(p.buildah(storage), "push", "--authfile", p.below("auth", "config.json"), p.image.pushed.Name())

	task := p.buildahTask()
	task.Folders = append(task.Folders, "auth")
	task.Files["auth/config.json"] = p.accounts
	task.Commands = [][]string{build, push}
	return task
}

// buildah is the beginning of each of its commands.
func (p plan) buildah(storage string) []string {
	return []string{p.path, "--root", p.below("root"), "--runroot", p.below("run", "root"), "--storage-driver", storage}
}

// buildahTask is a task without commands. Its home has the user's configuration in it, and a drop-in for registries.
func (p plan) buildahTask() buildguard.Task {
	const config = "home/.config/containers"
	const dropIns = config + "/registries.conf.d"
	task := buildguard.Task{
		Dir:     p.dir,
		Folders: []string{"run", "tmp", dropIns},
		Files:   map[string]string{dropIns + "/zz-gantry.conf": p.registries()},
		Links:   map[string]string{},
		Env:     p.buildahEnv(),
		// Files of the other users in buildah's name space belong to nobody here.
		Remove: []string{p.path, "unshare", "rm", "-rf", "--"},
	}
	if home := p.env.get("HOME"); home != "" {
		linkEntries(task.Links, filepath.Join(home, ".config/containers"), config, "registries.conf.d", "auth.json")
		linkEntries(task.Links, filepath.Join(home, ".config/containers/registries.conf.d"), dropIns)
	}
	if _, own := task.Links[config+"/policy.json"]; !own && !exists("/etc/containers/policy.json") {
		task.Files[config+"/policy.json"] = `{"default": [{"type": "insecureAcceptAnything"}]}`
	}
	return task
}

// linkEntries plans a link for each entry of a folder.
func linkEntries(links map[string]string, from, to string, except ...string) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return // most users have none
	}
	for _, entry := range entries {
		if !slices.Contains(except, entry.Name()) {
			links[filepath.Join(to, entry.Name())] = filepath.Join(from, entry.Name())
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// registries is a file of containers-registries.conf(5): an image without a registry is one of Docker Hub, as for every
// other engine and for policy.images; buildah on its own would refuse most of them.
func (p plan) registries() string {
	var b strings.Builder
	b.WriteString("unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"disabled\"\n")
	if p.cfg.Insecure {
		fmt.Fprintf(&b, "\n[[registry]]\nlocation = %q\ninsecure = true\n", p.image.pushed.RegistryStr())
	}
	return b.String()
}
