package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/bench/figures"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// plain is a container that nobody has added anything to.
func (m *meter) plain(seconds string) corev1.Container {
	return corev1.Container{
		Name: "plain-" + strings.ToLower(rand.Text()[:8]), Image: image(m.T, testbed.Busybox), Command: []string{"sleep", seconds},
		ImagePullPolicy: corev1.PullIfNotPresent,
	}
}

// started is the time from asking for a container to the API server's word that it runs.
func (m *meter) started(pod, container string, ask func() error) (time.Duration, error) {
	return figures.Timed(func() error {
		ctx, stop := context.WithTimeout(m.Context(), time.Minute)
		defer stop()
		w, err := m.watch(ctx, pod)
		if err != nil {
			return err
		}
		if err := ask(); err != nil {
			w.Stop()
			return err
		}
		for !seen(w, container) { // a connection may be lost at any time
			if w, err = m.watch(ctx, pod); err != nil {
				return fmt.Errorf("%s in %s does not start: %w", container, pod, err)
			}
		}
		return nil
	})
}

// watch begins with the pod as it is, if it is there.
func (m *meter) watch(ctx context.Context, pod string) (watch.Interface, error) {
	options := &metav1.ListOptions{FieldSelector: "metadata.name=" + pod, Watch: true}
	return m.c.Request("GET", m.self.Namespace, &corev1.PodList{}).VersionedParams(options, scheme.ParameterCodec).Watch(ctx)
}

// seen says whether a watch has shown the container to run before its end.
func seen(w watch.Interface, container string) bool {
	defer w.Stop()
	for event := range w.ResultChan() {
		if p, ok := event.Object.(*corev1.Pod); ok && running(p, container) {
			return true
		}
	}
	return false
}

func running(p *corev1.Pod, container string) bool {
	for _, s := range append(p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses...) {
		if s.Name == container {
			return s.State.Running != nil
		}
	}
	return false
}

// ephemeral is the start of an ephemeral container in a pod. It is over when the next thing is measured.
func (m *meter) ephemeral(pod string) (time.Duration, error) {
	c := m.plain("1")
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{
		"ephemeralContainers": []any{corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(c)}}}})
	if err != nil {
		return 0, err
	}
	took, err := m.started(pod, c.Name, func() error {
		return m.c.Request("PATCH", m.self.Namespace, &corev1.Pod{}).Name(pod).SubResource("ephemeralcontainers").
			SetHeader("Content-Type", string(types.StrategicMergePatchType)).Body(patch).Do(m.Context()).Error()
	})
	if err != nil {
		return 0, err
	}
	m.c.AwaitPod(m.T, m.self.Namespace, pod, "over", func(p *corev1.Pod) bool {
		for _, s := range p.Status.EphemeralContainerStatuses {
			if s.Name == c.Name {
				return s.State.Terminated != nil
			}
		}
		return false
	})
	return took, nil
}

// pod is the start of a pod of one container, as `kubectl run` asks for it, after native side-cars.
func (m *meter) pod(sidecars int) (time.Duration, error) {
	c := m.plain("1000")
	grace := int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.self.Namespace, Name: c.Name},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{c}, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
		},
	}
	always := corev1.ContainerRestartPolicyAlways
	for range sidecars {
		sidecar := m.plain("1000")
		sidecar.RestartPolicy = &always
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, sidecar)
	}
	took, err := m.started(pod.Name, c.Name, func() error { m.c.Create(m.T, pod); return nil })
	if err != nil {
		return 0, err
	}
	if err := m.c.Delete(m.Context(), pod); err != nil {
		return 0, err
	}
	return took, m.calm()
}

// newJob removes what the steps so far have needed, as the runner does before a job.
func (m *meter) newJob() {
	for _, pattern := range []string{"_temp/*.sh", "_temp/_runner_file_commands/*"} {
		files, err := filepath.Glob(filepath.Join(m.r.Work, pattern))
		must(m.T, err)
		for _, f := range files {
			must(m.T, os.Remove(f))
		}
	}
}

// calm waits until the node has done away with what was there.
func (m *meter) calm() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var pods corev1.PodList
		if err := m.c.List(m.Context(), m.self.Namespace, &pods); err != nil {
			return err
		}
		busy := len(pods.Items) > 1
		for _, p := range pods.Items {
			for _, s := range p.Status.EphemeralContainerStatuses {
				busy = busy || s.State.Terminated == nil
			}
		}
		if !busy {
			return nil
		}
	}
	return fmt.Errorf("the namespace does not come to rest:\n%s", m.c.Happened(m.Context(), m.self.Namespace))
}

// anytime has something begin at any moment: the kubelet looks once in a second at how containers are, and what ends with
// such a look would always begin right after it.
func anytime(f func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		time.Sleep(mathrand.N(time.Second))
		return f()
	}
}

// containerStep measures an action that does nothing, beside the start of an ephemeral container in the same pod.
func (m *meter) containerStep() {
	step := m.r.ContainerStep(image(m.T, testbed.Busybox))
	step.EntryPoint = "true"
	var state struct{ Container string }
	must(m.T, json.Unmarshal(m.r.State, &state))
	pod, _, _ := strings.Cut(state.Container, "/")
	all := m.inTurns(10,
		anytime(func() (time.Duration, error) {
			return figures.Timed(func() error { return m.r.Call(m.Context(), hook.RunContainerStep, step).Err })
		}),
		anytime(func() (time.Duration, error) { return m.ephemeral(pod) }))
	m.add(figures.Compared("container step; start of an ephemeral container", all[0], all[1], "at most start + 500 ms",
		func(t, start time.Duration) bool { return t <= start+500*time.Millisecond }))
}

// job measures prepare_job beside the start of the container, or pod, that it needs; and cleanup_job.
func (m *meter) job() {
	start, what := func() (time.Duration, error) { return m.pod(0) }, "prepare_job; start of a pod"
	if m.p.mode == rbac.InPod {
		start, what = func() (time.Duration, error) { return m.ephemeral(m.self.Pod) }, "prepare_job; start of an ephemeral container"
	}
	m.newJob()
	must(m.T, m.calm())
	all := m.inTurns(10,
		anytime(func() (time.Duration, error) { return figures.Timed(func() error { m.prepare(); return nil }) }),
		func() (time.Duration, error) {
			took, err := figures.Timed(func() error { return m.r.Cleanup(m.Context()).Err })
			if err != nil {
				return 0, err
			}
			return took, m.calm()
		}, anytime(start))
	m.add(figures.Compared(what, all[0], all[2], "at most 1.3x + 200 ms", func(t, start time.Duration) bool {
		return t <= start*13/10+200*time.Millisecond
	}), figures.Compared("cleanup_job", all[1], nil, "", func(_, _ time.Duration) bool { return true }))
}

// services measures prepare_job for a job with services beside the start of a pod that has as many native side-cars.
func (m *meter) services() {
	const n = 3
	var services []hook.Container
	for range n {
		services = append(services, hook.Container{Image: image(m.T, testbed.Busybox), EntryPoint: "sleep", EntryPointArgs: []string{"1000"}})
	}
	all := m.inTurns(10,
		anytime(func() (time.Duration, error) {
			return figures.Timed(func() error {
				return m.r.Prepare(m.Context(), m.r.JobContainer(image(m.T, testbed.Busybox)), services...).Err
			})
		}),
		func() (time.Duration, error) {
			m.ok(m.r.Cleanup(m.Context()))
			return 0, m.calm()
		}, anytime(func() (time.Duration, error) { return m.pod(n) }))
	m.add(figures.Compared(fmt.Sprintf("prepare_job with %d services; start of a pod with %[1]d native side-cars", n), all[0], all[2], "",
		func(_, _ time.Duration) bool { return true }))
}
