package kube_test

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// arc are the facts of an ephemeral runner with its work folder on an emptyDir, and everything allowed.
func arc(change ...func(*kube.Facts)) kube.Facts {
	f := kube.Facts{Pod: "runner-1", WorkFolder: "/w", WorkVolume: "work", WorkKind: "emptyDir", WorkWhole: true, LinkVolume: true, LinkName: "github"}
	for _, c := range change {
		c(&f)
	}
	return f
}

func claimed(f *kube.Facts) { f.WorkKind, f.Claim = "persistentVolumeClaim", "runner-1-work" }
func served(f *kube.Facts)  { f.Served = "gantry-old-job" }
func partly(f *kube.Facts)  { f.WorkWhole = false }
func nowhere(f *kube.Facts) { f.WorkVolume, f.WorkKind, f.WorkWhole = "", "", false }
func outside(f *kube.Facts) { *f = kube.Facts{WorkFolder: "/w", NoAgentImage: f.NoAgentImage} }
func noImage(f *kube.Facts) { f.NoAgentImage = "the agent lies on a volume" }
func without(verb, resource string) func(*kube.Facts) {
	return func(f *kube.Facts) { f.Missing = append(f.Missing, kubeapi.Access{Verb: verb, Resource: resource}) }
}

func TestTheModeFollowsFromTheFacts(t *testing.T) {
	for name, c := range map[string]struct {
		mode, volume string
		facts        kube.Facts
		want         kube.Mode
		reason       string // a part of it
	}{
		"everything is there":              {"auto", "auto", arc(), kube.InPod, ""},
		"nothing is configured":            {"", "", arc(), kube.InPod, ""},
		"no ephemeral containers, a claim": {"auto", "auto", arc(claimed, without("patch", "pods/ephemeralcontainers")), kube.PodShared, "patch pods/ephemeralcontainers"},
		"no ephemeral containers":          {"auto", "auto", arc(without("patch", "pods/ephemeralcontainers")), kube.PodApart, "emptyDir"},
		"the pod has served a job":         {"auto", "auto", arc(claimed, served), kube.PodShared, "gantry-old-job"},
		"a part of a claim":                {"auto", "auto", arc(claimed, partly), kube.PodShared, "only a part"},
		"the work folder is on no volume":  {"auto", "auto", arc(nowhere), kube.PodApart, "/w is not on a volume"},
		"outside of the cluster":           {"auto", "auto", arc(outside), kube.PodApart, "not a pod"},
		"the template needs a pod": {"auto", "auto", arc(claimed, func(f *kube.Facts) { f.NeedsOwnPod = []string{"spec.nodeSelector"} }),
			kube.PodShared, "spec.nodeSelector"},
		"there are limits": {"auto", "auto", arc(claimed, func(f *kube.Facts) { f.Limits = []string{"limits.memory"} }),
			kube.PodShared, "limits.memory"},
		"auto, but none shared":           {"auto", "none", arc(claimed, served), kube.PodApart, ""},
		"in-pod is wanted, and served":    {"in-pod", "auto", arc(served), kube.InPod, ""},
		"pod is wanted":                   {"pod", "auto", arc(claimed), kube.PodShared, ""},
		"pod is wanted, nothing shared":   {"pod", "none", arc(claimed), kube.PodApart, ""},
		"a claim that is only configured": {"pod", "shared", arc(func(f *kube.Facts) { f.Claim = "c" }), kube.PodShared, ""},
	} {
		t.Run(name, func(t *testing.T) {
			choice, err := kube.Choose(c.mode, c.volume, c.facts)
			if err != nil || choice.Mode != c.want || !strings.Contains(choice.Reason(), c.reason) || !strings.HasPrefix(choice.Reason(), "mode "+string(c.want)) {
				t.Errorf("chosen %q (%v), want %q because of %q", choice.Reason(), err, c.want, c.reason)
			}
		})
	}
}

func TestAModeThatCannotBeHadIsToldWithTheNextStep(t *testing.T) {
	for name, c := range map[string]struct {
		mode, volume string
		facts        kube.Facts
		says, hint   string
	}{
		"in-pod without permission":  {"in-pod", "", arc(without("patch", "pods/ephemeralcontainers")), "patch pods/ephemeralcontainers", "resources: [pods/ephemeralcontainers]\n  verbs: [patch]"},
		"in-pod without a volume":    {"in-pod", "", arc(nowhere), "/w is not on a volume", "emptyDir"},
		"in-pod outside":             {"in-pod", "", arc(outside), "not a pod", "pod"},
		"in-pod, the pod is unread":  {"in-pod", "", arc(outside, func(f *kube.Facts) { f.Unread = "forbidden" }), "forbidden", "ACTIONS_RUNNER_POD_NAME"},
		"shared without a claim":     {"pod", "shared", arc(), "emptyDir", "kubernetes.volume to none"},
		"none without an image":      {"pod", "none", arc(noImage), "lies on a volume", "kubernetes.agent_image"},
		"auto with nothing at all":   {"auto", "auto", arc(outside, noImage), "not a pod", "run the runner in a pod"},
		"pods may not be made":       {"pod", "none", arc(without("create", "pods"), without("list", "pods")), "create pods", "resources: [pods]\n  verbs: [create, list]"},
		"an unknown mode":            {"pods", "", arc(), `"pods"`, "in-pod or pod"},
		"an unknown volume":          {"auto", "some", arc(), `"some"`, "shared or none"},
		"secrets may not be deleted": {"pod", "none", arc(without("delete", "secrets")), "delete secrets", "gantry rbac"},
	} {
		t.Run(name, func(t *testing.T) {
			choice, err := kube.Choose(c.mode, c.volume, c.facts)
			v := verdict.Of(err)
			if err == nil || v.Whose != verdict.Configuration || !strings.Contains(err.Error(), c.says) || !strings.Contains(v.Hint, c.hint) {
				t.Errorf("chosen %+v, %v (hint %q), want %q and %q", choice, err, v.Hint, c.says, c.hint)
			}
		})
	}
}
