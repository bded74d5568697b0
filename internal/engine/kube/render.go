package kube

import (
	"bytes"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

// RenderOptions are what Render goes by in place of a cluster.
type RenderOptions struct {
	Settings
	// Runner is the runner's pod, as the API has it, or StandIn.
	Runner *corev1.Pod
	// Work is the runner's work folder, AgentProgram gantry-agent, both as the runner's container has them.
	Work, AgentProgram string
}

// StandIn is a runner's pod as documentation shows it: its work folder is on an emptyDir, or on a claim if that is to be
// shared; links is the name of its second volume.
func StandIn(work, links string, claim bool) *corev1.Pod {
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	volume := empty
	if claim {
		volume = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "runner-work"}}
	}
	mounts := []corev1.VolumeMount{{Name: workVolume, MountPath: work}}
	volumes := []corev1.Volume{{Name: workVolume, VolumeSource: volume}}
	if links != "" && links != workVolume {
		mounts = append(mounts, corev1.VolumeMount{Name: links, MountPath: path.Join(path.Dir(work), "_"+links)})
		volumes = append(volumes, corev1.Volume{Name: links, VolumeSource: empty})
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "runner"}, Spec: corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: lentPrefix}},
		Containers:       []corev1.Container{{Name: "runner", Image: "runner-image", VolumeMounts: mounts}},
		Volumes:          volumes,
	}}
}

// Render is the pod that StartJob would make of spec, and lines for the log. In-pod it is the runner's pod with nothing but
// the ephemeral containers that would be added. It asks nobody: what registries say of images is not known, permissions
// are taken for granted, and an agent is reached as it is where the network lets it.
func Render(o RenderOptions, spec engine.JobSpec) (*corev1.Pod, []string, error) {
	r, err := newRendering(o, spec)
	if err != nil {
		return nil, nil, err
	}
	var facts Facts
	r.d.fill(&facts, r.home, spec.Labels)
	facts.WorkFolder = o.Work
	if r.choice, err = Choose(o.Mode, o.Volume, facts); err != nil {
		return nil, nil, err
	}
	var log bytes.Buffer
	r.log = &log
	r.logf("%s", r.choice.Reason())
	r.addMembers()
	plan := r.renderPod
	if r.choice.Mode == InPod {
		plan = r.renderInPod
	}
	pod, notes, err := plan()
	if err != nil {
		return nil, nil, err
	}
	r.sayNotes(notes)
	delete(pod.Labels, kubeapi.NonceLabel) // random
	return pod, logged(log.String()), nil
}

// newRendering is a job that nothing is started for.
func newRendering(o RenderOptions, spec engine.JobSpec) (*jobRun, error) {
	if o.LinkVolume == "" {
		o.LinkVolume = githubVolume
	}
	h, err := newHome(o.Runner, o.Settings.Runner, o.Work, o.LinkVolume)
	if err != nil {
		return nil, err
	}
	place := &kubeapi.Place{Namespace: o.Runner.Namespace, Pod: o.Runner.Name}
	d := &Driver{opts: Options{Settings: o.Settings, Place: place, Work: o.Work, AgentProgram: o.AgentProgram}}
	return &jobRun{d: d, spec: spec, home: h, configs: map[string]*imageConfig{}, unread: map[string]error{}}, nil
}

// renderPod plans a pod of the job's own.
func (r *jobRun) renderPod() (*corev1.Pod, []string, error) {
	p := r.d.podPlan(r.home, r.choice.Mode, r.spec.Labels, r.members, &r.secure)
	p.meta.Name = podName(r.d.opts.Place.Pod, r.spec.Network.Name, "workflow")
	return p.make()
}

// renderInPod plans ephemeral containers. Services run under the agent, as they do when their image can be read.
func (r *jobRun) renderInPod() (*corev1.Pod, []string, error) {
	for _, m := range r.members {
		if m.process == native {
			m.process, m.image = underAgent, &imageConfig{}
		}
		if err := r.d.settle(r.home, m, r.home.pod); err != nil {
			return nil, nil, err
		}
	}
	notes, err := r.complete()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: r.home.pod.Name, Namespace: r.home.pod.Namespace}}
	pod.Spec.EphemeralContainers = ephemerals(r.members)
	return pod, notes, err
}

// logged are the lines of a log, without what they all begin with.
func logged(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "gantry: "))
	}
	return lines
}
