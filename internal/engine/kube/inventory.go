package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/wait"
)

// Inspect is part of engine.Engine. id is POD/CONTAINER, or a container's name as its specification has it.
func (d *Driver) Inspect(ctx context.Context, id string) (engine.Status, error) {
	pod, container, err := d.find(ctx, id)
	if name, _, ok := strings.Cut(id, "/"); ok && errors.Is(err, engine.ErrNotFound) && d.isGone(ctx, name) {
		return engine.Status{}, d.gone(ctx, name)
	}
	if err != nil {
		return engine.Status{}, err
	}
	return d.status(ctx, pod, container), nil
}

// find finds a container of ours. One that has ended through its agent is not found any more, if it is an ephemeral one.
func (d *Driver) find(ctx context.Context, id string) (*corev1.Pod, string, error) {
	if name, container, ok := strings.Cut(id, "/"); ok {
		pod, err := d.api.Pod(ctx, name)
		if err != nil {
			return nil, "", wrap(err, "looking for container "+id)
		}
		if _, ours := tagsOf(pod)[container]; ours && !d.over(ctx, pod, container) {
			return pod, container, nil
		}
		return nil, "", fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
	}
	pods, err := d.pods(ctx, nil)
	if err != nil {
		return nil, "", wrap(err, "looking for container "+id)
	}
	for _, pod := range pods {
		for container, t := range tagsOf(pod) {
			if t.Name == id && !d.over(ctx, pod, container) {
				return pod, container, nil
			}
		}
	}
	return nil, "", fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
}

// pods are those that can have containers of ours: the runner's own, and ours that carry all labels.
func (d *Driver) pods(ctx context.Context, labels map[string]string) ([]*corev1.Pod, error) {
	var own *corev1.Pod
	var others []corev1.Pod
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if d.opts.Place.Pod == "" {
			return nil
		}
		pod, err := d.api.Pod(ctx, d.opts.Place.Pod)
		if errors.Is(err, engine.ErrNotFound) {
			return nil // the hook runs outside of the cluster
		}
		own = pod
		return err
	})
	g.Go(func() (err error) {
		if slices.Equal(Wanted(d.opts.Mode, d.opts.Volume), []Mode{InPod}) {
			return nil // there are no others
		}
		others, err = d.api.Pods(ctx, labels)
		if d.needless(err) {
			return nil
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []*corev1.Pod
	for i := range others {
		if p := &others[i]; own == nil || p.Name != own.Name {
			all = append(all, p)
		}
	}
	if own != nil {
		all = append(all, own)
	}
	return all, nil
}

// over tells that a container does not exist any more, for this package: its pod is being deleted; or it is an ephemeral
// one that was removed, or a step's that has ended.
func (d *Driver) over(ctx context.Context, pod *corev1.Pod, container string) bool {
	d.mu.Lock()
	seen := d.done[containerID(pod.Name, container)]
	d.mu.Unlock()
	if seen || pod.DeletionTimestamp != nil {
		return true
	}
	i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container })
	if i < 0 {
		return false
	}
	t, _ := tagOf(pod.Spec.EphemeralContainers[i].Env)
	status := statusOf(pod, container)
	ended := status != nil && status.State.Terminated != nil
	if ended && (t.Step || status.State.Terminated.Message == stoppedMessage() || buried(t.Folder)) {
		return true
	}
	if t.Native && (status == nil || status.State.Running != nil) {
		return false
	}
	return t.Folder != "" && d.stopped(ctx, t.Folder) // the API learns of it a moment later
}

// buried tells that the folder of a container has been removed, as it is when the container has been.
func buried(folder string) bool {
	if folder == "" {
		return false
	}
	_, err := os.Lstat(folder)
	return errors.Is(err, fs.ErrNotExist)
}

// stopped tells that an agent was asked to end its container, and has.
func (d *Driver) stopped(ctx context.Context, folder string) bool {
	base, rel := filepath.Dir(folder), filepath.Base(folder)
	return agent.Stopping(base, rel) && !agent.Alive(ctx, base, rel)
}

// status is what the API knows of a container.
func (d *Driver) status(ctx context.Context, pod *corev1.Pod, container string) engine.Status {
	t := tagsOf(pod)[container]
	s := engine.Status{ID: containerID(pod.Name, container), Labels: t.Labels, Health: d.healthOf(pod, container, t), Ports: t.Ports}
	status := statusOf(pod, container)
	if status == nil {
		s.Running = true // it is being started
		return s
	}
	switch {
	case endedWithJob(pod, container):
		s.Running = true
	case status.State.Terminated != nil:
		end := status.State.Terminated
		s.ExitCode, s.OOMKilled = int(end.ExitCode), end.Reason == "OOMKilled"
		if end.Reason != "Error" && end.Reason != "Completed" {
			s.Error = strings.TrimSpace(end.Reason + " " + end.Message)
		}
	case status.State.Waiting != nil:
		s.Running = true
		if trouble := containerTrouble(status.State); trouble != nil {
			s.Error, s.Running = trouble.what, !trouble.permanent
		}
	default:
		s.Running = true
	}
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
		s.Running, s.Error = false, strings.TrimSpace(pod.Status.Reason+": "+pod.Status.Message)
	}
	return s
}

// endedWithJob tells that a service was ended by the node, because the job's container had ended: nothing is wrong with it.
func endedWithJob(pod *corev1.Pod, container string) bool {
	s := rawStatusOf(pod, container)
	if !isSideCar(pod, container) || s == nil || s.State.Terminated == nil || s.RestartCount > 0 {
		return false
	}
	tags := tagsOf(pod)
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(other corev1.ContainerStatus) bool {
		_, job := tags[other.Name]
		return job && other.State.Terminated != nil && !s.State.Terminated.FinishedAt.Before(&other.State.Terminated.FinishedAt)
	})
}

// healthOf is a container's health as far as somebody looks after it: the kubelet, or gantry when the job started.
func (d *Driver) healthOf(pod *corev1.Pod, container string, t tag) string {
	spec, status := specOf(pod, container), statusOf(pod, container)
	if spec == nil || spec.StartupProbe == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		return firstOf(d.health[containerID(pod.Name, container)], readHealth(t.Folder))
	}
	switch {
	case status == nil, endedWithJob(pod, container):
		return ""
	case status.Started != nil && *status.Started:
		return "healthy"
	case status.State.Terminated != nil:
		return "unhealthy"
	}
	return "starting"
}

// List is part of engine.Engine. What belongs to another runner's pod is left out, whatever its labels are, unless everything is
// asked for.
func (d *Driver) List(ctx context.Context, labels map[string]string) (engine.Inventory, error) {
	var pods []*corev1.Pod
	var secrets []corev1.Secret
	var borrowed []engine.Object
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		pods, err = d.pods(asking, keys(labels))
		return wrap(err, "listing containers")
	})
	g.Go(func() (err error) {
		if role := labels[labelRole]; role != "" && role != networkRole {
			return nil // they are the job's as a whole
		}
		secrets, err = d.api.Secrets(asking, keys(labels))
		if d.needless(err) {
			return nil
		}
		return wrap(err, "listing secrets")
	})
	g.Go(func() error {
		h, err := d.home(asking)
		if err == nil {
			borrowed, err = d.lentTo(asking, h, labels)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return engine.Inventory{}, err
	}
	inv := engine.Inventory{Others: borrowed}
	all := everything(labels)
	for _, pod := range pods {
		if all || d.mine(&pod.ObjectMeta) {
			inv.Containers = append(inv.Containers, d.rows(ctx, pod, labels)...)
		}
	}
	for i := range secrets {
		if all || d.mine(&secrets[i].ObjectMeta) {
			inv.Others = append(inv.Others, secretRow(&secrets[i]))
		}
	}
	return inv, nil
}

// needless tells that a list failed for want of a permission without which nothing in it can have been made: the Role of
// in-pod mode.
func (d *Driver) needless(err error) bool {
	return errors.Is(err, kubeapi.ErrForbidden) && d.opts.Mode != "pod"
}

// everything tells that a list is of all that gantry has made in the namespace, whoever's it is.
func everything(labels map[string]string) bool { return len(keys(labels)) == 0 }

// mine tells that an object does not belong to another runner's pod. Labels cannot tell: those of a runner are short, and the
// state folders of all runners of a scale set have the same path. An owner that has this pod's name was this pod, or one before
// it, as there is one of a name. A runner that is in no pod has to go by the labels.
func (d *Driver) mine(meta *metav1.ObjectMeta) bool {
	own := d.opts.Place.Pod
	return own == "" || meta.Name == own || !slices.ContainsFunc(meta.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Kind == "Pod" && o.Name != own
	})
}

// rows are the containers of a pod that carry all labels.
func (d *Driver) rows(ctx context.Context, pod *corev1.Pod, labels map[string]string) (rows []engine.Container) {
	tags := tagsOf(pod)
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		t := tags[name]
		if !t.carries(labels) || d.over(ctx, pod, name) {
			continue
		}
		s := d.status(ctx, pod, name)
		rows = append(rows, engine.Container{
			ID: s.ID, Name: t.Name, Image: imageOf(pod, name), Running: s.Running, Health: s.Health, Labels: t.Labels,
			Created: createdAt(pod, name).Time,
		})
	}
	return rows
}

func imageOf(pod *corev1.Pod, container string) string {
	if c := specOf(pod, container); c != nil {
		return c.Image
	}
	return ""
}

// createdAt is when a container was started, or its pod made.
func createdAt(pod *corev1.Pod, container string) metav1.Time {
	if s := statusOf(pod, container); s != nil {
		switch {
		case s.State.Running != nil:
			return s.State.Running.StartedAt
		case s.State.Terminated != nil:
			return s.State.Terminated.StartedAt
		}
	}
	if slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container }) {
		return metav1.Now() // it is being made
	}
	return pod.CreationTimestamp
}

// Logs is part of engine.Engine.
func (d *Driver) Logs(ctx context.Context, id string, n int, w io.Writer) error {
	pod, container, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	return wrap(d.copyLog(ctx, pod, container, n, w), "reading the log of container "+id)
}

// copyLog copies the end of a container's log; of one that was started again, of what it was before.
func (d *Driver) copyLog(ctx context.Context, pod *corev1.Pod, container string, n int, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	var text io.ReadCloser
	err := kubeapi.ErrInvalid
	if isSideCar(pod, container) {
		text, err = d.api.Logs(ctx, pod.Name, container, n, true) // as long as there is no such thing, it was not started again
	}
	for start := time.Now(); errors.Is(err, kubeapi.ErrInvalid) && time.Since(start) < noticed; {
		text, err = d.api.Logs(ctx, pod.Name, container, n, false)
		if errors.Is(err, kubeapi.ErrInvalid) && !wait.For(ctx, 100*time.Millisecond) {
			break
		}
	}
	if errors.Is(err, kubeapi.ErrInvalid) {
		return nil // it has not begun
	}
	if err != nil {
		return err
	}
	defer text.Close()
	_, err = io.Copy(w, text)
	return err
}

// quickly bounds what takes a moment. noticed is how long the node may take to tell the API server that a container has
// begun, which its agent's socket has told before.
const (
	quickly = 30 * time.Second
	noticed = 3 * time.Second
)

// lastLog is the end of a container's log, or why there is none.
func (d *Driver) lastLog(ctx context.Context, pod *corev1.Pod, container string) string {
	var log strings.Builder
	if err := d.copyLog(context.WithoutCancel(ctx), pod, container, 100, &limited{w: &log, left: 64 << 10}); err != nil && !errors.Is(err, engine.ErrNotFound) {
		if v, ok := verdictIn(err); ok && errors.Is(err, kubeapi.ErrForbidden) {
			return err.Error() + "\n" + v.Hint
		}
		return err.Error()
	}
	return log.String()
}

// Exec is part of engine.Engine. Kubernetes runs programs as the container's own user only.
func (d *Driver) Exec(ctx context.Context, id, user string, argv ...string) error {
	pod, container, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	var said strings.Builder
	status, err := d.api.Exec(ctx, pod.Name, container, nil, nil, &limited{w: &said, left: 4 << 10}, d.argvIn(pod, container, argv)...)
	if err == nil && status != 0 {
		err = fmt.Errorf("it ended with status %d: %s", status, strings.TrimSpace(said.String()))
	}
	return wrap(err, "running "+argv[0]+" in container "+id)
}

// wrap is fmt.Errorf("doing: %w", err), and nil for nil.
func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
