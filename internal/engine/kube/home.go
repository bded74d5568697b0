package kube

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/safefs"
)

// home is the runner's own pod, as far as containers of jobs can have a share in it.
type home struct {
	pod    *corev1.Pod
	runner *corev1.Container
	// work has the runner's work folder; nil: no volume has it, and workFolder is in the container's own file system.
	work       *volume
	workFolder string
	// second is a further volume of the runner's, for /github and for the agents of services; nil: there is none.
	second *volume
}

// volume is a volume of the runner's pod, as the runner's container mounts it.
type volume struct {
	corev1.Volume
	mount corev1.VolumeMount
}

// in gives the place of a path of the runner's container below the folder that is mounted, "" for that folder itself.
func (v *volume) in(hostPath string) (rel string, ok bool) {
	rel, ok = safefs.Rel(v.mount.MountPath, hostPath)
	if rel == "." {
		rel = ""
	}
	return rel, ok
}

// whole tells that the container mounts all of the volume, and may write there.
func (v *volume) whole() bool {
	return v.mount.SubPath == "" && v.mount.SubPathExpr == "" && !v.mount.ReadOnly
}

// newHome looks at the runner's pod. runner is the name of the runner's container, "" to find it: it mounts the work
// folder's volume, or is called runner, or is the first. secondName is the name of the second volume.
func newHome(pod *corev1.Pod, runner, workFolder, secondName string) (*home, error) {
	h := &home{pod: pod, workFolder: path.Clean(workFolder)}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		better := h.runner == nil || c.Name == "runner" && h.volumeOf(h.runner, workFolder) == nil ||
			h.volumeOf(c, workFolder) != nil && (h.volumeOf(h.runner, workFolder) == nil || c.Name == "runner")
		if c.Name == runner || runner == "" && better {
			h.runner = c
		}
	}
	if h.runner == nil {
		return nil, fmt.Errorf("the pod %s has no container %q", pod.Name, runner)
	}
	h.work = h.volumeOf(h.runner, workFolder)
	for _, m := range h.runner.VolumeMounts {
		if m.Name == secondName && (h.work == nil || m.Name != h.work.Name) {
			if v := h.volume(m); v.whole() {
				h.second = v
			}
		}
	}
	return h, nil
}

// volumeOf finds the volume that has a path of a container: the mount that lies deepest counts. nil: none.
func (h *home) volumeOf(c *corev1.Container, hostPath string) *volume {
	var best *corev1.VolumeMount
	for i, m := range c.VolumeMounts {
		if _, below := safefs.Rel(path.Clean(m.MountPath), path.Clean(hostPath)); below && (best == nil || len(m.MountPath) > len(best.MountPath)) {
			best = &c.VolumeMounts[i]
		}
	}
	if hostPath == "" || best == nil {
		return nil
	}
	return h.volume(*best)
}

func (h *home) volume(m corev1.VolumeMount) *volume {
	m.MountPath = path.Clean(m.MountPath)
	i := slices.IndexFunc(h.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	if i < 0 {
		return nil
	}
	return &volume{Volume: h.pod.Spec.Volumes[i], mount: m}
}

// inImage tells that a file of the runner's container comes from its image, so that other containers of that image have
// it too.
func (h *home) inImage(file string) bool { return h.volumeOf(h.runner, file) == nil }

// onNode says on which node the pod runs, "" before it has one.
func (h *home) onNode() string { return h.pod.Spec.NodeName }

// served is a container in the pod of an earlier job than the one with these labels, "" if there is none. What another
// runner has left there is the doctor's, which is gone but for its name.
func (h *home) served(labels map[string]string) string {
	for _, c := range h.pod.Spec.EphemeralContainers {
		tag, ok := tagOf(c.Env)
		if ok && tag.Labels[labelJob] != labels[labelJob] && tag.Labels[labelRunner] == labels[labelRunner] {
			return c.Name
		}
	}
	return ""
}

// kind is what a volume is, in the word of the API: "emptyDir".
func kind(v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return "persistentVolumeClaim"
	case v.EmptyDir != nil:
		return "emptyDir"
	case v.Ephemeral != nil:
		return "ephemeral"
	case v.HostPath != nil:
		return "hostPath"
	case v.NFS != nil:
		return "nfs"
	case v.CSI != nil:
		return "csi"
	}
	return "other"
}

// claimOf is the name of the claim that a volume has, or that is made for it.
func claimOf(pod *corev1.Pod, v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return cmp.Or(pod.Name, "pod") + "-" + v.Name // the API's rule
	}
	return ""
}
