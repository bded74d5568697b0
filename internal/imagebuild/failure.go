package imagebuild

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// meaning is what a builder's last words stand for.
type meaning int

const (
	unknown meaning = iota // of the builder's own failures that is the Dockerfile's
	runFailed
	killed
	missing
	denied
	distrusted
	network
	silent    // BuildKit does not answer
	forbidden // the kernel does not let this user build
	noSpace
)

// A pattern is a piece of what a builder says when something is so; a star in it stands for anything. There is no other
// way to tell: the exit status is 1, or 125.
type pattern struct {
	text  string
	means meaning
	// anywhere: it counts in all of the output, not only in the last words. RUN lines print there too.
	anywhere bool
}

func (p pattern) in(text string) bool {
	for piece := range strings.SplitSeq(p.text, "*") {
		_, after, found := strings.Cut(text, piece)
		if !found {
			return false
		}
		text = after
	}
	return true
}

// The first pattern that matches decides. Each has a test with the builder's words.

func buildahPatterns() []pattern {
	return append([]pattern{
		{`building at STEP "RUN *exit status 137`, killed, false},
		{"error setting supplemental groups list: operation not permitted", forbidden, true}, // no_new_privs
		{"(Unable to determine exit status)", forbidden, false},                              // of its own child, in another user namespace
		{"error determining current user", forbidden, false},
		{"there might not be enough IDs available in the namespace", forbidden, false},
		{`building at STEP "RUN `, runFailed, false},
	}, registryPatterns()...)
}

func buildkitPatterns() []pattern {
	return append([]pattern{
		{`did not complete successfully: exit code: 137`, killed, false},
		{`did not complete successfully: exit code: `, runFailed, false},
		{"failed to list workers: ", silent, false},
		{"rpc error: code = Unavailable", silent, false},
		{"Unavailable: ", silent, false},
		{"failed to load cache key: *: not found", missing, false},
		{"failed to resolve source metadata for *: not found", missing, false},
	}, registryPatterns()...)
}

// registryPatterns are words of registries, of libraries that talk to them, and of the kernel.
func registryPatterns() []pattern {
	return []pattern{
		{"manifest unknown", missing, false},
		{"name unknown", missing, false},
		{"no matching manifest", missing, false},
		{"no match for platform in manifest", missing, false},
		{"no image found in", missing, false},
		{"invalid reference format", missing, false},
		{"unauthorized", denied, false},
		{"authentication required", denied, false},
		{"401 Unauthorized", denied, false},
		{"403 Forbidden", denied, false},
		{"access to the resource is denied", denied, false},
		{"insufficient_scope", denied, false},
		{"denied: ", denied, false},
		{"server gave HTTP response to HTTPS client", distrusted, false},
		{"x509: ", distrusted, false},
		{"tls: ", distrusted, false},
		{"no such host", network, false},
		{"connection refused", network, false},
		{"connection reset by peer", network, false},
		{"network is unreachable", network, false},
		{"no route to host", network, false},
		{"i/o timeout", network, false},
		{"TLS handshake timeout", network, false},
		{"context deadline exceeded", network, false},
		{"toomanyrequests", network, false},
		{"429 Too Many Requests", network, false},
		{"unexpected EOF", network, false},
		{": EOF", network, false},
		{"server misbehaving", network, false},
		{"500 Internal Server Error", network, false},
		{"502 Bad Gateway", network, false},
		{"503 Service Unavailable", network, false},
		{"504 Gateway Time", network, false},
	}
}

// means finds what a builder's output stands for.
func (t tool) means(output string) meaning {
	if strings.Contains(strings.ToLower(output), "no space left on device") {
		return noSpace // also that of a RUN line: it is the same disk
	}
	words := complaint(output)
	i := slices.IndexFunc(t.patterns, func(p pattern) bool { return p.in(words) || p.anywhere && p.in(output) })
	if i < 0 {
		return unknown
	}
	return t.patterns[i].means
}

// complaint is the line in which a builder says what is wrong: its last one about an error, else its last one.
func complaint(output string) string {
	const longest = 600
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for _, line := range slices.Backward(lines) {
		if rest, ok := strings.CutPrefix(line, "Error: "); ok {
			return cut(rest, longest)
		}
		if rest, ok := strings.CutPrefix(line, "error: "); ok {
			return cut(rest, longest)
		}
	}
	return cut(lines[len(lines)-1], longest)
}

func cut(line string, longest int) string {
	if len(line) > longest {
		line = strings.ToValidUTF8(line[:longest], "") + "…"
	}
	return strings.TrimSpace(line)
}

// judge is the verdict on a task that has ended, nil if it went well. What the builder said is in the log already, just
// above.
func (t tool) judge(task buildguard.Task, o outcome, image image) error {
	if o.Failed < 0 {
		return nil
	}
	v := &verdict.Error{Whose: verdict.Infrastructure, Command: programs.Typed(task.Commands[o.Failed][0], task.Commands[o.Failed][1:])}
	if o.Error != "" {
		v.Err, v.Hint = errors.New(o.Error), "may the runner's user write in gantry's state folder, and can "+t.program+" be started?"
		if t.means(o.Error) == noSpace {
			v.Err, v.Hint = fmt.Errorf("%w: %s", engine.ErrNoSpace, o.Error), t.spaceHint()
		}
		return v
	}
	words := complaint(o.output)
	pushing := t.pushes(o.Failed, words)
	c := t.consequence(t.means(o.output), pushing, image)
	if c.whose == verdict.Workflow && o.Status > 128 && !strings.Contains(o.output, "rror: ") {
		c = t.consequence(killed, pushing, image) // the builder itself
	}
	v.Whose, v.Hint, v.Err = c.whose, c.hint, errors.New(words)
	if words == "" {
		v.Err = fmt.Errorf("exit status %d", o.Status)
	}
	if c.cause != nil {
		v.Err = fmt.Errorf("%w: %s", c.cause, words)
	}
	if pushing {
		return fmt.Errorf("pushing %s: %w", image.pushed, v)
	}
	return v
}

// consequence is what follows from a meaning: the sentinel, whose problem it is, and the next step.
type consequence struct {
	cause error
	whose verdict.Whose
	hint  string
}

func (t tool) consequence(m meaning, pushing bool, image image) consequence {
	registry := image.pushed.RegistryStr()
	switch {
	case m == noSpace:
		return consequence{engine.ErrNoSpace, verdict.Infrastructure, t.spaceHint()}
	case m == killed:
		return consequence{nil, verdict.Infrastructure, t.memoryHint()}
	case m == forbidden:
		return consequence{nil, verdict.Configuration, "buildah needs user namespaces: the runner's container may not have allowPrivilegeEscalation: false " +
			"or a seccomp profile that forbids unshare, and its image needs uidmap and lines in /etc/passwd, /etc/subuid and /etc/subgid for the runner's user. " +
			"Where that is not wanted, let a BuildKit build (kubernetes.build.address)"}
	case m == silent:
		return consequence{engine.ErrUnavailable, verdict.Infrastructure,
			"is buildkitd running, and can this pod reach it? check kubernetes.build.address, its certificates and the network policies"}
	case m == denied && pushing:
		return consequence{engine.ErrDenied, verdict.Configuration, accountHint(registry)}
	case m == denied:
		return consequence{engine.ErrDenied, verdict.Workflow, "check the names of the base images in the Dockerfile; if they are right, give the runner an account " +
			"for them: kubernetes.build.credentials names a config.json with it"}
	case m == missing && pushing:
		return consequence{nil, verdict.Configuration, "some registries want a repository to be made first: make " + image.pushed.Repository.Name()}
	case m == missing:
		return consequence{engine.ErrImageNotFound, verdict.Workflow, "check the names and tags of the base images in the Dockerfile"}
	case m == distrusted && pushing:
		return consequence{nil, verdict.Configuration, distrustedHint(registry)}
	case m == distrusted:
		return consequence{nil, verdict.Configuration, t.trustHint()}
	case m == network:
		return consequence{nil, verdict.Infrastructure, "check the network, the proxy settings and the state of the registry"}
	case pushing:
		return consequence{nil, verdict.Infrastructure, "check the state of " + registry}
	}
	return consequence{nil, verdict.Workflow, "the output of the build above says which line of the Dockerfile it is"}
}

func (t tool) spaceHint() string {
	if t.program == "buildctl" {
		return "free space where buildkitd keeps its cache: `buildctl prune`, or its garbage collection"
	}
	return "give the runner's pod more ephemeral storage: the build and its base images are stored in gantry's state folder while it runs"
}

func (t tool) memoryHint() string {
	if t.program == "buildctl" {
		return "status 137 is a process that was killed, most often for want of memory: raise the limit of buildkitd"
	}
	return "status 137 is a process that was killed, most often for want of memory: builds count for the runner's container, raise its limit"
}

func (t tool) trustHint() string {
	if t.program == "buildctl" {
		return "let buildkitd trust the registry of the base image, or name it as insecure in buildkitd.toml ([registry.\"HOST\"])"
	}
	return "let the runner trust the registry of the base image (SSL_CERT_FILE in the runner's environment), or name it as insecure in " +
		"/etc/containers/registries.conf"
}
