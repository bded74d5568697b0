package options

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
)

const noHostFolders = "a container sees no folders of the node or the runner; " + ofTheAdmin

// shmSize gives the container a /dev/shm of its own; a pod's has 64 MiB.
func (t *translator) shmSize(f createopts.Flag) {
	size := byteQuantity(f.Value)
	if size == nil || size.Sign() <= 0 {
		t.wrong(f, "is not an amount of memory: write 512m or 2g")
		return
	}
	t.emptyDir(kindShm, "/dev/shm", corev1.StorageMediumMemory, size)
}

// storage reads docker's "size=10G", the only option that means the same everywhere.
func (t *translator) storage(uses []createopts.Flag) {
	for _, f := range uses {
		text, isSize := strings.CutPrefix(f.Value, "size=")
		size := byteQuantity(text)
		switch {
		case !isSize:
			t.note(f, "%s", noSetting)
		case size == nil || size.Sign() <= 0:
			t.wrong(f, "is not an amount of memory: write size=10g")
		default:
			setQuantity(&t.c.Resources.Limits, corev1.ResourceEphemeralStorage, *size)
			setQuantity(&t.c.Resources.Requests, corev1.ResourceEphemeralStorage, *size)
		}
	}
}

// tmpfs reads "PATH" or "PATH:OPTIONS", of which Kubernetes knows the size.
func (t *translator) tmpfs(uses []createopts.Flag) {
	for _, f := range uses {
		target, list, _ := strings.Cut(f.Value, ":")
		var size *resource.Quantity
		for option := range strings.SplitSeq(list, ",") {
			text, isSize := strings.CutPrefix(option, "size=")
			switch {
			case isSize:
				if size = byteQuantity(text); size == nil {
					t.wrong(f, "%q is not an amount of memory", text)
					return
				}
			case !slices.Contains([]string{"", "rw", "exec", "noexec", "nosuid", "nodev", "mode=1777", "mode=0777"}, option):
				t.note(f, "Kubernetes knows only the option size of a tmpfs, not %s", option)
			}
		}
		t.folder(f, target, corev1.StorageMediumMemory, size)
	}
}

// mounts makes what needs nothing of the runner's side: type=tmpfs, and volumes without a name.
func (t *translator) mounts(uses []createopts.Flag) {
	for _, f := range uses {
		m := createopts.ParseMountFlag(f.Value)
		switch {
		case m.Type == "tmpfs":
			var size *resource.Quantity
			if m.TmpfsSize != "" {
				if size = byteQuantity(m.TmpfsSize); size == nil {
					t.wrong(f, "%q is not an amount of memory", m.TmpfsSize)
					continue
				}
			}
			t.folder(f, m.Target, corev1.StorageMediumMemory, size)
		case m.Type == "volume" && m.Source == "":
			t.folder(f, m.Target, corev1.StorageMediumDefault, nil)
		case m.Devices != nil || m.Type != "bind" && m.Type != "volume":
			t.note(f, "%s", noHostFolders)
		case !path.IsAbs(m.Target):
			t.wrong(f, "%q is not a path in the container", m.Target)
		default:
			t.addMount(f, engine.Mount{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		}
	}
}

// addMount hands a mount of the runner's side on, if somebody takes care of it.
func (t *translator) addMount(f createopts.Flag, m engine.Mount) {
	if !t.Can.Mounts {
		t.note(f, "%s", noHostFolders)
		return
	}
	t.out.Mounts = append(t.out.Mounts, m)
}

// volumes makes those without a name.
func (t *translator) volumes(uses []createopts.Flag) {
	for _, f := range uses {
		m, err := createopts.ParseVolume(f.Value)
		switch {
		case err != nil:
			t.wrong(f, "%v", err)
		case m.Source == "":
			t.folder(f, m.Target, corev1.StorageMediumDefault, nil)
		default:
			t.addMount(f, m)
		}
	}
}

// folder mounts an empty folder at a path that the workflow names.
func (t *translator) folder(f createopts.Flag, target string, medium corev1.StorageMedium, size *resource.Quantity) {
	if !path.IsAbs(target) || strings.Contains(target, ":") || path.Clean(target) == "/" {
		t.wrong(f, "%q is not a path in the container", target)
		return
	}
	if t.Target == Ephemeral {
		t.note(f, "%s", notRunning)
		return
	}
	t.emptyDir(kindEmpty, path.Clean(target), medium, size)
}

// emptyDir adds a volume and mounts it, unless something is mounted there already.
func (t *translator) emptyDir(kind, target string, medium corev1.StorageMedium, size *resource.Quantity) {
	if slices.ContainsFunc(t.c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == target }) {
		return
	}
	source := &corev1.EmptyDirVolumeSource{Medium: medium}
	if size != nil && size.Sign() > 0 {
		source.SizeLimit = size
	}
	name := t.volumeName(kind)
	t.pod.Spec.Volumes = append(t.pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: source}})
	t.c.VolumeMounts = append(t.c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: target})
}

// MadeVolume says that a volume was made for the options of a container.
func MadeVolume(container, volume string) bool {
	kind, own := strings.CutPrefix(volume, volumePrefix(container))
	return own && (strings.HasPrefix(kind, kindShm) || strings.HasPrefix(kind, kindEmpty))
}

// The kinds of volumes that are made.
const (
	kindShm   = "shm"
	kindEmpty = "empty"
)

// volumePrefix leaves room for the kind and a number.
func volumePrefix(container string) string {
	return strings.Trim(container[:min(len(container), 50)], "-") + "-"
}

// volumeName is a free name that begins with the container's.
func (t *translator) volumeName(kind string) string {
	name := volumePrefix(t.c.Name) + kind
	for n := 0; ; n++ {
		if n > 0 {
			name = fmt.Sprintf("%s%s-%d", volumePrefix(t.c.Name), kind, n)
		}
		if !slices.ContainsFunc(t.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }) {
			return name
		}
	}
}

// devices knows those that a device plugin offers ("nvidia.com/gpu=all"); a path on the node is none of them.
func (t *translator) devices(uses []createopts.Flag) {
	for _, f := range uses {
		name, _, _ := strings.Cut(f.Value, "=")
		switch {
		case strings.HasPrefix(f.Value, "/"):
			t.note(f, "a container sees no devices of the node unless a device plugin offers them, as a resource in the "+
				"runner's template (kubernetes.template)")
		case validation.IsQualifiedName(name) != nil || !strings.Contains(name, "/"):
			t.wrong(f, "is not a device")
		case t.Target == Ephemeral:
			t.note(f, "%s", notRunning)
		default:
			t.note(f, "Kubernetes chooses which device a container gets: one is asked for")
			t.extended(name, 1)
		}
	}
}
