package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/policy"
)

func TestNormalize(t *testing.T) {
	for image, want := range map[string]string{
		"node":                     "docker.io/library/node:latest",
		"node:22":                  "docker.io/library/node:22",
		"acme/x":                   "docker.io/acme/x:latest",
		"docker.io/node":           "docker.io/library/node:latest",
		"index.docker.io/acme/x:1": "docker.io/acme/x:1",
		"localhost/x":              "localhost/x:latest",
		"localhost:5000/x":         "localhost:5000/x:latest",
		"GHCR.io/a/b@sha256:00":    "ghcr.io/a/b@sha256:00",
		"a.b/c:1@sha256:00":        "a.b/c:1@sha256:00",
	} {
		if got := policy.Normalize(image); got != want {
			t.Errorf("%s is %s, want %s", image, got, want)
		}
	}
}

func TestRewriteImage(t *testing.T) {
	for _, tt := range []struct {
		rules       map[string]string
		image, want string
	}{
		{nil, "node:22", "node:22"},
		{map[string]string{"": "m"}, "node:22", "node:22"},
		{map[string]string{"docker.io": "m.example.com/hub"}, "node:22", "m.example.com/hub/library/node:22"},
		{map[string]string{"docker.io": "m.example.com/hub"}, "acme/x", "m.example.com/hub/acme/x"},
		{map[string]string{"docker.io/": "m.example.com/hub/"}, "node", "m.example.com/hub/library/node"},
		{map[string]string{"docker.io": "m"}, "docker.io/acme/x:1", "m/acme/x:1"},
		{map[string]string{"docker.io": "m"}, "ghcr.io/acme/x:1", "ghcr.io/acme/x:1"},
		{map[string]string{"docker.io": "m"}, "docker.io.example.com/x", "docker.io.example.com/x"},
		{map[string]string{"docker.io/library": "m"}, "node:22", "m/node:22"},
		{map[string]string{"docker.io/library": "m"}, "acme/node", "acme/node"},
		{map[string]string{"node": "m/node"}, "node:22", "m/node:22"},
		{map[string]string{"node": "m/node"}, "docker.io/library/node:22", "m/node:22"},
		{map[string]string{"node": "m/node"}, "node@sha256:00", "m/node@sha256:00"},
		{map[string]string{"node": "m/node"}, "nodejs", "nodejs"},
		{map[string]string{"node": "m/node"}, "node-x:1", "node-x:1"},
		{map[string]string{"node:22": "m/node:22-fixed"}, "node:22", "m/node:22-fixed"},
		{map[string]string{"node:22": "m/node:22-fixed"}, "node:22-alpine", "node:22-alpine"},
		{map[string]string{"node:2": "m"}, "node:22", "node:22"},
		{map[string]string{"localhost": "m"}, "localhost:5000/x", "localhost:5000/x"},
		{map[string]string{"localhost": "m"}, "localhost/x", "m/x"},
		{map[string]string{"localhost:5000": "m"}, "localhost:5000/x:1", "m/x:1"},
		{map[string]string{"ghcr.io/acme": "a", "ghcr.io": "b", "ghcr.io/acme/x": "c"}, "ghcr.io/acme/x:1", "c:1"},
		{map[string]string{"ghcr.io/acme": "a", "ghcr.io": "b", "ghcr.io/acme/x": "c"}, "ghcr.io/acme/y", "a/y"},
		{map[string]string{"ghcr.io/acme": "a", "ghcr.io": "b"}, "ghcr.io/z", "b/z"},
		{map[string]string{"docker.io": "hub", "docker.io/library/node": "own/node"}, "node:22", "own/node:22"},
		{map[string]string{"node": "short", "docker.io/library/node": "long"}, "node:22", "long:22"},
		{map[string]string{"docker.io": "docker.io.mirror"}, "node", "docker.io.mirror/library/node"},
	} {
		for range 5 { // whatever the order of the map
			if got := policy.RewriteImage(tt.rules, tt.image); got != tt.want {
				t.Errorf("%v of %s: %s, want %s", tt.rules, tt.image, got, tt.want)
			}
		}
	}
}

func TestBaseImages(t *testing.T) {
	for _, tt := range []struct {
		dockerfile string
		want       []string
	}{
		{"FROM node:22\nRUN true", []string{"node:22"}},
		{"# syntax=evil/frontend:1\nFROM scratch", []string{"evil/frontend:1"}},
		{"# syntax=a/b\nARG V=1\nFROM x:$V", []string{"a/b", "x:1"}},
		{"from --platform=linux/amd64 golang AS build\nFROM scratch\nCOPY --from=build /a /b\nCOPY --from=0 /a /b", []string{"golang"}},
		{"FROM a AS Build\nFROM build", []string{"a"}},
		{"ARG V=22 W=\"alpine\"\nARG I=node:${V}-$W\nFROM ${I}", []string{"node:22-alpine"}},
		{"ARG V\nFROM node:$V", []string{"node:$V"}},
		{"FROM node:${V:-20}", []string{"node:20"}},
		{"ARG V=1\nFROM node${V:+:22}", []string{"node:22"}},
		{"FROM a\nCOPY --chown=1 --from=evil/x /a /b", []string{"a", "evil/x"}},
		{"FROM a\nRUN --mount=type=bind,from=evil/x,target=/y true", []string{"a", "evil/x"}},
		{"FROM \\\n  # a comment\n  node:22 \\\n  AS x\nFROM x", []string{"node:22"}},
		{"# FROM evil\n\nFROM a\nFROM a", []string{"a"}},
		{"FROM", nil},
		{"", nil},
	} {
		if diff := cmp.Diff(tt.want, policy.BaseImages(tt.dockerfile)); diff != "" {
			t.Errorf("%q: %s", tt.dockerfile, diff)
		}
	}
}

// FuzzBaseImages: reading never panics, and what is named by a plain FROM at the start is found.
func FuzzBaseImages(f *testing.F) {
	f.Add("ARG A=${A:-b}\nFROM $A as b\nCOPY --from=c x y")
	f.Fuzz(func(t *testing.T, text string) {
		images := policy.BaseImages("FROM first/image:1\n" + text)
		if len(images) == 0 || images[0] != "first/image:1" {
			t.Errorf("%q: found %v", text, images)
		}
	})
}

// FuzzRewriteImage: a rule for a whole registry moves every image of it, and only those.
func FuzzRewriteImage(f *testing.F) {
	f.Add("node:22")
	f.Add("ghcr.io/a/b@sha256:00")
	f.Fuzz(func(t *testing.T, image string) {
		if got := policy.RewriteImage(map[string]string{"no.such.registry": "m"}, "x/"+image); got != "x/"+image {
			t.Errorf("%q was moved to %q", "x/"+image, got)
		}
		if got := policy.RewriteImage(map[string]string{"here.example.com": "m"}, "here.example.com/"+image); got != "m/"+image {
			t.Errorf("%q was moved to %q", "here.example.com/"+image, got)
		}
	})
}
