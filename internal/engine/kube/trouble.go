package kube

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// trouble is something that keeps a pod or a container from starting.
type trouble struct {
	what      string // "ErrImagePull: … not found"
	cause     error
	whose     verdict.Whose
	hint      string
	permanent bool // it does not pass, so there is no point in waiting
}

// String is a line for the log: what it is, whose problem, and the next step.
func (t *trouble) String() string { return fmt.Sprintf("%s (%s: %s)", t.what, t.whose, t.hint) }

// containerTrouble judges the state of a container that is to start; nil: nothing is wrong with it, so far.
func containerTrouble(state corev1.ContainerState) *trouble {
	if t := state.Terminated; t != nil {
		return terminatedTrouble(t)
	}
	if state.Waiting == nil {
		return nil
	}
	w := state.Waiting
	text := strings.TrimSpace(w.Reason + ": " + w.Message)
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return nil
	case "InvalidImageName":
		return &trouble{text, engine.ErrImageNotFound, verdict.Workflow, "check the image's name and tag", true}
	case "ErrImageNeverPull":
		return &trouble{text, engine.ErrImageNotFound, verdict.Configuration,
			"set pull to missing or always in gantry.yaml, or bring the image to the node", true}
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError":
		t := pullTrouble(w.Message)
		t.what = text
		return t
	case "CreateContainerConfigError":
		return configTrouble(text)
	}
	if t := commandTrouble(text); t != nil {
		return t
	}
	return &trouble{text, nil, verdict.Infrastructure, "look at the pod's events, and at the kubelet's log on its node", false}
}

// configTrouble is about a container whose specification the node cannot make sense of.
func configTrouble(text string) *trouble {
	t := &trouble{text, nil, verdict.Configuration, missingObject, false}
	if isConfigError(text) {
		t.whose, t.permanent = verdict.Workflow, true
		t.hint = "this cluster wants images whose user is not root: choose such an image, or set --user UID in its options"
	}
	if strings.Contains(text, "couldn't find key") {
		t.permanent = true
	}
	return t
}

// isConfigError recognises a user that the cluster does not allow.
func isConfigError(text string) bool {
	return strings.Contains(text, "runAsNonRoot") || strings.Contains(text, "non-root") || strings.Contains(text, "non-numeric user")
}

// commandTrouble recognises what container runtimes say of a program that cannot be started; nil: it is something else.
func commandTrouble(text string) *trouble {
	for _, pattern := range []string{
		"executable file not found", "no such file or directory", "permission denied", "exec format error", "not a directory",
	} {
		if strings.Contains(text, "exec") && strings.Contains(text, pattern) {
			return &trouble{text, engine.ErrCommand, verdict.Workflow,
				"check the image's entry point and command, and that the image is for the node's architecture", true}
		}
	}
	return nil
}

// terminatedTrouble judges a container that has ended and should run.
func terminatedTrouble(t *corev1.ContainerStateTerminated) *trouble {
	text := strings.TrimSpace(t.Reason + ": " + t.Message)
	if couldNotStart(corev1.ContainerState{Terminated: t}) {
		if found := commandTrouble(text); found != nil {
			return found
		}
		return &trouble{text, nil, verdict.Infrastructure, "the container runtime of the node could not start it", true}
	}
	if t.Reason == "OOMKilled" {
		return &trouble{"was killed because its memory ran out", engine.ErrUnhealthy, verdict.Workflow,
			"raise --memory in its options, or the pod's memory in the template", true}
	}
	what := fmt.Sprintf("exited with status %d", t.ExitCode)
	if t.Message != "" {
		what += ": " + strings.TrimSpace(t.Message)
	}
	if t.Reason == "ContainerStatusUnknown" {
		what = "is lost: " + text
	}
	return &trouble{what, engine.ErrUnhealthy, verdict.Workflow,
		"its log above says why; check its image, its environment and its options", true}
}

// couldNotStart tells that a container was made, and its program never ran.
func couldNotStart(state corev1.ContainerState) bool {
	t := state.Terminated
	return t != nil && (t.Reason == "StartError" || t.Reason == "ContainerCannotRun" || t.ExitCode == 128 && t.Message != "")
}

// pullTrouble judges what a container runtime says of a pull. Matching on text cannot be avoided: nothing else comes
// through the API. The first that matches decides.
func pullTrouble(message string) *trouble {
	for _, p := range []struct {
		words string // a regular expression
		is    trouble
	}{
		{`no space left on device`, trouble{cause: engine.ErrNoSpace, whose: verdict.Infrastructure,
			hint: "free space on the node's disk", permanent: true}},
		{`(?i)unauthorized|authentication required|no basic auth|\bdenied\b|401 Unauthorized|403 Forbidden|status(?: code)?:? 40[13]\b|insufficient_scope|authorization failed`,
			trouble{cause: engine.ErrDenied, whose: verdict.Workflow, permanent: true,
				hint: "check the image's name and its credentials (username and password) in the workflow"}},
		{`x509: |tls: |server gave HTTP response to HTTPS client`, trouble{whose: verdict.Infrastructure, permanent: true,
			hint: "let the nodes' container runtime trust the registry"}},
		{`(?i)toomanyrequests|429 Too Many|connection refused|connection reset|no such host|i/o timeout|deadline exceeded|: EOF|unexpected EOF|unreachable|no route|\b50[0234]\b|server misbehaving|pull QPS exceeded`,
			trouble{whose: verdict.Infrastructure, hint: "check the network between the nodes and the registry, and the registry's state"}},
		{`(?i)not found|manifest unknown|name unknown|no matching manifest|no match for platform|invalid reference|does not exist`,
			trouble{cause: engine.ErrImageNotFound, whose: verdict.Workflow, permanent: true,
				hint: "check the image's name and tag, and that it is for the nodes' architecture"}},
	} {
		if regexp.MustCompile(p.words).MatchString(message) {
			return &p.is
		}
	}
	return &trouble{whose: verdict.Infrastructure, hint: "look at the pod's events, and at the registry"}
}

// rejections are the reasons for which a node refuses a pod that was sent to it. Another try may find room.
func rejections() []string {
	return []string{"OutOfcpu", "OutOfmemory", "OutOfpods", "OutOfephemeral-storage", "NodeAffinity", "NodeName", "UnexpectedAdmissionError",
		"TopologyAffinityError", "NodeShutdown", "Preempting"}
}

// rejected tells that a node has refused the pod before anything in it ran.
func rejected(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodFailed {
		return false
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.ContainerID != "" {
			return false
		}
	}
	return slices.Contains(rejections(), pod.Status.Reason) || strings.HasPrefix(pod.Status.Reason, "OutOf")
}

// podTrouble judges what keeps a whole pod from running; nil: nothing that is known.
func podTrouble(pod *corev1.Pod) *trouble {
	text := strings.TrimSpace(pod.Status.Reason + ": " + pod.Status.Message)
	switch {
	case rejected(pod):
		return &trouble{text, nil, verdict.Infrastructure,
			"the node has no room for the job beside the runner: ask for less in its options, or set kubernetes.use_scheduler if the volume allows it", false}
	case pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "":
		return &trouble{text, nil, verdict.Infrastructure, "the cluster has ended the pod: look at its node", true}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return schedulingTrouble(c)
		}
	}
	return nil
}

func schedulingTrouble(c corev1.PodCondition) *trouble {
	t := &trouble{strings.TrimSpace(c.Reason + ": " + c.Message), nil, verdict.Infrastructure,
		"no node has room for the job (cpu, memory, volumes, taints): ask for less, or let the cluster grow", false}
	if strings.Contains(c.Message, "persistentvolumeclaim") && strings.Contains(c.Message, "not found") {
		t.whose, t.permanent = verdict.Configuration, true
		t.hint = "correct the name of the claim (ACTIONS_RUNNER_CLAIM_NAME), or make it"
	}
	return t
}

// eventTrouble judges an event about a container that is to start; nil: it says nothing that is not said elsewhere. The
// node writes events at once, and a container's state only when it looks at the pod again: up to ten seconds later.
func eventTrouble(e corev1.Event) *trouble {
	if e.Type != corev1.EventTypeWarning {
		return nil
	}
	text := strings.TrimSpace(e.Message)
	switch {
	case e.Reason == "ErrImageNeverPull", e.Reason == "InspectFailed":
		reason := map[string]string{"ErrImageNeverPull": "ErrImageNeverPull", "InspectFailed": "InvalidImageName"}[e.Reason]
		return containerTrouble(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: text}})
	case e.Reason == "Failed" && strings.HasPrefix(text, "Failed to pull image"):
		t := pullTrouble(text)
		t.what = text
		return t
	case e.Reason == "Failed" && (isConfigError(text) || regexp.MustCompile(`^Error: (secret|configmap) ".*" not found|couldn't find key`).MatchString(text)):
		return configTrouble(text)
	case e.Reason == "Failed":
		return commandTrouble(text)
	}
	return nil
}

// containerOf is the container that an event is about, "" if it is about the pod.
func containerOf(e corev1.Event) string {
	_, rest, found := strings.Cut(e.InvolvedObject.FieldPath, "{")
	if !found {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}

// podWarning is what an event says of the whole pod, "" if it is nothing that keeps it from running.
func podWarning(e corev1.Event) string {
	switch {
	case e.Type != corev1.EventTypeWarning, containerOf(e) != "":
		return ""
	case e.Reason == "FailedToRetrieveImagePullSecret" && strings.Contains(e.Message, lentPrefix):
		return "" // it is there only while a job needs it
	}
	return fmt.Sprintf("%s: %s", e.Reason, strings.TrimSpace(e.Message))
}

// warningTrouble is a podWarning with a judgement; nil: there is none.
func warningTrouble(e corev1.Event) *trouble {
	text := podWarning(e)
	switch {
	case text == "":
		return nil
	case regexp.MustCompile(`(secret|configmap) ".*" not found`).MatchString(text):
		return &trouble{text, nil, verdict.Configuration, missingObject, false}
	case e.Reason == "FailedScheduling":
		return schedulingTrouble(corev1.PodCondition{Reason: e.Reason, Message: e.Message})
	}
	return &trouble{text, nil, verdict.Infrastructure, "look at the pod's events and at its node", false}
}

const missingObject = "a secret or a config map that the pod template names is missing"
