package wording_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/wording"
)

func TestVolumes(t *testing.T) {
	for entry, want := range map[string]hook.MountVolume{
		"/cache":          {TargetVolumePath: "/cache"},
		"/cache:ro":       {TargetVolumePath: "/cache", ReadOnly: true},
		"vol:/data":       {SourceVolumePath: "vol", TargetVolumePath: "/data"},
		"vol:/data:ro":    {SourceVolumePath: "vol", TargetVolumePath: "/data", ReadOnly: true},
		"vol:/data:rw":    {SourceVolumePath: "vol", TargetVolumePath: "/data"},
		"/a:/b:z":         {SourceVolumePath: "/a", TargetVolumePath: "/b"},
		"/a:/b:ro,z":      {SourceVolumePath: "/a", TargetVolumePath: "/b"},
		"/a:/b:/c:ro":     {TargetVolumePath: "/a:/b:/c:ro"},
		"vol:/with blank": {SourceVolumePath: "vol", TargetVolumePath: "/with blank"},
	} {
		want.UserProvidedValue = entry
		if diff := cmp.Diff(want, wording.Volume(entry)); diff != "" {
			t.Errorf("%s: %s", entry, diff)
		}
	}
}

func TestServers(t *testing.T) {
	for image, want := range map[string]string{
		"redis": "", "octocat/redis": "", "ghcr.io/o/redis:1": "ghcr.io", "localhost/x": "", "localhost:5000/x": "localhost:5000",
		"docker.io/library/redis": "docker.io", "a.b/c@sha256:0": "a.b", "redis:1.2": "",
	} {
		if got := wording.Server(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
	if wording.Registry("x", "", "secret") != nil {
		t.Error("credentials without a user")
	}
}

func TestArguments(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "", `"b`, `c"`, ""}, wording.ScriptArgs("a  \"b\tc\" ")); diff == "" {
		t.Error("a tab does not split")
	}
	if diff := cmp.Diff([]string{"a", "", `"b`, `c"`, ""}, wording.ScriptArgs("a  \"b c\"\t ")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", `"b`, `c"`}, wording.ContainerArgs(" a  \"b   c\" ")); diff != "" {
		t.Error(diff)
	}
	line := wording.ActionArgs([]string{"two words", "", `quo"te`, `back\`})
	if line != ` "two words" "" "quo\"te" "back\"` {
		t.Error(line)
	}
	if diff := cmp.Diff([]string{`"two`, `words"`, `""`, `"quo\"te"`, `"back\"`}, wording.ContainerArgs(line)); diff != "" {
		t.Error(diff)
	}
}
