package kube

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Places in containers.
const (
	workTarget     = "/__w"            // where the runner wants its work folder
	externalsPlace = "/__e"            // where the runner wants its node
	githubTarget   = "/github"         // where container steps find home, workspace and the like
	hiddenTarget   = "/.gantry-volume" // for a volume that has no place of its own
	agentsTarget   = "/.gantry-agents" // for the volume of services' agents
	tlsTarget      = "/.gantry-tls"    // the agent's certificates
)

// sight is what a container sees of the runner's folders, and how.
type sight struct {
	mounts []corev1.VolumeMount
	// links stand for what cannot be mounted: an ephemeral container cannot mount a part of a volume.
	links []agent.Link
	// folders are to be made on the runner's side, open to everybody, before the container starts.
	folders []string
	// notes tell what is not as it was asked for.
	notes []string
	// shown are whole volumes that the container mounts.
	shown []shown
	// noExternals: the runner's node is on no volume that the container could have, and has to be brought.
	noExternals bool
}

// shown is a folder of the runner's side and where the container has it.
type shown struct{ host, target string }

// show mounts a whole volume.
func (s *sight) show(v *volume, target string) {
	s.mount(v.Name, target, "", false)
	s.shown = append(s.shown, shown{v.mount.MountPath, target})
}

// linksFor are the links that an agent is to make: not the one to its own folder, which it knows.
func (s *sight) linksFor(own string) []agent.Link {
	return slices.DeleteFunc(slices.Clone(s.links), func(l agent.Link) bool { return l.Target == own })
}

// host translates a path of the runner's side into the container's; not ok if the container does not see it.
func (s *sight) host(hostPath string) (containerPath string, ok bool) {
	for _, v := range s.shown {
		if rel, below := safefs.Rel(v.host, hostPath); below {
			return path.Join(v.target, rel), true
		}
	}
	return "", false
}

// at translates a path of the container that lies below a link's target; others stay.
func (s *sight) at(containerPath string) string {
	best, found := agent.Link{}, false
	for _, l := range s.links {
		if _, below := safefs.Rel(l.Target, containerPath); below && len(l.Target) > len(best.Target) {
			best, found = l, true
		}
	}
	if !found {
		return containerPath
	}
	rel, _ := safefs.Rel(best.Target, containerPath)
	return path.Join(best.Path, rel)
}

// mount adds a volume, once at a place.
func (s *sight) mount(name, target, subPath string, readOnly bool) {
	i := slices.IndexFunc(s.mounts, func(m corev1.VolumeMount) bool { return m.MountPath == target })
	m := corev1.VolumeMount{Name: name, MountPath: target, SubPath: subPath, ReadOnly: readOnly}
	if i >= 0 {
		s.mounts[i] = m // the later one counts, as with an engine's flags
		return
	}
	s.mounts = append(s.mounts, m)
}

func (s *sight) link(target, leadsTo string) {
	s.links = slices.DeleteFunc(s.links, func(l agent.Link) bool { return l.Target == target })
	if target != leadsTo {
		s.links = append(s.links, agent.Link{Target: target, Path: leadsTo})
	}
}

func (s *sight) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// whole translates mounts for a container that can only mount whole volumes: an ephemeral one. base is the volume that has
// the runner's folders, as the pod calls it; scratch is a folder in it, on the runner's side, for volumes that have no
// name on the runner's machine.
type whole struct {
	home    *home
	base    *volume
	scratch string
	// below is the folder of the volume that stands for the runner's; "" for the volume itself.
	below string
	// github is the name of the pod's volume for links below /github, "" if it has none.
	github string
	// mayMount tells which volumes of the runner's pod the container's pod has too.
	mayMount func(name string) bool
}

func (w whole) sight(mounts []engine.Mount) (*sight, error) {
	s := &sight{}
	root := w.root(mounts)
	s.mount(w.base.Name, root, "", false)
	s.shown = append(s.shown, shown{w.base.mount.MountPath, path.Join(root, w.below)})
	for _, m := range mounts {
		if err := w.translate(s, m); err != nil {
			return nil, err
		}
	}
	if w.github != "" && slices.ContainsFunc(s.links, func(l agent.Link) bool { return path.Dir(l.Target) == githubTarget }) {
		s.mount(w.github, githubTarget, "", false)
	}
	return s, nil
}

// root is where the volume is mounted: where the mount of the same folder wants it, else where the runner's work folder
// is wanted, if the volume is that.
func (w whole) root(mounts []engine.Mount) string {
	root := hiddenTarget
	if w.base.mount.MountPath == w.home.workFolder {
		root = workTarget
	}
	for _, m := range mounts {
		if path.Clean(m.Source) == w.base.mount.MountPath && !m.ReadOnly {
			return m.Target
		}
		if m.Target == root {
			root = hiddenTarget
		}
	}
	return root
}

func (w whole) translate(s *sight, m engine.Mount) error {
	switch {
	case m.Cover:
		return nil // a folder cannot be put over another
	case !path.IsAbs(m.Source):
		place := path.Join(w.scratch, "v", volumeFolder(m))
		s.folders = append(s.folders, place)
		if m.Source != "" {
			s.note("the volume %q lives as long as the job: Kubernetes has no volumes of that kind", m.Source)
		}
		s.linkTo(m, place)
		return nil
	}
	if _, ok := w.base.in(m.Source); ok {
		if m.ReadOnly && path.Clean(m.Source) != w.base.mount.MountPath {
			s.note("%s can be written to: a part of a volume cannot be mounted read-only into a running pod", m.Target)
		}
		s.linkTo(m, m.Source)
		return nil
	}
	if v := w.home.volumeOf(w.home.runner, m.Source); v != nil && v.mount.SubPath == "" && w.mayMount(v.Name) {
		if v.mount.MountPath == path.Clean(m.Source) {
			s.mount(v.Name, m.Target, "", m.ReadOnly || v.mount.ReadOnly)
			return nil
		}
	}
	return s.without(m)
}

// without is about a folder that only the runner's container has.
func (s *sight) without(m engine.Mount) error {
	if m.Target == externalsPlace {
		s.noExternals = true
		return nil
	}
	return notShared(m)
}

// linkTo leads a mount's target to a place on the runner's side.
func (s *sight) linkTo(m engine.Mount, hostPath string) {
	if place, ok := s.host(hostPath); ok {
		s.link(m.Target, place)
	}
}

// volumeFolder is the name of the folder that stands for a named or an anonymous volume.
func volumeFolder(m engine.Mount) string {
	if m.Source == "" {
		return dnsLabel("anonymous-" + short(m.Target))
	}
	return dnsLabel(m.Source)
}

// notShared explains a folder that only the runner's container has.
func notShared(m engine.Mount) error {
	return verdict.New(verdict.Workflow,
		"on Kubernetes, volumes of a container can be folders in the runner's work folder (${{ github.workspace }}/…) or mounts of the runner's own container; or give it a name, without a slash, for an empty volume",
		"mounting %s on %s: it is on no volume that the runner's pod could share", m.Source, m.Target)
}

// parted translates mounts for a container of a pod that is yet to be made, which can mount parts of volumes. base is the
// name of the volume that is, or stands for, the runner's; inBase finds the place of a folder in it.
type parted struct {
	home    *home // nil: the runner is in no pod
	base    string
	inBase  func(hostPath string) (subPath string, ok bool)
	scratch string // a folder in base, as the runner has it
	// also takes a volume of the runner's pod along, and tells whether that can be.
	also func(v *volume) bool
}

func (p parted) sight(mounts []engine.Mount) (*sight, error) {
	s := &sight{}
	for _, m := range mounts {
		if err := p.translate(s, m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (p parted) translate(s *sight, m engine.Mount) error {
	place := m.Source
	if !path.IsAbs(m.Source) {
		place = path.Join(p.scratch, "v", volumeFolder(m))
		s.folders = append(s.folders, place)
		if m.Source != "" {
			s.note("the volume %q lives as long as the job: Kubernetes has no volumes of that kind", m.Source)
		}
	}
	if sub, ok := p.inBase(place); ok {
		s.mount(p.base, m.Target, sub, m.ReadOnly)
		return nil
	}
	if p.home != nil {
		v := p.home.volumeOf(p.home.runner, m.Source)
		if v != nil && p.also(v) {
			rel, _ := v.in(m.Source)
			s.mount(v.Name, m.Target, strings.TrimPrefix(path.Join(v.mount.SubPath, rel), "/"), m.ReadOnly || v.mount.ReadOnly)
			return nil
		}
	}
	return s.without(m)
}
