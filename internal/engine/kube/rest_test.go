package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/options"
)

// The work folder is the next job's as soon as nothing can write to it any more, and no sooner.
func TestAPodIsAtRestWhenNothingOfItRuns(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		deleted *metav1.Time
		phase   corev1.PodPhase
		step    corev1.ContainerState
		want    bool
	}{
		"all have ended":     {&now, corev1.PodFailed, terminated(0, "Completed", ""), true},
		"the job runs":       {&now, corev1.PodRunning, terminated(0, "Completed", ""), false},
		"a step runs":        {&now, corev1.PodFailed, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, false},
		"a step is to begin": {&now, corev1.PodSucceeded, waiting("ContainerCreating", ""), false},
		"more may be added":  {nil, corev1.PodSucceeded, terminated(0, "Completed", ""), false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: c.deleted}}
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "step"}}}
		pod.Status.Phase = c.phase
		pod.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "step", State: c.step}}
		if got := atRest(pod); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What an exec has begun in a container goes on when the time for a check is over: a second one waits for its turn.
func TestAHealthCheckThatHangsIsNotBegunAgainAtOnce(t *testing.T) {
	t.Parallel()
	now, begun := time.Now(), 0
	w := &watch{health: &options.Health{Interval: 500 * time.Millisecond, Timeout: 5 * time.Millisecond, Retries: 1}, start: now, counted: now, byExec: true}
	err := w.await(t.Context(), func(ctx context.Context) (int, string, error) {
		begun++
		<-ctx.Done()
		return 0, "", ctx.Err()
	})
	var noExec *noExecError // none has ever ended: that may be the way there
	if !errors.As(err, &noExec) || !strings.Contains(err.Error(), "longer than 5ms") || begun > 2 {
		t.Errorf("%v after %d checks", err, begun)
	}
}

// That the API server is away is not the service's fault, and may pass.
func TestAHealthCheckThatCannotBeBegunDoesNotCount(t *testing.T) {
	t.Parallel()
	tries := 0
	run := func(context.Context) (int, string, error) {
		if tries++; tries < 4 {
			return 0, "", engine.ErrUnavailable
		}
		return 0, "", nil
	}
	health := &options.Health{Interval: time.Nanosecond, Timeout: time.Second, Retries: 1}
	if err := (&watch{health: health, byExec: true, patience: execPatience}).await(t.Context(), run); err != nil || tries != 4 {
		t.Errorf("%v after %d tries", err, tries)
	}
	away := &watch{health: health, byExec: true, patience: execPatience, away: time.Now().Add(-time.Minute)}
	tries = 0
	var noExec *noExecError
	if err := away.await(t.Context(), run); !errors.As(err, &noExec) || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("after a minute: %v", err)
	}
}

// A step outlives a service of its job that crashes, and one that the node starts again in vain.
func TestAServiceThatCrashesIsNoTroubleOfAStep(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	for name, state := range map[string]corev1.ContainerState{
		"ended":   terminated(3, "Error", ""),
		"waiting": {Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{annotationTags: `{"db":{"name":"x"}}`}}}
		pod.Spec.InitContainers = []corev1.Container{{Name: "db", RestartPolicy: &always}}
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "db", State: state}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		var log strings.Builder
		l := (&Driver{opts: Options{Place: &kubeapi.Place{}}}).newLookout(pod, []*member{{name: "step"}}, engine.Timeouts{}, budget{}, &log)
		if err := l.judge(t.Context(), pod); err != nil || log.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, log.String())
		}
		pod.Annotations = nil // a side-car of the template
		if err := l.judge(t.Context(), pod); err != nil || log.Len() > 0 {
			t.Errorf("%s, of the template: %v\n%s", name, err, log.String())
		}
		pod.Status.ContainerStatuses = nil // before anything else has begun, that is told
		if err := l.judge(t.Context(), pod); err == nil && !strings.Contains(log.String(), "db, which comes before the job's") {
			t.Errorf("%s, first of all: %v\n%s", name, err, log.String())
		}
	}
}
