package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/podspec/options"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// runInPod starts the job's containers as ephemeral containers of the runner's own pod.
func (r *jobRun) runInPod(ctx context.Context) error {
	for _, m := range r.members {
		r.chooseProcess(m)
		if err := r.d.settle(r.home, m, r.home.pod); err != nil {
			return err
		}
	}
	notes, err := r.finish(ctx)
	if err != nil {
		return err
	}
	r.sayNotes(notes)
	if err := r.d.furnish(r.home, r.members); err != nil {
		return err
	}
	if err := r.lend(ctx); err != nil {
		return err
	}
	failpoint.Hit("container-creating")
	if r.pod, err = r.d.addEphemeral(ctx, r.home.pod.Name, r.members); err != nil {
		return fmt.Errorf("adding the job's containers to the runner's pod: %w", err)
	}
	failpoint.Hit("container-starting")
	return r.attend(ctx, r.readyInPod)
}

// chooseProcess puts a service under the agent if it is known what it runs.
func (r *jobRun) chooseProcess(m *member) {
	if m.process != native {
		return
	}
	why := r.unread[m.spec.Image]
	if m.image == nil && (m.spec.Entrypoint != "" || hasEntrypoint(m.spec.Options)) {
		m.image = &imageConfig{} // the image's own is not needed
	}
	if m.image != nil {
		m.process = underAgent
		return
	}
	r.logf("%s: %v; it is started by the node then, has no health check of its image, and cannot be ended before the runner's pod", m.spec.Title, why)
}

// settle works out what of the runner's folders an ephemeral container of a pod sees, and what its options mean.
func (d *Driver) settle(h *home, m *member, pod *corev1.Pod) error {
	m.pod = pod.Name
	err := m.translate(options.Ephemeral, pod, d.opts.Settings)
	if err != nil {
		return err
	}
	if m.sight, err = d.ephemeralSight(h, m, pod); err != nil {
		return err
	}
	m.container.VolumeMounts = append(m.container.VolumeMounts, m.sight.mounts...)
	return nil
}

// ephemeralSight is the sight of a container that is added to the runner's own pod.
func (d *Driver) ephemeralSight(h *home, m *member, pod *corev1.Pod) (*sight, error) {
	w := whole{home: h, base: h.work, scratch: scratchOf(h, m), mayMount: func(string) bool { return true }}
	if h.second != nil {
		w.github = h.second.Name
	}
	s := &sight{}
	if len(m.mounts) > 0 {
		var err error
		if s, err = w.sight(m.mounts); err != nil {
			return nil, fmt.Errorf("the volumes of the %s: %w", m.spec.Title, err)
		}
	}
	if m.process == ownAgent {
		m.folder = handlersFolder(h, m.spec)
	} else {
		m.folder = h.driversFolder(m.name)
	}
	if m.process == underAgent {
		if _, seen := s.host(m.folder.host()); !seen {
			s.show(h.agents(), agentsTarget)
		}
	}
	m.tag.Folder, m.tag.Native = m.folder.host(), m.process == native
	return s, nil
}

// agents is the volume for the folders of agents that this driver starts: not the one with the work folder, if there is
// another, because services have no business there.
func (h *home) agents() *volume {
	if h.second != nil {
		return h.second
	}
	return h.work
}

// driversFolder is the folder of a container whose agent this driver starts, or that has none.
func (h *home) driversFolder(name string) folder {
	if h.second != nil {
		return folder{base: h.second.mount.MountPath, rel: path.Join(agent.ParentDir, name)}
	}
	return folder{base: h.workFolder, rel: path.Join("_temp", agent.ParentDir, name)}
}

// handlersFolder is the folder that the handler has made for a container's agent.
func handlersFolder(h *home, spec engine.ContainerSpec) folder {
	for _, m := range spec.Mounts {
		if m.Target == agent.MountPoint {
			if rel, err := filepath.Rel(h.workFolder, path.Dir(m.Source)); err == nil {
				return folder{base: h.workFolder, rel: rel}
			}
		}
	}
	return folder{}
}

// scratchOf is a folder in the work folder for what a container needs there beside the runner's own.
func scratchOf(h *home, m *member) string {
	if f := handlersFolder(h, m.spec); f.rel != "" {
		return f.host()
	}
	return path.Join(h.workFolder, "_temp", agent.ParentDir, m.name)
}

// finish completes the ephemeral containers, and makes what they name.
func (r *jobRun) finish(ctx context.Context) (notes []string, err error) {
	if notes, err = r.complete(); err != nil {
		return nil, err
	}
	if len(r.secure.data) > 0 { // the permissions are optional: what is made can be found again
		if _, err := r.d.api.Secrets(ctx, keys(r.spec.Labels)); err != nil {
			return nil, fmt.Errorf("keeping the environment of services in a secret: %w", err)
		}
	}
	return notes, r.secure.create(ctx, r.d, r.d.owned(r.home, r.spec.Labels), false)
}

// complete writes the first processes, the template and the tags into ephemeral containers. It is pure.
func (r *jobRun) complete() (notes []string, err error) {
	hosts := r.hosts()
	r.secure.name = podName(r.home.pod.Name, r.spec.Network.Name, "env")
	for _, m := range r.members {
		if err := m.start(hosts, ""); err != nil {
			return nil, err
		}
		if m.process == native && len(m.env) > 0 {
			if err := r.secure.environment(m); err != nil {
				return nil, err
			}
		}
		names := []string{template.JobName}
		if m.role == serviceRole {
			names = m.spec.Aliases
		}
		said, problems := r.d.opts.Template.ApplyEphemeral(r.home.pod, &m.container, names...)
		if len(problems) > 0 {
			return nil, templateVerdict(problems)
		}
		notes = append(notes, said...)
		m.tag.Hosts = hosts
		m.mark()
	}
	return notes, nil
}

// templateVerdict is about a pod template that cannot be merged.
func templateVerdict(problems error) error {
	return verdict.New(verdict.Configuration, "`gantry render` shows the pod that the template makes", "the pod template: %w", problems)
}

// furnish makes on the runner's side what containers need there.
func (d *Driver) furnish(h *home, members []*member) error {
	for _, m := range members {
		if err := makeOpen(h.workFolder, m.sight.folders); err != nil {
			return err
		}
		var err error
		switch {
		case m.process == underAgent:
			err = makeFolder(m.folder, d.opts.AgentProgram)
		case m.process == native:
			err = makeFolder(m.folder, "")
		case m.folder.rel != "":
			err = openWay(m.folder)
		}
		if err != nil {
			return err
		}
		if h.second != nil {
			if err := makeLinks(h.second.mount.MountPath, m.sight.links); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeLinks makes the links directly below /github in the volume that containers mount there, for those whose user cannot.
func makeLinks(dir string, links []agent.Link) error {
	for _, l := range links {
		if path.Dir(l.Target) != githubTarget {
			continue
		}
		name := filepath.Join(dir, path.Base(l.Target))
		if to, err := os.Readlink(name); err == nil && to == l.Path {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replacing a link in the volume for %s: %w", githubTarget, err)
		}
		if err := os.Symlink(l.Path, name); err != nil {
			return fmt.Errorf("making a link in the volume for %s: %w", githubTarget, err)
		}
	}
	return nil
}

// addEphemeral adds members to a pod that runs. Where the namespace has the Pod Security level "restricted", they are made
// to keep to it.
func (d *Driver) addEphemeral(ctx context.Context, pod string, members []*member) (*corev1.Pod, error) {
	made, err := d.api.AddEphemeral(ctx, pod, ephemerals(members)...)
	if isPodSecurity(err) {
		for _, m := range members {
			restrict(&m.container)
		}
		if restricted, again := d.api.AddEphemeral(ctx, pod, ephemerals(members)...); again == nil {
			return restricted, nil
		}
	}
	return made, err
}

func ephemerals(members []*member) (all []corev1.EphemeralContainer) {
	for _, m := range members {
		all = append(all, m.ephemeral())
	}
	return all
}

// readyInPod waits for a container of the runner's own pod.
func (r *jobRun) readyInPod(ctx context.Context, l *lookout, m *member) error {
	return r.d.readyEphemeral(ctx, l, m)
}

// readyEphemeral waits until an ephemeral container does what it is there for.
func (d *Driver) readyEphemeral(ctx context.Context, l *lookout, m *member) error {
	switch {
	case m.process == underAgent:
		return d.begin(ctx, m)
	case m.process == ownAgent && m.folder.rel != "" && serves(m.spec):
		return awaitSocket(ctx, m.folder)
	}
	_, err := l.until(ctx, func(pod *corev1.Pod) bool {
		s := statusOf(pod, m.name)
		return s != nil && (s.State.Running != nil || s.State.Terminated != nil)
	})
	return err
}

// begin has the agent of a container start the container's program.
func (d *Driver) begin(ctx context.Context, m *member) error {
	c := m.client()
	hello, err := c.Claim(ctx)
	if err != nil {
		return fmt.Errorf("starting %s (%s): %w", m.spec.Title, m.spec.Image, err)
	}
	m.undone = hello.Undone
	if len(m.program.Argv) == 0 {
		return verdict.New(verdict.Workflow, "give it one with --entrypoint in its options", "%s (%s): the image has no program to run", m.spec.Title, m.spec.Image)
	}
	start, err := c.Main(ctx, m.program)
	if err != nil {
		return fmt.Errorf("starting %s (%s): %w", m.spec.Title, m.spec.Image, err)
	}
	if start.Error != "" {
		return &verdict.Error{
			Whose: verdict.Workflow, Err: &worded{fmt.Sprintf("starting %s (%s): %s", m.spec.Title, m.spec.Image, start.Error), engine.ErrCommand},
			Command: fmt.Sprintf("%q in %s", m.program.Argv, m.spec.Image), Output: start.Error,
			Hint: "check the image's entry point and command",
		}
	}
	return nil
}

// client talks to the agent of a member that runs under it.
func (m *member) client() *agent.Client {
	if m.token == "" {
		m.token = nonce()
	}
	return &agent.Client{Dial: agent.SocketDialer(m.folder.base, m.folder.rel), Token: m.token, GiveUp: time.Second}
}
