package kube

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

// What kubelets, containerd, cri-o and registries say, and whose problem it is.
func TestTheStateOfAContainerIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		state     corev1.ContainerState
		cause     error
		whose     verdict.Whose
		permanent bool
	}{
		"a tag that is not there": {waiting("ErrImagePull", `failed to pull and unpack image "docker.io/library/nginx:nope": failed to resolve reference "docker.io/library/nginx:nope": docker.io/library/nginx:nope: not found`),
			engine.ErrImageNotFound, verdict.Workflow, true},
		"the same, later": {waiting("ImagePullBackOff", `Back-off pulling image "nginx:nope": ErrImagePull: manifest unknown`), engine.ErrImageNotFound, verdict.Workflow, true},
		"a private image of Docker Hub": {waiting("ErrImagePull", `failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized`),
			engine.ErrDenied, verdict.Workflow, true},
		"a private or absent image": {waiting("ErrImagePull", `pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`),
			engine.ErrDenied, verdict.Workflow, true},
		"ghcr says no":             {waiting("ErrImagePull", `unexpected status from HEAD request to https://ghcr.io/v2/a/b/manifests/1: 403 Forbidden`), engine.ErrDenied, verdict.Workflow, true},
		"a rate limit":             {waiting("ErrImagePull", `429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit`), nil, verdict.Infrastructure, false},
		"a registry is down":       {waiting("ErrImagePull", `failed to do request: Head "https://r.example/v2/x/manifests/1": dial tcp 10.0.0.1:443: connect: connection refused`), nil, verdict.Infrastructure, false},
		"no such host":             {waiting("ErrImagePull", `dial tcp: lookup r.example: no such host`), nil, verdict.Infrastructure, false},
		"a registry stumbles":      {waiting("ErrImagePull", `unexpected status code [manifests 1]: 503 Service Unavailable`), nil, verdict.Infrastructure, false},
		"an unknown certificate":   {waiting("ErrImagePull", `tls: failed to verify certificate: x509: certificate signed by unknown authority`), nil, verdict.Infrastructure, true},
		"another architecture":     {waiting("ErrImagePull", `no match for platform in manifest: not found`), engine.ErrImageNotFound, verdict.Workflow, true},
		"a full disk":              {waiting("ErrImagePull", `failed to extract layer: write /x: no space left on device`), engine.ErrNoSpace, verdict.Infrastructure, true},
		"a tag called 401":         {waiting("ErrImagePull", `failed to resolve reference "r.example/x:401": r.example/x:401: not found`), engine.ErrImageNotFound, verdict.Workflow, true},
		"no image of that name":    {waiting("InvalidImageName", `couldn't parse image reference "A:b:c"`), engine.ErrImageNotFound, verdict.Workflow, true},
		"never pulled":             {waiting("ErrImageNeverPull", `Container image "x" is not present with pull policy of Never`), engine.ErrImageNotFound, verdict.Configuration, true},
		"root where it may not be": {waiting("CreateContainerConfigError", `container has runAsNonRoot and image will run as root (pod: "x")`), nil, verdict.Workflow, true},
		"a user by name": {waiting("CreateContainerConfigError", `container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root`),
			nil, verdict.Workflow, true},
		"a secret that is not there yet": {waiting("CreateContainerConfigError", `secret "x" not found`), nil, verdict.Configuration, false},
		"an error of the runtime":        {waiting("CreateContainerError", `context deadline exceeded`), nil, verdict.Infrastructure, false},
		"a program that is not there": {terminated(128, "StartError", `failed to create containerd task: OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown`),
			engine.ErrCommand, verdict.Workflow, true},
		"a program of another machine": {terminated(128, "StartError", `exec /entry: exec format error`), engine.ErrCommand, verdict.Workflow, true},
		"a mount that fails":           {terminated(128, "StartError", `error mounting "/x" to rootfs at "/y"`), nil, verdict.Infrastructure, true},
		"an exit":                      {terminated(3, "Error", ""), engine.ErrUnhealthy, verdict.Workflow, true},
		"an exit with 0":               {terminated(0, "Completed", ""), engine.ErrUnhealthy, verdict.Workflow, true},
		"out of memory":                {terminated(137, "OOMKilled", ""), engine.ErrUnhealthy, verdict.Workflow, true},
	} {
		got := containerTrouble(c.state)
		if got == nil || !errors.Is(got.cause, c.cause) || got.whose != c.whose || got.permanent != c.permanent || got.hint == "" || got.what == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, state := range map[string]corev1.ContainerState{
		"nothing yet": {}, "being made": waiting("ContainerCreating", ""), "after init": waiting("PodInitializing", ""),
		"running": {Running: &corev1.ContainerStateRunning{}},
	} {
		if got := containerTrouble(state); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAPodThatDoesNotRunIsJudged(t *testing.T) {
	scheduled := func(message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message},
		}}}
	}
	failed := func(reason, message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}}
	}
	for name, c := range map[string]struct {
		pod                 *corev1.Pod
		permanent, rejected bool
		whose               verdict.Whose
	}{
		"no room":                 {scheduled("0/3 nodes are available: 3 Insufficient cpu."), false, false, verdict.Infrastructure},
		"no claim":                {scheduled(`persistentvolumeclaim "x" not found`), true, false, verdict.Configuration},
		"the node says no (cpu)":  {failed("OutOfcpu", "Node didn't have enough resource: cpu"), false, true, verdict.Infrastructure},
		"the node says no (pods)": {failed("OutOfpods", ""), false, true, verdict.Infrastructure},
		"evicted":                 {failed("Evicted", "The node was low on resource: memory."), true, false, verdict.Infrastructure},
		"the deadline is over":    {failed("DeadlineExceeded", ""), true, false, verdict.Infrastructure},
	} {
		got := podTrouble(c.pod)
		if got == nil || got.permanent != c.permanent || rejected(c.pod) != c.rejected || got.whose != c.whose || got.hint == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := podTrouble(&corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}); got != nil {
		t.Errorf("a pod that runs: %+v", got)
	}
	ran := failed("OutOfcpu", "")
	ran.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: "containerd://1"}}
	if rejected(ran) {
		t.Error("a pod that has run is no pod that was refused")
	}
}

func TestEventsAreJudged(t *testing.T) {
	warning := func(reason, message, path string) corev1.Event {
		return corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, InvolvedObject: corev1.ObjectReference{FieldPath: path}}
	}
	pull := warning("Failed", `Failed to pull image "x:1": x:1: not found`, "spec.ephemeralContainers{gantry-1-job}")
	if got := eventTrouble(pull); containerOf(pull) != "gantry-1-job" || got == nil || !errors.Is(got.cause, engine.ErrImageNotFound) || !got.permanent {
		t.Errorf("%+v", got)
	}
	start := warning("Failed", `Error: failed to create containerd task: exec: "nope": executable file not found in $PATH`, "spec.containers{redis}")
	if got := eventTrouble(start); containerOf(start) != "redis" || got == nil || !errors.Is(got.cause, engine.ErrCommand) {
		t.Errorf("%+v", got)
	}
	config := warning("Failed", `Error: secret "absent" not found`, "spec.containers{redis}")
	if got := eventTrouble(config); got == nil || got.whose != verdict.Configuration || got.permanent {
		t.Errorf("%+v", got)
	}
	for _, e := range []corev1.Event{
		{Type: corev1.EventTypeNormal, Reason: "Pulled"}, warning("Failed", "Error: ImagePullBackOff", "spec.containers{x}"), warning("BackOff", "Back-off", "spec.containers{x}"),
	} {
		if got := eventTrouble(e); got != nil {
			t.Errorf("%+v: %+v", e, got)
		}
	}
	mount := warning("FailedMount", `MountVolume.SetUp failed for volume "v": secret "s" not found`, "")
	if got := podWarning(mount); !strings.Contains(got, "FailedMount") || !strings.Contains(got, `secret "s"`) {
		t.Errorf("%q", got)
	}
	if got := warningTrouble(mount); got == nil || got.whose != verdict.Configuration {
		t.Errorf("%+v", got)
	}
	for _, e := range []corev1.Event{pull, warning("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (gantry-pull)", ""), {Reason: "Scheduled"}} {
		if got := podWarning(e); got != "" {
			t.Errorf("%q", got)
		}
	}
}
