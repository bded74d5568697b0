package policy

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/glob"
)

// reference is the name of an image in pieces: "docker.io", "library/node", ":22" and "@sha256:…".
type reference struct {
	registry, path, tag, digest string
}

const (
	hub        = "docker.io"
	hubLibrary = "library/"
)

// parse reads the name of an image as Docker does: a first part with a dot, a colon or the name localhost is a
// registry, everything else is of Docker Hub. A missing tag stays missing.
func parse(image string) reference {
	name, digest, hasDigest := strings.Cut(image, "@")
	var r reference
	if hasDigest {
		r.digest = "@" + digest
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, r.tag = name[:colon], name[colon:]
	}
	first, rest, slash := strings.Cut(name, "/")
	if slash && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.registry, r.path = strings.ToLower(first), rest
	} else {
		r.registry, r.path = hub, name
	}
	if r.registry == "index.docker.io" || r.registry == "registry-1.docker.io" {
		r.registry = hub
	}
	if r.registry == hub && !strings.Contains(r.path, "/") {
		r.path = hubLibrary + r.path
	}
	return r
}

// Normalize returns the full name of an image: "node" is "docker.io/library/node:latest".
func Normalize(image string) string {
	r := parse(image)
	if r.tag == "" && r.digest == "" {
		r.tag = ":latest"
	}
	return r.name() + r.tag + r.digest
}

func (r reference) name() string { return r.registry + "/" + r.path }

// names returns the names without tag and digest by which a rule may mean the image.
func (r reference) names() []string {
	names := []string{r.name()}
	if r.registry == hub {
		names = append(names, r.path)
		if short, ok := strings.CutPrefix(r.path, hubLibrary); ok {
			names = append(names, short, hub+"/"+short)
		}
	}
	return names
}

// versions returns the forms of tag and digest that a rule may give.
func (r reference) versions() []string {
	if r.digest != "" {
		return []string{r.tag + r.digest, r.digest}
	}
	if r.tag == "" {
		return []string{":latest"}
	}
	return []string{r.tag}
}

// allows says whether a rule of policy.images matches. A rule without tag and digest matches all of them.
func allows(rule, image string) bool {
	r := parse(image)
	versions := r.versions()
	if !strings.Contains(rule, "@") && strings.LastIndexByte(rule, ':') <= strings.LastIndexByte(rule, '/') {
		versions = []string{""}
	}
	pattern, err := glob.Compile(rule)
	if err != nil {
		return false
	}
	for _, name := range r.names() {
		for _, version := range versions {
			if pattern.Match(name + version) {
				return true
			}
		}
	}
	return pattern.Match(image)
}

var digestForm = regexp.MustCompile(`@sha256:[0-9a-f]{64}$|@sha512:[0-9a-f]{128}$`)

func checkImages(p config.Policy, r Request) []Violation {
	var all []Violation
	if r.Image != "" {
		all = append(all, checkImage(p, r.Image, "the image ")...)
	}
	for _, image := range r.BaseImages {
		all = append(all, checkImage(p, image, "the base image ")...)
	}
	for _, m := range r.Options.Mounts() {
		if m.Type == "image" {
			all = append(all, checkImage(p, m.Source, "the mounted image ")...)
		}
	}
	return all
}

func checkImage(p config.Policy, image, what string) []Violation {
	var all []Violation
	if len(p.Images) > 0 && !anyAllows(p.Images, image) {
		all = append(all, Violation{Key: "policy.images", Value: strings.Join(p.Images, ", "),
			Offender: what + `"` + image + `"`, Reason: "it is none of the allowed ones"})
	}
	if p.RequireDigest && !digestForm.MatchString(image) {
		all = append(all, Violation{Key: "policy.require_digest", Value: "true",
			Offender: what + `"` + image + `"`, Reason: "write it as name@sha256:…"})
	}
	return all
}

func anyAllows(rules []string, image string) bool {
	for _, rule := range rules {
		if allows(rule, image) {
			return true
		}
	}
	return false
}

// RewriteImage gives the name to pull for an image by rules of image_rewrite: start of the name, replacement. A
// start ends at a "/", at the ":" of the tag, at the "@" of the digest or with the name, and is compared with the
// name as written and with its full form (docker.io/library/node). Of several matching starts the one that leaves
// least of the name wins. Without a match the image stays as it is.
func RewriteImage(rules map[string]string, image string) string {
	r := parse(image)
	result, left := image, len(hub+"/"+hubLibrary+image)+1
	for _, key := range longestFirst(rules) {
		start, replacement := strings.TrimSuffix(key, "/"), strings.TrimSuffix(rules[key], "/")
		for _, form := range r.rewritable(start, image) {
			rest, ok := strings.CutPrefix(form, start)
			if start != "" && ok && atBoundary(rest) && len(rest) < left {
				result, left = replacement+rest, len(rest)
			}
		}
	}
	return result
}

// rewritable gives the names of the image that a rule's start is compared with. Docker Hub as a whole is compared
// with the full name only, because a mirror knows "docker.io/node" as "library/node".
func (r reference) rewritable(start, written string) []string {
	forms := r.names()
	if start == hub {
		forms = forms[:1]
	}
	for i := range forms {
		forms[i] += r.tag + r.digest
	}
	if r.registry != hub {
		forms = append(forms, written)
	}
	return forms
}

// longestFirst gives the rules an order, so that of two that leave equally much the longer one wins.
func longestFirst(rules map[string]string) []string {
	return slices.SortedFunc(maps.Keys(rules), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
}

// atBoundary says whether rest begins where a part of a name ends. A ":" before a "/" is that of a port.
func atBoundary(rest string) bool {
	if rest == "" || rest[0] == '/' || rest[0] == '@' {
		return true
	}
	name, _, _ := strings.Cut(rest, "@")
	return rest[0] == ':' && !strings.Contains(name, "/")
}
