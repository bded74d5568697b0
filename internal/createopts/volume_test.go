package createopts_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/engine"
)

func TestParseVolume(t *testing.T) {
	for text, want := range map[string]engine.Mount{
		"/data":                  {Target: "/data"},
		"/data:ro":               {Target: "/data", ReadOnly: true},
		"/data:rw":               {Target: "/data"},
		"vol:/data":              {Source: "vol", Target: "/data"},
		"/src:/data:ro":          {Source: "/src", Target: "/data", ReadOnly: true},
		"/src:/data:z":           {Source: "/src", Target: "/data", Options: []string{"z"}},
		"/src:/data:Z,ro":        {Source: "/src", Target: "/data", ReadOnly: true, Options: []string{"Z"}},
		"/src:/data:rw,cached":   {Source: "/src", Target: "/data", Options: []string{"cached"}},
		"/src:/data:delegated":   {Source: "/src", Target: "/data", Options: []string{"delegated"}},
		"vol:/data:nocopy":       {Source: "vol", Target: "/data", Options: []string{"nocopy"}},
		"/src:/data:U,rshared":   {Source: "/src", Target: "/data", Options: []string{"U", "rshared"}},
		"./relative:/data":       {Source: "./relative", Target: "/data"},
		"/with blank:/da ta":     {Source: "/with blank", Target: "/da ta"},
		"vol:/data:":             {Source: "vol", Target: "/data"},
		"/src:/github/workspace": {Source: "/src", Target: "/github/workspace"},
	} {
		got, err := createopts.ParseVolume(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestParseVolumeRefuses(t *testing.T) {
	for _, text := range []string{
		"", "vol", "a:b", "a:", ":/b", ":/b:ro", "/a:/b:ro:z", "/a:/b:ro,rw", "/a:/b:,", "vol:z", "/a:/", "/a:/x/..", "/a:/b\n",
	} {
		_, err := createopts.ParseVolume(text)
		if err == nil {
			t.Errorf("%q was accepted", text)
		} else if text != "/a:/b\n" && !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("%q: the error does not name the text: %v", text, err)
		}
	}
}

// The runner itself drops every option but a lone "ro": they come back from the raw entry.
func TestMountOfTheRunner(t *testing.T) {
	for _, tt := range []struct {
		sent hook.MountVolume
		want engine.Mount
	}{
		{hook.MountVolume{UserProvidedValue: "v:/d:ro,z", SourceVolumePath: "v", TargetVolumePath: "/d"},
			engine.Mount{Source: "v", Target: "/d", ReadOnly: true, Options: []string{"z"}}},
		{hook.MountVolume{SourceVolumePath: "/h", TargetVolumePath: "/__e", ReadOnly: true},
			engine.Mount{Source: "/h", Target: "/__e", ReadOnly: true}},
		{hook.MountVolume{UserProvidedValue: "/d", TargetVolumePath: "/d"}, engine.Mount{Target: "/d"}},
	} {
		got, err := createopts.Mount(tt.sent)
		if err != nil {
			t.Errorf("%+v: %v", tt.sent, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v: %s", tt.sent, diff)
		}
	}
	if _, err := createopts.Mount(hook.MountVolume{SourceVolumePath: "/a"}); err == nil {
		t.Error("a mount without a target was accepted")
	}
}

// FuzzParseVolume: parsing never panics, and what was accepted has a usable target and no ro among its options.
func FuzzParseVolume(f *testing.F) {
	for _, seed := range []string{"/data", "vol:/data:ro,z", "/a:/b:ro", ":::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := createopts.ParseVolume(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(m.Target, "/") || strings.Contains(strings.Join(m.Options, ","), ":") {
			t.Errorf("%q gives %+v", text, m)
		}
		for _, o := range m.Options {
			if o == "ro" || o == "rw" || o == "" {
				t.Errorf("%q keeps the option %q", text, o)
			}
		}
	})
}
