package podlabel_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/podspec/podlabel"
)

func TestValue(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"a":                           "a",
		"acme/shop":                   "acme-shop",
		"CI (linux, 3.12)":            "CI--linux--3.12",
		".hidden_":                    "hidden",
		"--":                          "",
		"größe":                       "gr--e",
		strings.Repeat("a", 70):       strings.Repeat("a", 63),
		strings.Repeat("a-", 32):      strings.Repeat("a-", 31) + "a",
		strings.Repeat("-", 70) + "x": "x",
	} {
		if got := podlabel.Value(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	for text, want := range map[string]string{
		"team":                 "team",
		"com.example.team":     "com.example.team",
		"Example.com/Team":     "example.com/Team",
		"exa_mple.com/my team": "exa-mple.com/my-team",
		"/team":                "team",
		"example.com/":         "example.com",
		"a/b/c":                "a/b-c",
		"..":                   "",
		"/":                    "",
	} {
		if got := podlabel.Key(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestReserved(t *testing.T) {
	for key, want := range map[string]bool{
		"team": false, "example.com/team": false, "runner-pod": true, "io.gantry/job": true, "kubernetes.io/arch": true,
		"app.kubernetes.io/name": true, "pod-security.k8s.io/x": true, "actions.github.com/scale-set-name": true,
		"notkubernetes.io/x": false, "kubernetes.io": false,
	} {
		if podlabel.Reserved(key) != want {
			t.Errorf("%s: reserved is %v", key, !want)
		}
	}
}

func TestOfJob(t *testing.T) {
	known := map[string]string{"GITHUB_REPOSITORY": "acme/shop", "GITHUB_RUN_ID": "42", "GITHUB_JOB": "build", "GITHUB_WORKFLOW": "..."}
	got := podlabel.OfJob([]string{"repository", "run", "job", "workflow"}, func(name string) string { return known[name] })
	want := map[string]string{"io.gantry/repository": "acme-shop", "io.gantry/run": "42", "io.gantry/job-name": "build"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzLabels: what is made of any text is allowed by Kubernetes, and making it again changes nothing.
func FuzzLabels(f *testing.F) {
	f.Add("acme/shop")
	f.Add("Ünï.code/--x__")
	f.Fuzz(func(t *testing.T, text string) {
		value, key := podlabel.Value(text), podlabel.Key(text)
		if wrong := validation.IsValidLabelValue(value); wrong != nil || podlabel.Value(value) != value {
			t.Errorf("%q becomes the value %q: %v", text, value, wrong)
		}
		if wrong := validation.IsQualifiedName(key); key != "" && wrong != nil || podlabel.Key(key) != key {
			t.Errorf("%q becomes the key %q: %v", text, key, wrong)
		}
	})
}
