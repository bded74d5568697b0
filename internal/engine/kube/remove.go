package kube

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/wait"
)

// stoppedMessage is what an agent leaves that was asked to end its container.
func stoppedMessage() string { return "gantry: " + agent.ErrStopped.Error() }

// Times of removal.
const (
	// stopLimit is how long an agent may take to end its container, termLimit a program without one.
	stopLimit = 5 * time.Second
	termLimit = 2 * time.Second
	// deleteGrace is what a pod's processes get between the polite signal and the other one, in seconds.
	deleteGrace = 1
)

// Remove is part of engine.Engine. Pods are deleted; ephemeral containers, which cannot be, are ended by their agents. One
// that the node started without an agent is asked to end, and may go on until its pod does.
func (d *Driver) Remove(ctx context.Context, inv engine.Inventory) error {
	pods, ephemeral, err := d.sort(ctx, inv.Containers)
	all := []error{err}
	all = append(all, engine.Each(ephemeral, func(c found) error { return d.end(ctx, c) })...)
	failpoint.Hit("containers-removed")
	all = append(all, engine.Each(pods, func(p *corev1.Pod) error { return d.removePod(ctx, p) })...)
	borrowed := map[string][]string{}
	for _, o := range inv.Others {
		if o.Kind == credentialsKind {
			borrowed[o.Name] = append(borrowed[o.Name], o.ID)
			continue
		}
		all = append(all, wrap(d.api.DeleteSecret(ctx, o.Name, o.ID), "removing secret "+o.Name))
	}
	for secret, jobs := range borrowed {
		all = append(all, d.takeBack(ctx, secret, jobs))
	}
	return errors.Join(all...)
}

// found is a container that is there.
type found struct {
	pod       *corev1.Pod
	container string
	tag       tag
}

// sort finds the pods that are to be deleted, and the ephemeral containers that are to end in pods that stay.
func (d *Driver) sort(ctx context.Context, rows []engine.Container) (pods []*corev1.Pod, ephemeral []found, err error) {
	known := map[string]*corev1.Pod{}
	var all []error
	for _, row := range rows {
		name, container, ok := strings.Cut(row.ID, "/")
		if !ok {
			continue // nothing that this driver has made
		}
		pod, seen := known[name]
		if !seen {
			var err error
			if pod, err = d.api.Pod(ctx, name); err != nil {
				pod = nil
				if !errors.Is(err, engine.ErrNotFound) {
					all = append(all, wrap(err, "removing container "+row.ID))
				}
			}
			known[name] = pod
		}
		if pod == nil {
			continue
		}
		if slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container }) {
			ephemeral = append(ephemeral, found{pod, container, tagsOf(pod)[container]})
		} else if _, ours := tagsOf(pod)[container]; ours && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	ephemeral = slices.DeleteFunc(ephemeral, func(c found) bool { return slices.Contains(pods, c.pod) })
	return pods, ephemeral, errors.Join(all...)
}

// removePod deletes a pod. One that can write to the runner's work folder is waited for.
func (d *Driver) removePod(ctx context.Context, pod *corev1.Pod) error {
	if err := d.api.DeletePod(ctx, pod.Name, string(pod.UID), deleteGrace); err != nil {
		return wrap(err, "removing pod "+pod.Name)
	}
	if pod.Annotations[annotationApart] != "" {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for u := range d.api.Follow(ctx, pod.Name, string(pod.UID)) {
		if u.Pod == nil {
			return wrap(u.Err, "waiting for the end of pod "+pod.Name)
		}
		if atRest(u.Pod) {
			return nil
		}
	}
	return fmt.Errorf("waiting for the end of pod %s: %w", pod.Name, context.Cause(ctx))
}

// atRest tells that nothing of a pod that is being deleted runs any more. It is there for a second or two longer.
func atRest(pod *corev1.Pod) bool {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed // "all containers have terminated"
	return pod.DeletionTimestamp != nil && ended && !slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool {
		return !hasEnded(pod, c.Name)
	})
}

// end ends an ephemeral container.
func (d *Driver) end(ctx context.Context, c found) error {
	if d.over(ctx, c.pod, c.container) {
		return nil
	}
	if s := statusOf(c.pod, c.container); s != nil && s.State.Terminated != nil {
		return d.bury(c)
	}
	base, rel := filepath.Dir(c.tag.Folder), filepath.Base(c.tag.Folder)
	if c.tag.Native && agent.Stopping(base, rel) {
		return nil // it was asked to end before, and does with its pod
	}
	if c.tag.Folder == "" || c.tag.Native {
		return errors.Join(d.endWithoutFolder(ctx, c), d.bury(c))
	}
	if err := agent.Stop(base, rel); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for agent.Alive(ctx, base, rel) { // one that starts only now finds the file
		if !wait.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("ending container %s: its agent has not ended it", containerID(c.pod.Name, c.container))
		}
	}
	return nil
}

// bury marks a container that has ended by itself as removed.
func (d *Driver) bury(c found) error {
	if c.tag.Folder == "" {
		return nil
	}
	return agent.Stop(filepath.Dir(c.tag.Folder), filepath.Base(c.tag.Folder))
}

// endWithoutFolder ends a container that shares no folder with the runner: through its agent, or by asking its program.
func (d *Driver) endWithoutFolder(ctx context.Context, c found) error {
	if s := statusOf(c.pod, c.container); s != nil && s.State.Waiting != nil {
		return nil // it has not begun; if it ever does, it ends with its pod
	}
	ctx, cancel := context.WithTimeout(ctx, termLimit)
	defer cancel()
	argv := []string{"sh", "-c", "kill 1"}
	if _, ok := agentDirOf(c.pod, c.container); ok {
		argv = d.argvIn(c.pod, c.container, []string{path.Join(agent.MountPoint, agent.BinaryName), "stop"})
	}
	_, _ = d.api.Exec(ctx, c.pod.Name, c.container, nil, nil, nil, argv...) // it shows below
	for u := range d.api.Follow(ctx, c.pod.Name, string(c.pod.UID)) {
		if u.Pod == nil || hasEnded(u.Pod, c.container) {
			return nil
		}
	}
	return nil // it ends with its pod
}

func hasEnded(pod *corev1.Pod, container string) bool {
	s := statusOf(pod, container)
	return s != nil && s.State.Terminated != nil
}

// agentDirOf is the folder of a container's agent as the container sees it.
func agentDirOf(pod *corev1.Pod, container string) (dir string, ok bool) {
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name != container || len(c.Command) == 0 || len(c.Args) == 0 || path.Base(c.Command[0]) != agent.BinaryName {
			continue
		}
		config, err := agent.ParseServe(unescape(c.Args[1:]))
		return firstOf(config.Dir, agent.MountPoint), err == nil
	}
	return "", false
}

// argvIn is a command line of the agent as a container knows it.
func (d *Driver) argvIn(pod *corev1.Pod, container string, argv []string) []string {
	i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container })
	dir, ok := agentDirOf(pod, container)
	if !ok || argv[0] != path.Join(agent.MountPoint, agent.BinaryName) {
		return argv
	}
	argv = append([]string{unescape(pod.Spec.EphemeralContainers[i].Command)[0]}, argv[1:]...)
	if len(argv) > 1 && slices.Contains([]string{"pipe", "stop"}, argv[1]) {
		argv = append(argv, "--dir", dir)
	}
	return argv
}
