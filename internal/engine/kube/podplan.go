package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/safefs"
)

// Names of a pod's volumes and containers.
const (
	workVolume   = "work"
	githubVolume = "github"
	agentVolume  = "gantry"
	tlsVolume    = "gantry-tls"
	installer    = "gantry-agent"
)

// agentCopy is the agent's program in a pod that shares nothing with the runner.
var agentCopy = path.Join(agent.MountPoint, agent.BinaryName)

// podPlan makes the pod of a job, or of a step without one. It is pure.
type podPlan struct {
	settings Settings
	mode     Mode // PodShared or PodApart
	home     *home
	work     string // the runner's work folder
	program  string // the agent on this machine
	claim    string // of the shared volume
	meta     metav1.ObjectMeta
	members  []*member
	secure   *secrets
	// again ends the names of folders that services have in the shared volume: those of an earlier pod are not clean.
	again string
	// patient: the agent comes in an init container, which is tried until it has come. Else a container beside the job's
	// brings it, which is sooner by up to a second, but is tried once only.
	patient bool
	// beside: services are ordinary containers, for a cluster that knows no side-cars. Else they are side-cars: the node starts
	// them before the job's container, and ends them when that has ended.
	beside bool
	// probes: the node checks the health of services. Else gantry does, which holds nothing up.
	probes bool
	// room is how long the pod may wait for room in the namespace, which log is told.
	room budget
	log  io.Writer
}

// make gives the pod, and lines for the log. What must not stand in it is in p.secure then.
func (p *podPlan) make() (*corev1.Pod, []string, error) {
	pod := &corev1.Pod{ObjectMeta: *p.meta.DeepCopy(), Spec: p.frame()}
	p.volumes(pod)
	for _, m := range p.members {
		if err := p.member(pod, m); err != nil {
			return nil, nil, err
		}
	}
	if err := p.secrets(pod); err != nil {
		return nil, nil, err
	}
	if err := p.processes(pod); err != nil {
		return nil, nil, err
	}
	p.tags(pod)
	merged, notes, problems := p.settings.Template.Apply(pod, p.own())
	if len(problems) > 0 {
		return nil, nil, templateVerdict(problems)
	}
	return merged, notes, nil
}

// frame is what every such pod has.
func (p *podPlan) frame() corev1.PodSpec {
	no, grace := false, int64(1)
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		TerminationGracePeriodSeconds: &grace,
	}
	if p.home == nil {
		return spec
	}
	spec.ImagePullSecrets = slices.DeleteFunc(slices.Clone(p.home.pod.Spec.ImagePullSecrets), func(s corev1.LocalObjectReference) bool {
		return strings.HasPrefix(s.Name, lentPrefix) // for jobs in the runner's own pod
	})
	if p.mode != PodShared {
		return spec
	}
	if own := p.home.pod.Spec.SecurityContext; own != nil {
		spec.SecurityContext = &corev1.PodSecurityContext{
			FSGroup: own.FSGroup, FSGroupChangePolicy: own.FSGroupChangePolicy, SupplementalGroups: own.SupplementalGroups,
			SELinuxOptions: own.SELinuxOptions,
		}
	}
	if node := p.home.onNode(); node != "" && !p.settings.UseScheduler {
		spec.Affinity = onNode(node)
		spec.Tolerations = slices.Clone(p.home.pod.Spec.Tolerations)
	}
	return spec
}

// onNode asks for a node, through the scheduler: a pod that is put on its node directly fails where it could wait for
// room.
func onNode(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}}}
}

func (p *podPlan) volumes(pod *corev1.Pod) {
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	work := empty
	if p.mode == PodShared {
		work = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: p.claim}}
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: workVolume, VolumeSource: work}, {Name: githubVolume, VolumeSource: empty}}
	if p.mode == PodApart {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: agentVolume, VolumeSource: empty})
		if p.patient {
			pod.Spec.InitContainers = []corev1.Container{p.installer("install")}
			return
		}
		beside := p.installer("install", "--hand-over")
		beside.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: p.installer("take-over").Command},
		}}
		pod.Spec.Containers = []corev1.Container{beside} // the kubelet starts the next one when the hook has ended
	}
}

// installer runs a command of the agent's, about its copy for a pod that shares nothing with the runner.
func (p *podPlan) installer(command ...string) corev1.Container {
	argv := append([]string{firstOf(p.settings.AgentPath, p.program)}, append(command, agentCopy)...)
	c := corev1.Container{
		Name: installer, Image: p.settings.AgentImage, Command: escape(argv),
		VolumeMounts: []corev1.VolumeMount{{Name: agentVolume, MountPath: agent.MountPoint}}, Resources: options.Modest(p.settings.Limits),
	}
	if p.home != nil {
		c.ImagePullPolicy = p.home.runner.ImagePullPolicy
		if c.Image == "" {
			c.Image = p.home.runner.Image
		}
	}
	if c.Image != p.settings.AgentImage {
		c.ImagePullPolicy = corev1.PullIfNotPresent // it runs already
	}
	return c
}

// inWork finds the place of a folder in the volume that has, or stands for, the work folder.
func (p *podPlan) inWork(hostPath string) (subPath string, ok bool) {
	if p.mode == PodShared && p.home != nil && p.home.work != nil {
		v := p.home.work
		rel, ok := v.in(hostPath)
		return strings.TrimPrefix(path.Join(v.mount.SubPath, rel), "/"), ok
	}
	rel, ok := safefs.Rel(p.work, hostPath)
	if rel == "." {
		rel = ""
	}
	return rel, ok
}

// member adds a container, without its process.
func (p *podPlan) member(pod *corev1.Pod, m *member) error {
	m.pod = pod.Name
	sighted := parted{base: workVolume, inBase: p.inWork, home: p.home, scratch: p.scratch(m), also: func(v *volume) bool { return p.also(pod, v) }}
	err := m.translate(options.Pod, pod, p.settings)
	if err != nil {
		return err
	}
	if m.sight, err = sighted.sight(p.mounts(m)); err != nil {
		return fmt.Errorf("the volumes of the %s: %w", m.spec.Title, err)
	}
	if p.mode == PodShared && m.process == ownAgent {
		m.folder = folder{base: p.work, rel: relTo(p.work, p.scratch(m))}
	}
	m.apart = p.mode == PodApart
	if m.apart && m.spec.Alone {
		m.sight.show(&volume{Volume: corev1.Volume{Name: workVolume}, mount: corev1.VolumeMount{MountPath: p.work}}, workTarget)
		m.stays = true
	}
	m.container.VolumeMounts = append(m.container.VolumeMounts, m.sight.mounts...)
	if p.mode == PodApart && m.process == ownAgent {
		m.container.VolumeMounts = append(m.container.VolumeMounts,
			corev1.VolumeMount{Name: agentVolume, MountPath: agent.MountPoint},
			corev1.VolumeMount{Name: tlsVolume, MountPath: tlsTarget, ReadOnly: true})
	}
	m.container.Ports = append(m.container.Ports, containerPorts(m.spec.Ports)...)
	if m.health != nil && p.probes {
		m.container.StartupProbe = quick(m.health.StartupProbe())
	}
	for _, h := range m.names() {
		pod.Spec.HostAliases = options.AddHost(pod.Spec.HostAliases, "127.0.0.1", h)
	}
	return nil
}

func relTo(base, hostPath string) string {
	rel, err := filepath.Rel(base, hostPath)
	if err != nil {
		return ""
	}
	return rel
}

// mounts are those of a member that mean anything in this mode.
func (p *podPlan) mounts(m *member) []engine.Mount {
	return slices.DeleteFunc(slices.Clone(m.mounts), func(mount engine.Mount) bool {
		return p.mode == PodApart && (mount.Cover || mount.Target == agent.MountPoint)
	})
}

// scratch is a folder for what a container needs beside the runner's folders.
func (p *podPlan) scratch(m *member) string {
	for _, mount := range m.spec.Mounts {
		if mount.Target == agent.MountPoint {
			return path.Dir(mount.Source)
		}
	}
	return path.Join(p.work, "_temp", agent.ParentDir, m.name+p.again)
}

// also takes a volume of the runner's pod along, if another pod can have it.
func (p *podPlan) also(pod *corev1.Pod, v *volume) bool {
	claim := claimOf(p.home.pod, v.Volume)
	if p.mode == PodApart && claim != "" || claim == "" && v.NFS == nil && v.CSI == nil && v.ConfigMap == nil && v.HostPath == nil && v.Image == nil {
		return false
	}
	if !slices.ContainsFunc(pod.Spec.Volumes, func(there corev1.Volume) bool { return there.Name == v.Name }) {
		taken := v.Volume
		if claim != "" {
			taken.VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, taken)
	}
	return true
}

// quick has a probe ask every second, and give up as late as it would.
func quick(probe *corev1.Probe) *corev1.Probe {
	probe.FailureThreshold *= probe.PeriodSeconds
	probe.PeriodSeconds = 1
	return probe
}

// containerPorts tell people which ports a container has; nothing depends on them.
func containerPorts(mappings []string) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, text := range mappings {
		p, err := createopts.ParsePort(text)
		if err != nil || p.Container.First != p.Container.Last {
			continue // checked before; a range says nothing to people
		}
		port := corev1.ContainerPort{ContainerPort: int32(p.Container.First), Protocol: corev1.Protocol(strings.ToUpper(firstOf(p.Protocol, "tcp")))}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// secrets puts into a secret what must not be seen.
func (p *podPlan) secrets(pod *corev1.Pod) error {
	p.secure.name = pod.Name
	listens := p.mode == PodApart // for steps, if not for the job
	for _, m := range p.members {
		p.secure.credentials(m)
		if m.process == native {
			if err := p.secure.environment(m); err != nil {
				return err
			}
		}
		listens = listens || m.process == ownAgent && p.reached() == byAddress
	}
	if len(p.secure.pull) > 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: p.secure.pullName()})
	}
	if !listens {
		return nil
	}
	if err := p.secure.listen(agentPort); err != nil {
		return err
	}
	var items []corev1.KeyToPath
	for _, name := range []string{agent.ClientCAName, agent.ServerCertName, agent.ServerKeyName} {
		items = append(items, corev1.KeyToPath{Key: name, Path: name})
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: tlsVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: p.secure.name, Items: items},
	}})
	return nil
}

// reach is how an agent is reached.
type reach int

const (
	bySocket reach = iota
	byAddress
)

// reached tells how agents are reached: through the shared folder, where both are on one machine.
func (p *podPlan) reached() reach {
	if p.mode == PodShared && !p.settings.UseScheduler {
		return bySocket
	}
	return byAddress
}

// processes writes the first processes into the containers, and these into the pod.
func (p *podPlan) processes(pod *corev1.Pod) error {
	for _, m := range p.members {
		listen := ""
		if m.process == ownAgent {
			listen = p.secure.listenArg()
			if listen != "" && p.mode == PodShared {
				m.container.VolumeMounts = append(m.container.VolumeMounts, corev1.VolumeMount{Name: tlsVolume, MountPath: tlsTarget, ReadOnly: true})
			}
		}
		if err := m.start(nil, listen); err != nil {
			return err
		}
		p.place(pod, m)
	}
	return nil
}

// place puts a container into the pod. A service is a side-car of the job's container, if there is one.
func (p *podPlan) place(pod *corev1.Pod, m *member) {
	withJob := slices.ContainsFunc(p.members, func(m *member) bool { return m.role == jobRole })
	if m.role != serviceRole || p.beside || !withJob {
		pod.Spec.Containers = append(pod.Spec.Containers, m.container)
		return
	}
	always := corev1.ContainerRestartPolicyAlways
	m.container.RestartPolicy = &always
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, m.container)
}

// tags writes down what the API does not keep.
func (p *podPlan) tags(pod *corev1.Pod) {
	all := map[string]tag{}
	for _, m := range p.members {
		m.tag.Folder = m.folder.host()
		all[m.name] = m.tag
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings can be encoded
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationTags] = string(text)
	if p.mode == PodApart {
		pod.Annotations[annotationApart] = "true"
	}
	for _, m := range p.members {
		if m.role != serviceRole {
			pod.Annotations["kubectl.kubernetes.io/default-container"] = m.name
		}
	}
}

// own tells the template which container is which.
func (p *podPlan) own() template.Own {
	var own template.Own
	for _, m := range p.members {
		if m.role == serviceRole {
			own.Services = append(own.Services, template.Service{Container: m.name, Names: m.spec.Aliases})
		} else {
			own.Job = m.name
		}
	}
	return own
}
