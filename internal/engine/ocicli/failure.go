package ocicli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// meaning is what an engine's words stand for.
type meaning int

const (
	unknown meaning = iota
	unavailable
	forbidden
	imageMissing
	denied
	distrusted
	noAddresses
	network
	noSpace
	portTaken
	badOption
	badCommand
	gone
	inUse
	networkMissing
	removing
	passing // a race inside the engine: the same call works a moment later
)

// A pattern is a piece of a line that an engine prints when something is so; a star in it stands for anything.
// Matching on text cannot be avoided: both programs answer every refusal with the same few exit statuses.
type pattern struct {
	text  string
	means meaning
}

func (p pattern) matches(line string) bool {
	for piece := range strings.SplitSeq(p.text, "*") {
		_, after, found := strings.Cut(line, piece)
		if !found {
			return false
		}
		line = after
	}
	return true
}

// means finds the first pattern that a line of an engine's output matches.
func (d *differences) means(output string) meaning {
	lines := strings.Split(output, "\n")
	for _, p := range d.patterns {
		if slices.ContainsFunc(lines, p.matches) {
			return p.means
		}
	}
	return unknown
}

// consequence is what follows from a meaning: the sentinel, whose problem it is, and the next step.
type consequence struct {
	cause error
	whose verdict.Whose
	hint  string
}

// consequences are the meanings that reach a user. The others are answered by the flows.
func (m meaning) consequence() consequence {
	switch m {
	case unavailable:
		return consequence{engine.ErrUnavailable, verdict.Infrastructure,
			"start the engine's service on this machine, or correct DOCKER_HOST, DOCKER_CONTEXT or CONTAINER_HOST in the runner's .env"}
	case forbidden:
		return consequence{engine.ErrUnavailable, verdict.Infrastructure,
			"let the runner's user use the engine: add it to the group of the socket (usermod -aG docker USER) and start the runner again"}
	case imageMissing:
		return consequence{engine.ErrImageNotFound, verdict.Workflow, "check the image's name and tag"}
	case denied:
		return consequence{engine.ErrDenied, verdict.Workflow,
			"check the image's name and its credentials (username and password) in the workflow, or log in on the runner's machine"}
	case distrusted:
		return consequence{nil, verdict.Infrastructure,
			"let the engine trust the registry's certificate, or name the registry as insecure in the engine's configuration"}
	case noAddresses:
		return consequence{nil, verdict.Infrastructure,
			"too many networks: `gantry gc` removes those of dead jobs, the engine's `network prune` all that are unused; or give the engine more address pools"}
	case network:
		return consequence{nil, verdict.Infrastructure, "check the network, the proxy settings and the registry's state"}
	case noSpace:
		return consequence{engine.ErrNoSpace, verdict.Infrastructure,
			"free space on the disk of the engine's store: gantry gc --images, or the engine's own `system prune`"}
	case portTaken:
		return consequence{engine.ErrPortTaken, verdict.Workflow,
			"publish another port on the host, or only the container's port (\"6379\"): the host's is then chosen freely, see job.services.NAME.ports"}
	case badOption:
		return consequence{engine.ErrOptions, verdict.Workflow, "correct the container's options in the workflow"}
	case badCommand:
		return consequence{engine.ErrCommand, verdict.Workflow,
			"check the image's entry point and command, and that the image is for this machine's architecture"}
	case networkMissing:
		return consequence{nil, verdict.Configuration, "make the network with the engine, or correct its name in gantry.yaml or in the container's options"}
	case gone:
		return consequence{engine.ErrNotFound, verdict.Infrastructure, "has somebody or something on this machine removed it?"}
	}
	return consequence{nil, verdict.Infrastructure, "try the command by hand as the runner's user; `gantry doctor` looks at the engine"}
}

// failure makes the error for a call that ended with err and said output.
func (d *Driver) failure(ctx context.Context, args []string, err error, output string) error {
	failed := &CommandError{Command: programs.Typed(d.path, args), ExitCode: exitCode(err), Output: output}
	result := &verdict.Error{Whose: verdict.Infrastructure, Err: failed, Command: failed.Command, Output: output}
	switch {
	case ctx.Err() != nil:
		failed.ExitCode = -1
		failed.causes = append(failed.causes, context.Cause(ctx))
		result.Hint = "the engine did not finish in time: look at its service's log, and at the load of the machine"
		if over := new(engine.LimitError); errors.As(context.Cause(ctx), &over) {
			result.Hint += "; or raise " + over.Key + " in gantry.yaml"
		}
	case failed.ExitCode < 0 && !signalled(err):
		failed.causes = append(failed.causes, err, engine.ErrUnavailable)
		result.Hint = "check that " + d.path + " can be started"
	default:
		c := d.diff.means(output).consequence()
		if c.cause != nil {
			failed.causes = append(failed.causes, c.cause)
		}
		result.Whose, result.Hint = c.whose, c.hint
	}
	return result
}

// meaningOf is what the engine meant by err, which comes from run.
func (d *Driver) meaningOf(err error) meaning {
	var failed *CommandError
	if !errors.As(err, &failed) {
		return unknown
	}
	return d.diff.means(failed.Output)
}

// signalled tells whether err is that of a process that was killed, not of one that could not be started.
func signalled(err error) bool {
	var exit interface{ Exited() bool }
	return errors.As(err, &exit) && !exit.Exited()
}
