package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	w := &watch{health: &options.Health{Interval: 500 * time.Millisecond, Timeout: 5 * time.Millisecond, Retries: 1}, start: now, counted: now, goesOn: true}
	err := w.await(t.Context(), func(ctx context.Context) (int, string, error) {
		begun++
		<-ctx.Done()
		return 0, "", ctx.Err()
	})
	if !isUnhealthy(err) || !strings.Contains(err.Error(), "longer than 5ms") || begun > 2 {
		t.Errorf("%v after %d checks", err, begun)
	}
}
