// Package policy judges what a workflow asks for by what the runner's administrator allows (gantry.yaml's policy and
// docker_socket), and rewrites image names to mirrors. It is pure: it sees names and paths, and follows symbolic
// links only through a function that the caller gives it.
package policy

import (
	"fmt"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
)

// Request is one container that a workflow asks for.
type Request struct {
	// Title is how messages call the container: "job container", "service redis", "container action".
	Title string
	// Image is the name as the workflow wrote it, before image_rewrite; "" for a Dockerfile action.
	Image string
	// BaseImages are the images that a Dockerfile is built from: see BaseImages.
	BaseImages []string
	// Options are the workflow's create flags, without those of create_args; nil for none.
	Options *createopts.Options
	// Volumes are the entries of the workflow's `volumes:`, without the runner's own mounts.
	Volumes []hook.MountVolume
	// Ports are the entries of the workflow's `ports:`.
	Ports []string
	// Sockets are paths of container engine sockets on this host, beside the usual ones.
	Sockets []string
	// RealPath gives a host path with its symbolic links followed, or "" if it cannot. A path is judged by both
	// names. nil: by its name only, and then a link that an earlier job left can lead to a denied path.
	RealPath func(path string) string
	// Step says that the container is one of a container action; JobContainer that its job has a job container.
	Step, JobContainer bool
}

// Violation is one thing that a request asks for and a rule forbids.
type Violation struct {
	Key      string // "policy.deny_flags"
	Value    string // the entry of a list that forbids it, or the value of the key
	Title    string // the request's
	Offender string // what the workflow wrote
	Reason   string // more, where the rule does not speak for itself; may be ""
}

// Error names the rule, the offender, and who can change the rule.
func (v Violation) Error() string {
	text := fmt.Sprintf("%s: %s is not allowed on this runner by %s", v.Title, v.Offender, v.Key)
	if v.Value != "" {
		text += fmt.Sprintf(" (%s)", v.Value)
	}
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	return text + "; the administrator of the runner can change that in gantry.yaml"
}

// Check returns every violation. c must have passed its Validate: a rule that cannot be read forbids everything.
func Check(c *config.Config, r Request) []Violation {
	if r.Options == nil {
		r.Options = &createopts.Options{}
	}
	var all []Violation
	all = append(all, checkJobContainer(c.Policy, r)...)
	all = append(all, checkImages(c.Policy, r)...)
	all = append(all, checkFlags(c.Policy, r)...)
	exposed := exposures(r)
	all = append(all, checkMounts(c.Policy, r, exposed)...)
	if c.DockerSocket == "deny" {
		all = append(all, checkSocket(r, exposed)...)
	}
	for i := range all {
		all[i].Title = r.Title
	}
	return all
}

func checkJobContainer(p config.Policy, r Request) []Violation {
	if !p.RequireJobContainer || !r.Step || r.JobContainer {
		return nil
	}
	return []Violation{{Key: "policy.require_job_container", Value: "true",
		Offender: "a container action in a job without `container:`"}}
}
